"""Databases that nobody has thought of: made up from a seed, dumped, restored by both ways, and compared with stock pg_dump.

`STRONGROOM_SCHEMA_SEEDS=100..200` tries others; a failure names its seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from case import Case, settled
from sandbox_process import Sandbox
from schemas import Maker


def seeds() -> list[int]:
    first, _, last = os.environ.get("STRONGROOM_SCHEMA_SEEDS", "1..4").partition("..")
    return list(range(int(first), int(last or first) + 1))


@pytest.fixture
def case(workshop: Sandbox, tmp_path: Path) -> Iterator[Case]:
    with settled(Case(workshop, tmp_path)) as corner:
        yield corner


@pytest.mark.parametrize("seed", seeds(), ids="seed_{}".format)
def test_a_database_that_a_seed_made_comes_back_as_it_was(case: Case, tmp_path: Path, seed: int) -> None:
    with lab.database(case.sandbox) as source:
        with source.connect() as session:
            for statement in [lab.READER, *Maker(seed).make()]:
                try:
                    session.execute(statement)
                except Exception as error:
                    raise AssertionError(f"seed {seed} makes no database: {error}\n{statement[:2000]}") from error
        lab.round_trip(case, source, tmp_path)
