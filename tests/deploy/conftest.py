"""Each overlay is built once, and each file of Terraform read once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import OVERLAYS, TERRAFORM_FILES, Built, Resource, parse


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    folder: Path = tmp_path_factory.mktemp("overlays")
    return {name: Built(name, folder) for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, overlays: dict[str, Built]) -> Built:
    """Each in turn."""
    return overlays[request.param]


@pytest.fixture(scope="session")
def production(overlays: dict[str, Built]) -> Built:
    return overlays["production"]


@pytest.fixture(scope="session")
def parsed() -> dict[Path, Resource]:
    """Each file of Terraform."""
    return parse(*TERRAFORM_FILES)
