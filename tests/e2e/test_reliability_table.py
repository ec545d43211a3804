"""The table of reliability tests names tests that exist, and they say the same number."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "reliability.md"
NUMBERS = [*range(1, 18), *range(23, 29)]


def rows() -> dict[int, list[str]]:
    found = re.findall(r"^\| T(\d+) \|(.*)$", TABLE.read_text(), flags=re.M)
    return {int(number): re.findall(r"(test_\w+\.py::test_\w+)", row) for number, row in found}


def numbered() -> dict[str, int]:
    """Every test whose docstring begins with a number, by file and name."""
    tests: dict[str, int] = {}
    for file in HERE.glob("test_*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and (found := re.match(r"T(\d+)\.", ast.get_docstring(node) or "")):
                tests[f"{file.name}::{node.name}"] = int(found[1])
    return tests


def test_every_number_has_a_row_with_a_test() -> None:
    assert list(rows()) == NUMBERS
    assert all(rows().values())


def test_the_table_and_the_tests_say_the_same() -> None:
    assert {test: number for number, tests in rows().items() for test in tests} == numbered()
