"""The image that scripts/try-image has built, and the daemon in it, shut in as its pod shuts it in."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from case import Case, quick, source
from postgres_tools import MASTER, fresh_instance, row_counts
from sandbox_process import MASTER_PASSWORD, REPOSITORY, Sandbox
from strongroom_process import Ended, Strongroom

ENGINE, IMAGE = os.environ["STRONGROOM_ENGINE"], os.environ["STRONGROOM_IMAGE"]
CONFIG = "/etc/strongroom/strongroom.toml"
USER = 10001
MAJORS = [14, 15, 16, 17, 18]
AS_IN_THE_POD = [
    *("--rm", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
    *("--tmpfs=/tmp:size=64m,noexec", "--env=TMPDIR=/tmp"),
    # The sandbox listens on this machine only.
    *("--network=host", "--pids-limit=0", f"--cgroup-parent=/{Path(ENGINE).parent.name}"),
]


def command(*words: str, options: list[str] | None = None) -> list[str]:
    return [ENGINE, "run", *AS_IN_THE_POD, *(options or []), IMAGE, *words]


def run(*words: str, options: list[str] | None = None) -> str:
    done = subprocess.run(command(*words, options=options), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def shell(script: str) -> list[str]:
    """Lines of what a script in the image says."""
    return run("-c", script, options=["--entrypoint=/bin/sh"]).splitlines()


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    done = subprocess.run([ENGINE, "image", "inspect", IMAGE], capture_output=True, text=True, check=True, timeout=60)
    (found,) = json.loads(done.stdout)
    config: dict[str, Any] = found["Config"]
    return config


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """All of its files, as nobody in it may see them."""
    done = subprocess.run([ENGINE, "image", "mount", IMAGE], capture_output=True, text=True, check=True, timeout=60)
    yield Path(done.stdout.split()[-1])
    subprocess.run([ENGINE, "image", "unmount", IMAGE], capture_output=True, check=True, timeout=60)


@pytest.fixture(scope="module")
def files(root: Path) -> dict[str, os.stat_result]:
    return {str(path.relative_to(root)): path.lstat() for path in root.rglob("*")}


def test_it_says_what_it_is_and_runs_as_nobody(described: dict[str, Any]) -> None:
    assert (described["User"], described["WorkingDir"], described["StopSignal"]) == ("10001:10001", "/tmp", "SIGTERM")
    assert (described["Entrypoint"], described["Cmd"]) == (["/usr/local/bin/strongroom"], ["run"])
    assert list(described["ExposedPorts"]) == ["9187/tcp"]
    labels = described["Labels"]
    assert labels["org.opencontainers.image.revision"] == os.environ["STRONGROOM_REVISION"]
    assert run("--version") == f"strongroom {labels['org.opencontainers.image.version']}\n"
    assert run("man").count(".SH ") > 3
    assert shell("id") == ["uid=10001(strongroom) gid=10001(strongroom) groups=10001(strongroom)"]


def test_its_parts_are_listed() -> None:
    listed = json.loads(Path(os.environ["STRONGROOM_SBOM"]).read_text())
    locked = re.findall(r'^name = "(.*)"$', (REPOSITORY / "Cargo.lock").read_text(), re.MULTILINE)
    assert listed["metadata"]["component"]["name"] == "strongroom"
    assert {part["name"] for part in listed["components"]} <= set(locked) and len(listed["components"]) > 300


@pytest.mark.parametrize("major", MAJORS)
def test_the_clients_of_each_major_are_there(major: int) -> None:
    (version,) = shell(f"/usr/lib/postgresql/{major}/bin/pg_dump --version")
    assert version.startswith(f"pg_dump (PostgreSQL) {major}.")


def test_nobody_becomes_another_one_nor_changes_what_all_run(files: dict[str, os.stat_result]) -> None:
    assert [
        name
        for name, found in files.items()
        if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_ISUID | stat.S_ISGID)
    ] == []
    assert [name for name, found in files.items() if found.st_uid == USER or found.st_gid == USER] == []
    kinds = (stat.S_ISREG, stat.S_ISDIR)
    open_to_all = {
        name
        for name, found in files.items()
        if found.st_mode & stat.S_IWOTH and any(kind(found.st_mode) for kind in kinds)
    }
    assert open_to_all <= {"tmp", "var/tmp", "run/lock"}


def test_what_it_was_built_with_is_not_in_it(root: Path, files: dict[str, os.stat_result]) -> None:
    left = ("tmp/", "build", "out", "var/lib/apt/lists/", "var/cache/apt/archives/partial/")
    # The stand-in for a mirror is Debian's affair.
    own = [name for name in files if not name.startswith("stand-in/")]
    assert [name for name in own if name.startswith(left) or name.endswith((".deb", ".key"))] == []
    programs = {Path(name).name for name in files if Path(name).parent.name in ("bin", "sbin")}
    assert "pg_dump" in programs and not programs & {"cargo", "gcc", "python3", "curl"}
    people = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
    shells = {person[0] for person in people if not person[-1].endswith(("/nologin", "/false", "/sync"))}
    assert shells == {"root"}, "who could log in"


@pytest.mark.parametrize("name", ["strongroom", "fleet", "demo"])
def test_the_samples_are_good_in_it(name: str) -> None:
    done = subprocess.run(
        command("check", options=[f"--volume={REPOSITORY}/config/{name}.toml:{CONFIG}:ro"]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Findings end with 3.
    assert done.returncode in (0, 3), done.stdout + done.stderr


@dataclass
class InImage(Strongroom):
    """The image, with what its pod mounts."""

    ca_file: str = ""
    password_file: Path | None = None

    def command(self, *words: str, config: bool = True) -> list[str]:
        mounted = {self.ca_file: self.ca_file} | ({str(self.config): CONFIG} if config else {})
        if self.password_file:
            mounted[str(self.password_file)] = str(self.password_file)
        options = [f"--volume={here}:{there}:ro" for here, there in mounted.items()]
        options += [f"--env={name}" for name in self.environment if name.startswith("AWS_")]
        return command(*(["--config", CONFIG] if config else []), *words, options=options)


def in_image(case: Case, plain: Strongroom) -> InImage:
    return InImage(plain.config, plain.environment, plain.directory, plain.daemons, plain.at_rest, case.sandbox.ca_file)


def test_it_makes_backups_with_nothing_to_write_to_but_a_small_tmp(case: Case) -> None:
    sources = {"accounts": source("accounts"), "lending": source("lending", policy="streamed")}
    plain = case.configure(
        snapshot=quick(),
        dump=quick(engine=None),
        sources=sources,
        policies={"streamed": {"dump": quick(engine="pg_dump")}},
    )
    daemon = in_image(case, plain).start()
    daemon.wait_for(lambda: len(daemon.lines("run succeeded")) == 3, "a snapshot and two dumps are made", 90)
    daemon.wait_for(case.at_rest, "both dumps are read back", 90)
    for name in sources:
        (manifest,) = case.manifests(name)
        case.assert_whole(manifest)
        assert max(MAJORS) == int(manifest["versions"]["pg_dump"].split()[2].split(".")[0]), manifest["versions"]
    assert daemon.at_level("ERROR", "WARN") == []
    assert daemon.terminate() == 0


def test_what_it_dumped_it_restores(case: Case, sandbox: Sandbox, tmp_path: Path) -> None:
    strongroom = in_image(case, case.configure("accounts", dump=quick(engine=None)))
    strongroom.password_file = tmp_path / "password"
    strongroom.password_file.write_text(MASTER_PASSWORD)
    strongroom("backup", "dump", "accounts")
    login = ["--user", MASTER, "--password-file", str(strongroom.password_file)]
    with fresh_instance(sandbox) as target:
        words = ["restore", "dump", "accounts", "--instance", target, *login, "--into", "again", "--create"]
        ended: Ended = strongroom(*words, seconds=120)
        assert "rows compared with the dump" in ended.out
        assert row_counts(sandbox, target, "again") == row_counts(sandbox, "bank-accounts", "accounts")
