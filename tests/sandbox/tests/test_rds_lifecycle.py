"""The program itself: its one line, its seed, and that nothing of it remains."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rds_support import PASSWORD, WEST, Sandbox, environment, refused, running, servers_of, wait_for

ONE = {"instances": [{"id": "one", "backup_retention": 0}]}


def test_after_sigterm_no_process_and_no_file_remains() -> None:
    with running(ONE) as sandbox:
        assert len(servers_of(sandbox.workdir)) >= 2
        assert sandbox.ready["pid"] == sandbox.process.pid
        sandbox.process.send_signal(signal.SIGTERM)
        assert sandbox.process.wait(30) == 0
        assert servers_of(sandbox.workdir) == []
        assert not sandbox.workdir.exists()


def test_after_sigterm_in_the_middle_of_work_nothing_remains() -> None:
    with running(ONE) as sandbox:
        for name in ("a", "b"):
            sandbox.client().create_db_instance(
                DBInstanceIdentifier=name,
                DBInstanceClass="db.t3.micro",
                Engine="postgres",
                AllocatedStorage=20,
                MasterUsername="master",
                MasterUserPassword=PASSWORD,
            )
        sandbox.client().create_db_snapshot(DBInstanceIdentifier="one", DBSnapshotIdentifier="snap")
        sandbox.process.send_signal(signal.SIGTERM)
        assert sandbox.process.wait(30) == 0
        wait_for(lambda: not servers_of(sandbox.workdir), "no process")
        assert not sandbox.workdir.exists()


def test_a_signal_that_another_thread_takes_stops_the_sandbox_too() -> None:
    """The kernel may give a signal to any thread; a main thread that waited for a lock slept through it."""
    program = (
        "import signal, threading, time\n"
        "from sandbox.__main__ import Stop\n"
        "stop = Stop()\n"
        "def take() -> None:\n"
        "    time.sleep(0.2)\n"
        "    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
        "threading.Thread(target=take, daemon=True).start()\n"
        "stop.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment(), timeout=30)
    assert done.returncode == 0


def test_after_kill_nine_the_reaper_stops_the_servers_and_removes_the_files() -> None:
    with running(ONE) as sandbox:
        sandbox.process.kill()
        sandbox.process.wait(30)
        wait_for(lambda: not servers_of(sandbox.workdir), "no process")
        wait_for(lambda: not sandbox.workdir.exists(), "no files")


def test_the_sandbox_ends_with_its_parent() -> None:
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'sandbox', '--die-with-parent'], stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode(), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), timeout=60
    )
    workdir = Path(json.loads(done.stdout)["workdir"])
    wait_for(lambda: not workdir.exists() and not servers_of(workdir), "everything gone")


def test_two_sandboxes_run_beside_each_other() -> None:
    with running(ONE) as first, running(ONE) as second:
        ports = {each.ready["instances"]["one"]["port"] for each in (first, second)}
        assert len(ports) == 2 and first.endpoint != second.endpoint
        assert first.instance("one")["DbiResourceId"] != second.instance("one")["DbiResourceId"]


def test_reset_of_moto_stops_the_servers() -> None:
    with running(ONE) as sandbox:
        port = sandbox.ready["instances"]["one"]["port"]
        request = subprocess.run(["curl", "-fsS", "-X", "POST", f"{sandbox.endpoint}/moto-api/reset"], check=False)
        assert request.returncode == 0
        with refused("DBInstanceNotFound"):
            sandbox.instance("one")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host="localhost", port=port, user="master", password="x")
        sandbox.create("one")


@pytest.mark.parametrize(
    ("seed", "named"),
    [
        ({"instnaces": []}, "instnaces"),
        ({"instances": [{"id": "a", "databses": []}]}, "instances[0].databses"),
        ({"instances": [{"region": "us-east-1"}]}, "id"),
        ({"instances": [{"id": "a", "roles": [{"name": "r", "passwd": "x"}]}]}, "instances[0].roles[0].passwd"),
        ({"buckets": [{"name": "b", "replica": {"bucket": "c"}}]}, "region"),
        ({"timing": {"creation": 1}}, "timing.creation"),
        ({"quotas": {"dbs": 1}}, "quotas.dbs"),
    ],
)
def test_a_seed_key_that_is_not_known_is_named(seed: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(seed))
    command = [sys.executable, "-m", "sandbox", "--seed", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 2 and named in done.stderr and done.stdout == ""


def test_broken_sql_in_the_seed_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "seed.json"
    path.write_text(json.dumps({"instances": [{"id": "a", "sql": "SELEC 1"}]}))
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:  # pytest's own are closed to the user postgres
        Path(parent).chmod(0o755)
        workdir = Path(parent) / "work"
        command = [sys.executable, "-m", "sandbox", "--seed", str(path), "--workdir", str(workdir)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
        assert done.returncode == 1 and "syntax error" in done.stderr and done.stdout == ""
        assert not workdir.exists()


FULL: dict[str, Any] = {
    "regions": ["us-east-1", "us-west-2"],
    "kms_keys": [{"alias": "bank", "region": "us-east-1"}],
    "sns_topics": ["alerts", {"name": "west", "region": "us-west-2"}],
    "secrets": {"webhook": {"url": "http://localhost/"}},
    "instances": [
        {
            "id": "accounts",
            "databases": ["accounts", "audit"],
            "sql_files": ["schema.sql"],
            "sql": "INSERT INTO account SELECT generate_series(1, :rows);",
            "psql_vars": {"rows": 12},
            "master_user": "owner",
            "master_password": PASSWORD,
            "backup_retention": 7,
            "tags": {"team": "accounts"},
            "secret": "rds/accounts/owner",
            "kms_key": "alias/bank",
            "roles": [
                {
                    "name": "backup",
                    "password": "backup-password",
                    "secret": "rds/accounts/backup",
                    "grants_sql": "GRANT pg_read_all_data TO backup;",
                },
                {"name": "token_user", "iam": True},
            ],
            "snapshots": [{"id": "before", "tags": {"kept": "yes"}}],
        },
        {"id": "cards", "region": "us-west-2", "backup_retention": 0, "force_ssl": False},
    ],
    "buckets": [
        {"name": "backups-dr", "region": "us-west-2", "versioning": True},
        {
            "name": "backups",
            "region": "us-east-1",
            "kms": "alias/bank",
            "object_lock": {"Mode": "GOVERNANCE", "Days": 1},
            "replica": {"bucket": "backups-dr", "region": "us-west-2"},
        },
    ],
}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    schema = tmp_path_factory.mktemp("seed") / "schema.sql"
    schema.write_text("CREATE TABLE account (id bigint PRIMARY KEY);\n")
    seed = json.loads(json.dumps(FULL))
    seed["instances"][0]["sql_files"] = [str(schema)]
    with running(seed) as sandbox:
        yield sandbox


def test_the_seed_makes_databases_rows_roles_and_secrets(seeded: Sandbox) -> None:
    told = seeded.ready["instances"]["accounts"]
    assert told["databases"] == ["accounts", "audit"] and told["user"] == "owner"
    rows = seeded.rows("accounts", "SELECT count(*) FROM account", user="owner", dbname="accounts")
    assert rows == [(12,)]
    secret = json.loads(
        seeded.client("secretsmanager").get_secret_value(SecretId="rds/accounts/backup")["SecretString"]
    )
    assert (secret["host"], secret["port"], secret["engine"]) == (told["host"], told["port"], "postgres")
    found = seeded.rows(
        "accounts",
        "SELECT count(*) FROM account",
        password=secret["password"],
        user=secret["username"],
        dbname=secret["dbname"],
    )
    assert found == [(12,)]
    assert seeded.instance("accounts")["StorageEncrypted"]
    assert seeded.snapshot("before")["TagList"] == [{"Key": "kept", "Value": "yes"}]
    assert seeded.instance("cards", WEST)["DBInstanceStatus"] == "available"


def test_an_iam_role_gets_in_by_any_token_over_tls_only(seeded: Sandbox) -> None:
    token = seeded.client().generate_db_auth_token(DBHostname="localhost", Port=1, DBUsername="token_user")
    assert seeded.rows("accounts", "SELECT current_user", password=token, user="token_user") == [("token_user",)]
    port = seeded.ready["instances"]["accounts"]["port"]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(host="localhost", port=port, user="token_user", password=token, sslmode="disable")


def test_without_force_ssl_plain_connections_are_taken(seeded: Sandbox) -> None:
    told = seeded.ready["instances"]["cards"]
    words = {"host": "localhost", "port": told["port"], "user": told["user"], "password": told["password"]}
    with psycopg.connect(**words, dbname="postgres", sslmode="disable") as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_the_seed_makes_buckets_topics_and_secrets(seeded: Sandbox) -> None:
    s3 = seeded.client("s3")
    assert seeded.ready["buckets"] == ["backups-dr", "backups"]
    encryption = s3.get_bucket_encryption(Bucket="backups")["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert encryption["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == "alias/bank"
    assert s3.get_bucket_replication(Bucket="backups")["ReplicationConfiguration"]["Rules"][0]["Status"] == "Enabled"
    lock = s3.get_object_lock_configuration(Bucket="backups")["ObjectLockConfiguration"]
    assert lock["Rule"]["DefaultRetention"]["Days"] == 1
    topics = seeded.client("sns").list_topics()["Topics"]
    assert [topic["TopicArn"].rsplit(":", 1)[1] for topic in topics] == ["alerts"]
    assert "url" in seeded.client("secretsmanager").get_secret_value(SecretId="webhook")["SecretString"]
