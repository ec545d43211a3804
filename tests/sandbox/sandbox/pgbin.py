"""Finds PostgreSQL installations, and keeps initialised clusters so that an instance starts in about a second."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ADMIN = "rdsadmin"
"""RDS's own superuser. The master user is none, as in AWS."""

SEGMENT_MIB = 1
"""Small WAL segments: one is archived every second, so 16 MiB each would fill the disk."""

NO_TLS = b"SSL is not supported by this build"
"""The message that only a server built without TLS has in its program file."""

ENCODING = ("--encoding=UTF8", "--locale=C.UTF-8")

BOOTSTRAP = """
CREATE ROLE rds_superuser NOLOGIN;
GRANT pg_monitor, pg_signal_backend TO rds_superuser WITH ADMIN OPTION;
CREATE DATABASE rdsadmin;
REVOKE ALL ON DATABASE rdsadmin FROM PUBLIC;
"""


@dataclass(frozen=True)
class Installation:
    """One PostgreSQL: where its programs are, and which version they say they are (`15.18`)."""

    bindir: Path
    version: str
    tls: bool = True
    """False for builds without OpenSSL, which some packagings are; their instances take plain connections."""

    @property
    def major(self) -> str:
        return self.version.split(".")[0]

    def program(self, name: str) -> str:
        return str(self.bindir / name)

    @property
    def psql(self) -> str:
        """Its own psql, or any other: some packagings have servers without clients."""
        own = self.bindir / "psql"
        return str(own) if own.exists() else shutil.which("psql") or "psql"


def _candidates() -> list[Path]:
    """Where servers may be: `SANDBOX_PG_BINDIRS` first, then Debian's places."""
    named = [Path(each) for each in os.environ.get("SANDBOX_PG_BINDIRS", "").split(os.pathsep) if each]
    return named + sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@lru_cache(maxsize=1)
def installations() -> list[Installation]:
    """The newest major first; of two with the same major the one named first wins."""
    found: dict[int, Installation] = {}
    for bindir in _candidates():
        server = bindir / "postgres"
        if not server.exists():
            continue
        text = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
        match = re.search(r"(\d+)\.(\d+)", text)
        if match:
            tls = NO_TLS not in server.read_bytes()
            found.setdefault(int(match[1]), Installation(bindir, f"{match[1]}.{match[2]}", tls))
    return [found[major] for major in sorted(found, reverse=True)]


def find(version: str | None) -> Installation | None:
    """The installation for `15`, `15.18` or, when no version is asked for, the newest one."""
    for each in installations():
        if version in (None, "", each.major, each.version):
            return each
    return None


def as_server_user() -> dict[str, Any]:
    """Arguments of subprocess that run a command as a user PostgreSQL accepts: it refuses root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def own(path: Path) -> None:
    """Gives a file or directory, not its contents, to the server's user."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(path, user.pw_uid, user.pw_gid)


def make_owned(path: Path, mode: int = 0o700) -> Path:
    path.mkdir(mode=mode)
    path.chmod(mode)
    own(path)
    return path


def template(installation: Installation, cache: Path, workdir: Path) -> Path:
    """An initialised data directory to copy, made once per version and recipe.

    It is made in the work directory, which the server's user can reach, and moved into the cache by one rename, so
    that sandboxes starting at once do not see half of it.
    """
    recipe = hashlib.sha256(repr((BOOTSTRAP, ENCODING, SEGMENT_MIB, os.geteuid() == 0)).encode()).hexdigest()[:8]
    ready = cache / f"initdb-{installation.version}-{recipe}"
    if ready.is_dir():
        return ready
    cache.mkdir(parents=True, exist_ok=True)
    build = make_owned(Path(tempfile.mkdtemp(prefix="initdb-", dir=workdir)) / "data")
    build.parent.chmod(0o755)
    _run(
        [installation.program("initdb"), "-D", build, "-U", ADMIN, "--auth=trust", *ENCODING]
        + ["--no-sync", f"--wal-segsize={SEGMENT_MIB}"]
    )
    for statement in BOOTSTRAP.strip().splitlines():
        single = [installation.program("postgres"), "--single", "-F", "-D", build, "postgres"]
        _run(single, input=statement + "\n")
    staged = Path(tempfile.mkdtemp(prefix=".initdb-", dir=cache))
    copy_tree(build, staged / "data")
    try:
        (staged / "data").rename(ready)
    except OSError:
        pass  # another sandbox was first: its template is as good
    shutil.rmtree(staged)
    shutil.rmtree(build.parent)
    return ready


def copy_tree(source: Path, target: Path) -> None:
    """As `cp -a`, which keeps owners and shares blocks where the file system can."""
    _run(["cp", "-a", "--reflink=auto", source, target], unprivileged=False)


def share(older: Path, newer: Path) -> None:
    """Makes equal files of two trees that nobody writes to any more one file: AWS's snapshots are incremental too."""
    for directory, _, names in os.walk(newer):
        beside = os.path.join(older, os.path.relpath(directory, newer))
        for name in names:
            file, other = os.path.join(directory, name), os.path.join(beside, name)
            with suppress(OSError):  # not there, or just being deleted: both stay as they are
                if _content(file) == _content(other):
                    os.link(other, f"{file}.shared")
                    os.replace(f"{file}.shared", file)


def _content(file: str) -> bytes:
    with open(file, "rb", buffering=0) as opened:
        return opened.readall()


def _run(command: list[Any], input: str | None = None, unprivileged: bool = True) -> None:
    user = as_server_user() if unprivileged else {}
    done = subprocess.run(
        [str(part) for part in command], input=input, capture_output=True, text=True, cwd="/", env=clean_env(), **user
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}: {done.stderr or done.stdout}")


def clean_env() -> dict[str, str]:
    """The caller's PG* variables must not reach our servers and clients; messages in English."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
