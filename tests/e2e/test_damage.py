"""A heap page that is damaged on disk: whatever reads the table says so, with its name, and nothing of it is shown."""

from __future__ import annotations

import re
from pathlib import Path

from case import YEARLY, Case, quick
from own_instance import NETWORK, SOURCE, Bank
from sandbox_process import REGION
from strongroom_process import Strongroom

SECONDS = 180
SECRET = "row-4711"


def damage(bank: Bank) -> None:
    """Overwrites the header of the first page of a table of four, while its server is down."""
    bank.sql(f"CREATE TABLE harmed AS SELECT n, '{SECRET}' AS text FROM generate_series(1, 500) AS n")
    bank.sql("GRANT SELECT ON harmed TO PUBLIC")
    path = Path(bank.sql("SHOW data_directory")[0][0]) / bank.sql("SELECT pg_relation_filepath('harmed')")[0][0]
    bank.sandbox.rds("stop_postgres", id=bank.instance)
    with path.open("r+b") as file:
        file.seek(12)
        # Where free space begins and ends in the page: beyond its end.
        file.write(b"\xff\xff\xff\xff")
    bank.sandbox.rds("start_postgres", id=bank.instance)


def configure(case: Case, bank: Bank) -> Strongroom:
    own = {"instance": bank.instance, "policy": "p", "databases": [SOURCE]}
    own["credentials"] = {"secret": f"rds/{SOURCE}/backup"}
    drill = {"schedule": YEARLY, "paths": ["snapshot"], "retry": {"initial_backoff": "1s", "backoff_max": "2s"}}
    drills = {"subnet_group": NETWORK["subnet_group"], "security_groups": ["sg-0a1b2c3d"]}
    return case.configure(
        snapshot=quick(), dump=quick(engine=None), drill=drill, drills=drills, sources={SOURCE: own}, restore={REGION: NETWORK}
    )


def test_a_damaged_page_fails_whatever_reads_it_and_its_table_is_named(case: Case, bank: Bank) -> None:
    """T28. A drill, a restore, a dump and a recovery of an instance with one damaged page."""
    damage(bank)
    strongroom = configure(case, bank)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    # A drill: the backup is bad, and is no longer taken for the newest good one.
    ended = strongroom("drill", SOURCE, code=3, seconds=SECONDS)
    assert re.search(r"^fault .*public\.harmed.*(invalid page|XX001)", ended.out, re.M), ended.out
    assert "this backup is not to be relied on" in ended.out
    # A restore: it is there, and is not whole.
    name = f"{bank.instance}-again"
    from_it = ("--from", case.snapshot_ids()[0])
    ended = strongroom("restore", "snapshot", SOURCE, *from_it, "--as", name, code=1, seconds=SECONDS)
    assert "harmed" in ended.err and "was not read to its end" in ended.err, ended.err
    # A dump: it fails, and there is no manifest of it.
    ended = strongroom("backup", "dump", SOURCE, code=1, seconds=SECONDS)
    assert "harmed" in ended.err and not case.manifests(SOURCE), ended.err
    # A recovery: nothing is switched.
    ended = strongroom("recover", "corruption", SOURCE, *from_it, "--yes", code=1, seconds=SECONDS)
    assert "harmed" in ended.err and not case.calls("ModifyDBInstance"), ended.err
    assert SECRET not in ended.out + ended.err
