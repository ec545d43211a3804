"""What checkov makes of the manifests as they are applied, of the image's recipe, and of the Terraform modules."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools import DOCKERFILE, TERRAFORM, Built, explained, findings


def test_checkov_finds_what_is_explained_and_nothing_else(overlays: dict[str, Built], tmp_path: Path) -> None:
    for built in overlays.values():
        shutil.copy(built.file, tmp_path)
    shutil.copy(DOCKERFILE, tmp_path)
    shutil.copytree(TERRAFORM, tmp_path / "terraform")
    assert findings(tmp_path) == explained()
