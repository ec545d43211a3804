"""Pages of sorted names with prefix, delimiter and marker: the one rule behind every list of S3."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .errors import invalid_argument

T = TypeVar("T")
PAGE_LIMIT = 1000


@dataclass
class Page(Generic[T]):
    """One page; `last` is the last name or common prefix on it, if more follows."""

    items: list[T] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    truncated: bool = False
    last: str | None = None
    last_item: T | None = None
    """The last item, or None if the page ends in a common prefix."""


def page_of(
    entries: Iterable[tuple[str, T]], *, prefix: str, delimiter: str | None, limit: int, after: str = ""
) -> Page[T]:
    """Takes entries sorted by name. `after` may be a common prefix of the page before: all below it is skipped."""
    page: Page[T] = Page()
    for name, common, item in _rolled_up(entries, prefix, delimiter, after):
        if common is not None and page.prefixes and page.prefixes[-1] == common:
            continue
        if len(page.items) + len(page.prefixes) >= limit:
            page.truncated = limit > 0
            break
        if common is not None:
            page.prefixes.append(common)
            page.last, page.last_item = common, None
        else:
            page.items.append(item)
            page.last, page.last_item = name, item
    if not page.truncated:
        page.last = None
    return page


def _rolled_up(
    entries: Iterable[tuple[str, T]], prefix: str, delimiter: str | None, after: str
) -> Iterator[tuple[str, str | None, T]]:
    for name, item in entries:
        if not name.startswith(prefix) or (after and name <= after):
            continue
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        common = name[: cut + len(delimiter or "")] if cut >= 0 else None
        if common is not None and after == common:
            continue
        yield name, common, item


def limit_of(text: str | None, name: str) -> int:
    """A page size as S3 takes it: at most a thousand, silently."""
    if text is None or text == "":
        return PAGE_LIMIT
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 2147483647:
        raise invalid_argument(f"Provided {name} not an integer or within integer range")
    return min(value, PAGE_LIMIT)


def token_of(name: str) -> str:
    return base64.urlsafe_b64encode(b"v1:" + name.encode()).decode("ascii")


def name_of(token: str) -> str:
    """The name in a continuation token that we gave out."""
    try:
        plain = base64.urlsafe_b64decode(token.encode("ascii"))
    except (binascii.Error, ValueError):
        plain = b""
    if not plain.startswith(b"v1:"):
        raise invalid_argument("The continuation token provided is incorrect")
    return plain[3:].decode()
