"""Servers and clients of other majors of PostgreSQL: each is dumped, read by stock pg_restore, and restored into a newer one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
import sandbox_process
from case import Case, Config, settled
from lab import Database, assert_same, by_pg_restore, by_strongroom, decompress, download, dumped
from postgres_tools import LARGE_OBJECTS, fake_pg_dump
from sandbox_process import Sandbox

SERVERS = [15] + [major for major in (14, 16, 17, 18) if (lab.server(major) / "postgres").exists()]
CLIENTS = [15] + [major for major in (16, 17, 18) if (lab.client(major) / "pg_restore").exists()]
WITHOUT_ZSTD = {16: "was not built", 18: "was not built"}
"""Clients whose package was built without zstd; that of 15 does not know it yet."""


def needs(server: int, client: int) -> pytest.MarkDecorator:
    missing = server not in SERVERS or client not in CLIENTS
    return pytest.mark.skipif(missing, reason=f"scripts/majors could not fetch PostgreSQL {server} or {client}")


def pair(server: int, client: int) -> object:
    return pytest.param(server, client, marks=needs(server, client), id=f"{server}-by-{client}")


@pytest.fixture(scope="module")
def majors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server of each major with the bank on it."""
    bindirs = os.pathsep.join(str(lab.server(major)) for major in SERVERS if major != 15)
    running = sandbox_process.start(
        tmp_path_factory.mktemp("majors"), lab.seed(*SERVERS), environment={"SANDBOX_PG_BINDIRS": bindirs}
    )
    try:
        for major in SERVERS:
            lab.fill(Database(running, f"lab-{major}", "bank"), scale="0.01")
        yield running
    finally:
        running.stop()


@pytest.fixture
def case(majors: Sandbox, tmp_path: Path) -> Iterator[Case]:
    with settled(Case(majors, tmp_path)) as corner:
        yield corner


TOC_VERSIONS = {15: "1.14", 16: "1.15", 17: "1.16", 18: "1.16"}


@pytest.mark.parametrize(
    ("server", "client"), [pair(14, 15), pair(14, 17), pair(15, 17), pair(16, 16), pair(17, 17), pair(18, 18)]
)
def test_a_dump_of_a_major_is_read_by_stock_pg_restore_of_it(
    case: Case, majors: Sandbox, tmp_path: Path, server: int, client: int
) -> None:
    bank = Database(majors, f"lab-{server}", "bank")
    strongroom, manifest = dumped(case, bank, client)
    assert manifest["versions"]["archive"] == TOC_VERSIONS[client]
    assert manifest["versions"]["server"].startswith(str(server))
    names = {item["key"].rsplit("/", 1)[1] for item in manifest["objects"]}
    lists = {name for name in names if name.endswith(".toc")}
    assert manifest["large_objects"]["count"] > 0
    assert all(name.startswith("blobs_") for name in lists) if client >= 17 else lists == {"blobs.toc"}
    archive = download(case, manifest, tmp_path / "archive")
    if client < 16 or client in WITHOUT_ZSTD:
        decompress(archive)
    else:
        assert list(archive.glob("*.zst")), "this client reads them as they are"
    copy, again = bank.beside("by_stock"), bank.beside("by_strongroom")
    try:
        by_pg_restore(archive, lab.create(copy), client)
        by_strongroom(strongroom, tmp_path, again)
        original = bank.pg_dump(major=client)
        assert_same(original, copy.pg_dump(major=client))
        assert_same(original, again.pg_dump(major=client))
        assert bank.rows(LARGE_OBJECTS) == copy.rows(LARGE_OBJECTS) == again.rows(LARGE_OBJECTS) != []
    finally:
        lab.drop(copy)
        lab.drop(again)


@pytest.mark.parametrize(("server", "client"), [pair(14, 17), pair(16, 17), pair(17, 18)])
def test_a_dump_of_one_major_comes_back_into_a_newer_one(
    case: Case, majors: Sandbox, tmp_path: Path, server: int, client: int
) -> None:
    bank = Database(majors, f"lab-{server}", "bank")
    strongroom, manifest = dumped(case, bank, client)
    newer = bank.beside("newer", client)
    try:
        ended = by_strongroom(strongroom, tmp_path, newer)
        assert f"{manifest['rows']} rows compared with the dump" in ended.out
        # One client for both: what differs then is the database. Servers write definitions of views in words of their own.
        before, after = (one.pg_dump(major=client) for one in (bank, newer))
        assert OBJECTS.findall(before) == OBJECTS.findall(after)
        before, after = (one.pg_dump("--data-only", major=client) for one in (bank, newer))
        assert_same(before, after)
        assert bank.rows(LARGE_OBJECTS) == newer.rows(LARGE_OBJECTS)
    finally:
        lab.drop(newer)


OBJECTS = re.compile("^-- (?:Name|Data for Name): .*", re.M)
"""Every object of a plain dump, with its schema and its owner."""


def test_an_archive_of_an_unknown_version_is_refused_by_name(case: Case, majors: Sandbox, tmp_path: Path) -> None:
    """The byte after `PGDMP` and the major version is the minor one."""
    script = (
        'f="$TMPDIR/later"; "$REAL" "$@" >"$f"; { head -c 6 "$f"; printf "\\021"; tail -c +8 "$f"; }; rm -f "$f"'
    ).replace("$TMPDIR", str(tmp_path))
    later = fake_pg_dump(tmp_path / "bin", script)
    bank = Database(majors, "lab-15", "bank")
    strongroom = lab.configure(case, bank)
    config = strongroom.config.read_text().replace(str(lab.client(15)), str(later))
    strongroom.config.write_text(config)
    ended = strongroom("backup", "dump", "lab", code=1)
    assert "archive version 1.17 is unknown to strongroom, which reads 1.12 to 1.16" in ended.out + ended.err
    assert case.manifests("lab") == [] and not case.uploads()
