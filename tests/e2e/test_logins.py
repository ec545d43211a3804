"""The login that dumps are made with: what would make the next dump fail is told before that dump is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from case import Case, Config, quick
from own_instance import SOURCE, Bank
from sandbox_process import BACKUP_USER, CANARY
from strongroom_process import Strongroom


def configure(case: Case, bank: Bank, **credentials: Any) -> Strongroom:
    own: Config = {"instance": bank.instance, "policy": "p", "databases": [SOURCE]}
    own["credentials"] = credentials or {"secret": f"rds/{SOURCE}/backup"}
    environment = {"WRONG_PASSWORD": CANARY}
    return case.configure(snapshot=quick(), dump=quick(), sources={SOURCE: own}, environment=environment)


def checked(strongroom: Strongroom) -> str:
    """What `check --online` says of the dump of the database; nothing where it is content."""
    lines = strongroom("check", "--online", code=None).out.splitlines()
    return "\n".join(line for line in lines if line.startswith(f"  {SOURCE} dump of {SOURCE}: "))


def test_what_the_login_may_not_read_is_told_until_it_may(case: Case, bank: Bank) -> None:
    strongroom = configure(case, bank)
    assert checked(strongroom) == ""
    bank.sql(f"REVOKE pg_read_all_data FROM {BACKUP_USER}; CREATE TABLE secret (n int)")
    told = checked(strongroom)
    assert "may not read" in told and "make the role a member of pg_read_all_data" in told, told
    ended = strongroom("backup", "dump", SOURCE, code=1)
    assert "permission denied" in ended.err, "and that is what would have happened"
    bank.sql(f"GRANT pg_read_all_data TO {BACKUP_USER}")
    bank.sql("ALTER TABLE secret ENABLE ROW LEVEL SECURITY")
    bank.sql("SELECT lo_from_bytea(4711, '\\x00')")
    told = checked(strongroom)
    assert "row-level security hides rows of database accounts" in told, told
    assert "public.secret" in told and "BYPASSRLS" in told and "large objects" in told, told
    bank.sql("ALTER TABLE secret DISABLE ROW LEVEL SECURITY")
    assert "row-level security" not in checked(strongroom)
    assert "permission denied for large object" in strongroom("backup", "dump", SOURCE, code=1).err
    bank.sql(f"GRANT SELECT ON LARGE OBJECT 4711 TO {BACKUP_USER}")
    assert checked(strongroom) == ""
    strongroom("backup", "dump", SOURCE, seconds=60)


def test_a_password_that_ends_is_told_before_it_does(case: Case, bank: Bank) -> None:
    strongroom = configure(case, bank)
    for days, is_told in ((30, False), (10, True), (2, True)):
        until = datetime.now(UTC) + timedelta(days=days)
        bank.sql(f"ALTER ROLE {BACKUP_USER} VALID UNTIL '{until.isoformat()}'")
        assert ("is valid until" in checked(strongroom)) == is_told, days
    bank.sql(f"ALTER ROLE {BACKUP_USER} VALID UNTIL 'infinity'")
    assert checked(strongroom) == ""
    # Who logs in by IAM needs none.
    bank.sql(f"ALTER ROLE {BACKUP_USER} VALID UNTIL '{datetime.now(UTC) + timedelta(days=2)}'")
    bank.sql(f"CREATE ROLE rds_iam; GRANT rds_iam TO {BACKUP_USER}")
    assert checked(strongroom) == ""


def test_a_login_that_is_refused_is_told_without_the_password(case: Case, bank: Bank) -> None:
    strongroom = configure(case, bank, user=BACKUP_USER, password_env="WRONG_PASSWORD")
    told = checked(strongroom)
    assert "password authentication failed" in told and CANARY not in told, told
    daemon = strongroom.start()
    found = lambda: [own for own in daemon.status().get("findings", []) if own["check"] == "dump_login"]  # noqa: E731
    daemon.wait_for(found, "the daemon has tried it, too")
    assert CANARY not in str(daemon.status()) + daemon.log_file.read_text()
