"""The Debian package as far as it can be told without cargo: what it names is there, and can be read by whom it is for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from test_systemd import verify
from tools import BINARY, ROOT, TOOLS, UNIT, run

MADE = "target/package/"
"""Where scripts/package puts what it makes."""
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())
PACKAGE = CARGO["package"]["metadata"]["deb"]
SBOM = ROOT / "scripts/sbom"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("package")
    run(ROOT / "scripts/package", "files", BINARY.resolve(), folder)
    return folder


def test_everything_that_it_names_is_there(made: Path) -> None:
    (made / "sbom.cdx.json").touch()
    assert PACKAGE["assets"][0][0] == "target/release/strongroom"
    for source, _, _ in PACKAGE["assets"][1:]:
        where = made if source.startswith(MADE) else ROOT
        assert list(where.glob(source.removeprefix(MADE))), f"{source} is not there"
    assert (ROOT / PACKAGE["license-file"][0]).exists()
    units = made / PACKAGE["maintainer-scripts"].removeprefix(MADE)
    assert [path.name for path in units.iterdir()] == [UNIT.name], "whatever else lies there is taken for a script"


def test_everything_that_is_made_is_packaged(made: Path) -> None:
    patterns = [source.removeprefix(MADE) for source, _, _ in PACKAGE["assets"]]
    files = [path.relative_to(made) for path in made.rglob("*") if path.is_file() and path.parent.name != "systemd"]
    assert files and all(any(path.match(pattern) for pattern in patterns) for path in files)


def test_nothing_lies_where_configurations_are_read() -> None:
    """A sample there would be one."""
    targets = [target for _, target, _ in PACKAGE["assets"]]
    assert not [target for target in targets if target.startswith("etc")]
    assert PACKAGE["systemd-units"] == {"enable": False, "start": False}, "it would find no configuration"


def test_it_wants_a_pg_dump_of_some_major() -> None:
    words = [word.strip() for word in re.split(r"[,|]", PACKAGE["depends"])]
    assert words[:3] == ["$auto", "ca-certificates", "procps"]
    assert words[3:] == ["postgresql-client", *(f"postgresql-client-{major}" for major in range(18, 13, -1))]


def test_its_unit_is_ours_at_the_places_of_a_package(made: Path, tmp_path: Path) -> None:
    text = (made / "systemd" / UNIT.name).read_text()
    assert text == UNIT.read_text().replace("/usr/local/bin", "/usr/bin").replace("/usr/local/share", "/usr/share")
    (program, *_) = [target for source, target, _ in PACKAGE["assets"] if source.startswith("target/release")]
    assert f"ExecStart=/{program}strongroom " in text
    (readme,) = [target for source, target, _ in PACKAGE["assets"] if source == "README.md"]
    assert f"Documentation=file:///{readme}README.md" in text
    assert verify(text.replace("/usr/bin/strongroom", "/usr/local/bin/strongroom"), tmp_path) == (0, "")


def pages(made: Path) -> list[Path]:
    found = sorted((made / "man").glob("*.1"))
    assert len(found) > 20, found
    return found


def test_there_is_a_page_for_each_command(made: Path) -> None:
    names = {path.stem for path in pages(made)}
    commands = re.findall(r"^  ([a-z]+) ", run(BINARY, "--help").partition("Commands:")[2], re.MULTILINE)
    assert {"strongroom", *(f"strongroom-{command}" for command in commands if command != "help")} <= names
    assert "strongroom-backup-dump" in names


@pytest.mark.parametrize("words", [["groff", "-man", "-Tutf8", "-ww", "-z"], ["mandoc", "-Tlint", "-Wwarning"]], ids=lambda words: words[0])
def test_pages_are_read_without_a_warning(made: Path, words: list[str]) -> None:
    if not shutil.which(words[0]):
        pytest.skip(f"there is no {words[0]}")
    for page in pages(made):
        done = subprocess.run([*words, str(page)], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), page


def test_the_page_says_what_help_does(made: Path) -> None:
    if not shutil.which("man"):
        pytest.skip("there is no man")
    environment = {"MANWIDTH": "200", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    shown = run("man", "--warnings", "-l", made / "man/strongroom-check.1", env=environment)
    plain = re.sub(r".\x08", "", shown)
    assert "strongroom-check" in plain and "Load the configuration and print when everything is due" in plain


@pytest.mark.parametrize(("shell", "file"), [("bash", "strongroom.bash"), ("fish", "strongroom.fish"), ("zsh", "_strongroom")])
def test_completions_are_scripts_of_their_shells(made: Path, shell: str, file: str) -> None:
    script = made / "completions" / file
    assert "backup" in script.read_text()
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    run(shell, "-n", script)


def test_the_same_program_gives_the_same_files(made: Path, tmp_path: Path) -> None:
    run(ROOT / "scripts/package", "files", BINARY.resolve(), tmp_path)
    again = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert all((made / path).read_bytes() == content for path, content in again.items()) and again


def test_the_tool_that_makes_it_is_pinned_and_nothing_is_built_that_is_not_locked() -> None:
    script = (ROOT / "scripts/package").read_text()
    assert re.search(r"DEB_VERSION=\d+\.\d+\.\d+$", (ROOT / "scripts/setup").read_text(), re.MULTILINE)
    lines = script.replace("\\\n", " ").splitlines()
    calls = [line for line in lines if re.search(r"\bcargo (build|metadata|deb) ", line)]
    assert len(calls) == 3 and all("--locked" in call for call in calls), calls


# The list of what it is made of


def package(name: str, kind: str = "lib", **more: Any) -> dict[str, Any]:
    return {"id": f"{name} 1", "name": name, "version": "1.0.0", "targets": [{"kind": [kind]}]} | more


def needs(name: str, **kinds: str | None) -> dict[str, Any]:
    """A node of cargo's graph; the kind of a dependency is None where it is linked."""
    return {"id": f"{name} 1", "deps": [{"pkg": f"{other} 1", "dep_kinds": [{"kind": kind}]} for other, kind in kinds.items()]}


