"""Waiting for something to become true: bounded, and with a word about what was awaited."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

LOOK_EVERY = 0.05
"""Seconds between two looks."""


def wait_until(
    look: Callable[[], Value], what: str, seconds: float = 30, state: Callable[[], object] = lambda: ""
) -> Value:
    """The first true value of `look`; otherwise a failure that says what was awaited and how things stood."""
    deadline = time.monotonic() + seconds
    while True:
        if value := look():
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {seconds} s in vain until {what}\n{state()}")
        time.sleep(LOOK_EVERY)


def hold_still(look: Callable[[], bool], what: str, seconds: float) -> None:
    """Asserts that something stays true for a while: for what must *not* happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert look(), f"not for {seconds} s: {what}"
        time.sleep(LOOK_EVERY)
