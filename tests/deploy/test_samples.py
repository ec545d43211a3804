"""The samples in config/ against the published schemas, as an editor or another validator sees them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tools import BINARY, ROOT, run

CONFIG = ROOT / "config"
SAMPLES = sorted(CONFIG.rglob("*.toml"))
WHOLE = CONFIG / "strongroom.schema.json"
REPOSITORY = [[CONFIG / "repository/base", CONFIG / f"repository/overlays/{name}.toml"] for name in ("production", "staging")]


def complaints(schema: Path, values: dict[str, Any]) -> list[str]:
    """What a validator has to say, with the places."""
    validator = Draft202012Validator(json.loads(schema.read_text()))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(values)]


@pytest.mark.parametrize("schema", sorted(CONFIG.glob("*.schema.json")), ids=lambda path: path.name)
def test_a_schema_is_one(schema: Path) -> None:
    Draft202012Validator.check_schema(json.loads(schema.read_text()))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: str(path.relative_to(CONFIG)))
def test_a_sample_is_right_by_the_schema_that_its_first_line_names(sample: Path) -> None:
    text = sample.read_text()
    schema = sample.parent / text.splitlines()[0].removeprefix("#:schema ")
    assert complaints(schema, tomllib.loads(text)) == []


@pytest.mark.parametrize("paths", REPOSITORY, ids=lambda paths: paths[-1].stem)
def test_the_files_of_a_repository_make_a_configuration_that_is_whole(paths: list[Path]) -> None:
    words = [word for path in paths for word in ("--config", str(path))]
    shown = run(BINARY, *words, "config", "show", env={})
    assert complaints(WHOLE, tomllib.loads(shown)) == []


def test_a_schema_finds_what_is_misspelt_and_what_is_missing() -> None:
    values = {"installation": "bank", "aws": {"region": "us-east-1", "regoin": "us-east-1"}}
    found = complaints(WHOLE, values)
    assert any("regoin" in complaint for complaint in found), found
    assert any("'destination' is a required property" in complaint for complaint in found), found
    assert complaints(CONFIG / "strongroom.part.schema.json", values) == [complaint for complaint in found if "regoin" in complaint]