@pytest.fixture
def sbom() -> dict[str, Any]:
    """Of a program that links `tokio`, whose macro needs `syn`; `cc` helps to build it, and only tests need `insta`."""
    (locked,) = [one for one in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"] if one["name"] == "tokio"]
    tokio = package("tokio", version=locked["version"], license="MIT/Apache-2.0", repository="https://tokio.example")
    names = ("cc", "syn", "shared", "insta")
    packages = [package("program", "bin", license="Apache-2.0"), tokio, package("macro", "proc-macro"), *map(package, names)]
    graph = [
        needs("program", tokio=None, cc="build", insta="dev"),
        needs("tokio", macro=None, shared=None),
        needs("macro", syn=None),
        needs("syn", shared=None),
        *map(needs, ("cc", "shared", "insta")),
    ]
    metadata = {"packages": packages, "resolve": {"root": "program 1", "nodes": graph}}
    done = subprocess.run([SBOM], input=json.dumps(metadata), capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    (own,) = [one for one in found["components"] if one["name"] == "tokio"]
    assert own["hashes"] == [{"alg": "SHA-256", "content": locked["checksum"]}], "that of Cargo.lock"
    return found


def test_the_list_is_what_its_standard_wants(sbom: dict[str, Any]) -> None:
    (folder,) = (TOOLS / "deployment").glob("lib/python3*/site-packages/cyclonedx/schema/_res")
    schemas = [json.loads(path.read_text()) for path in folder.glob("*.SNAPSHOT.schema.json")]
    registry: Registry[Any] = Registry().with_resources((one["$id"], Resource.from_contents(one)) for one in schemas if "$id" in one)
    (wanted,) = [one for one in schemas if "bom-1.6" in one["$id"]]
    validator = Draft7Validator(wanted, registry=registry)
    assert [error.message for error in validator.iter_errors(sbom)] == []
    assert list(validator.iter_errors(sbom | {"serialNumber": "1"})), "it can fail"


def test_what_is_linked_is_told_from_what_only_helped_to_build(sbom: dict[str, Any]) -> None:
    scopes = {one["name"]: one["scope"] for one in sbom["components"]}
    assert scopes == {"cc": "excluded", "macro": "excluded", "shared": "required", "syn": "excluded", "tokio": "required"}
    assert sbom["metadata"]["component"]["name"] == "program"
    (tokio,) = [one for one in sbom["components"] if one["name"] == "tokio"]
    assert tokio["licenses"][0]["expression"] == "MIT OR Apache-2.0" and tokio["purl"].startswith("pkg:cargo/tokio@1.")
    graph = {one["ref"]: one.get("dependsOn", []) for one in sbom["dependencies"]}
    assert graph["pkg:cargo/macro@1.0.0"] == ["pkg:cargo/syn@1.0.0"]
    assert not [reference for reference in graph if "insta" in reference]
