"""One real PostgreSQL server standing behind one RDS instance.

Everything of an instance is under its own directory: `data/`, `archive/` (WAL), `log/error/` (the server's log as RDS
names it), `tls/`. Durability is off (`fsync=off`): these clusters do not outlive the machine's power, only processes.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from .certs import Authority
from .pgbin import ADMIN, Installation, as_server_user, clean_env, copy_tree, make_owned, own

START_TIMEOUT = 120.0
PORTS = (20000, 32000)
"""Below the range the kernel takes client ports from, so that a stopped server finds its port free again."""

NOT_COPIED = frozenset(
    ["pg_wal", "postmaster.pid", "postmaster.opts", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial"]
    + ["pg_snapshots", "pg_stat_tmp", "pg_subtrans", "backup_label", "tablespace_map"]
)
"""What PostgreSQL's manual says to leave out of a physical copy; directories among them are made empty."""

RECOVERY = "recovery.conf.inc"
"""Settings of a point-in-time recovery, in a file of their own so that they can be taken away afterwards."""

VANISHED = re.compile(r"No such file or directory|file vanished")


class PostgresError(RuntimeError):
    """The server could not do what the sandbox needed; the text holds the end of its log."""


@dataclass
class Cluster:
    """Runs, copies and recovers one data directory."""

    name: str
    home: Path
    sockets: Path
    installation: Installation
    force_ssl: bool = True
    iam_roles: tuple[str, ...] = ()
    port: int = 0
    retired: bool = False
    """Set when the sandbox stops: nothing may start after that, or nobody would stop it."""
    _process: subprocess.Popen[bytes] | None = None
    _admin: psycopg.Connection[Any] | None = None
    _admin_lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    @property
    def logs(self) -> Path:
        return self.home / "log" / "error"

    def prepare(self, authority: Authority) -> None:
        """Makes the directories and the certificate, before a data directory is copied in."""
        for directory in (self.home, self.archive, self.home / "log", self.logs, self.home / "tls"):
            make_owned(directory, mode=0o755)
        for path in authority.issue(self.home / "tls"):
            own(path)

    # Running -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the server and returns when it accepts connections; a port taken by another process is replaced."""
        for _ in range(10):
            if self.retired:
                raise PostgresError(f"{self.name}: the sandbox is stopping")
            if not self.port:
                self.port = free_port()
            self._write_configuration()
            if self._launch():
                return
            self.port = 0
        raise PostgresError(f"{self.name}: no free port found")

    def _launch(self) -> bool:
        """False when the port was taken between choosing and binding it."""
        output = self.home / "postmaster.out"
        with output.open("wb") as sink:
            self._process = subprocess.Popen(
                [self.installation.program("postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd="/",
                env=clean_env(),
                start_new_session=True,
                **as_server_user(),
            )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                text = output.read_text(errors="replace") + self.log_tail()
                if "could not create any TCP/IP sockets" in text or "Is another postmaster already running" in text:
                    return False
                raise PostgresError(f"{self.name}: the server ended while starting:\n{text}")
            if self.accepts():
                return True
            time.sleep(0.02)
        raise PostgresError(f"{self.name}: not up after {START_TIMEOUT} s:\n{self.log_tail()}")

    def accepts(self) -> bool:
        """The server writes `ready` or `standby` into the last line of its pid file when it takes connections."""
        with suppress(OSError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[7].strip() in ("ready", "standby")
        return False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, immediate: bool = False) -> None:
        """Stops the server by its process id: `fast` as RDS does, or without a checkpoint when the data go anyway."""
        if self._admin_lock.acquire(timeout=2):  # a statement that hangs must not keep its server alive
            if self._admin is not None:
                self._admin.close()
                self._admin = None
            self._admin_lock.release()
        if self._process is None:
            return
        steps = [(signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)]
        for number, seconds in steps[1:] if immediate else steps:
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    # Asking the server -------------------------------------------------------------------------------------------

    def admin(self, statement: Any, parameters: Iterable[Any] | None = None) -> list[tuple[Any, ...]]:
        """Runs one statement as rdsadmin on a connection that is kept: one is made every second otherwise."""
        with self._admin_lock:
            for attempt in (1, 2):
                try:
                    if self._admin is None or self._admin.closed:
                        self._admin = self.connect("postgres")
                    cursor = self._admin.execute(statement, list(parameters) if parameters else None)
                    return cursor.fetchall() if cursor.description else []
                except psycopg.OperationalError:
                    with suppress(psycopg.Error):
                        if self._admin is not None:
                            self._admin.close()
                    self._admin = None
                    if attempt == 2:
                        raise
        raise AssertionError("unreachable")

    def connect(self, database: str, user: str = ADMIN) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.sockets),
            port=self.port,
            user=user,
            dbname=database,
            autocommit=True,
            connect_timeout=30,
            application_name="sandbox",
        )

    def run_sql(self, database: str, user: str, source: Path | str, variables: dict[str, str] | None = None) -> None:
        """Feeds a file, or text, to psql, so that seeds may use its commands and variables."""
        command = [self.installation.psql, "-X", "-q", "-h", str(self.sockets), "-p", str(self.port)]
        command += ["-U", user, "-d", database, "-v", "ON_ERROR_STOP=1", "-o", os.devnull]
        for key, value in (variables or {}).items():
            command += ["-v", f"{key}={value}"]
        text = None if isinstance(source, Path) else source
        if isinstance(source, Path):
            command += ["-f", str(source)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=clean_env())
        if done.returncode != 0:
            raise PostgresError(f"{self.name}: SQL failed in {database}:\n{done.stderr[-4000:]}")

    def create_master(self, user: str, password: str, databases: list[str]) -> None:
        """The RDS master: may create roles and databases, is no superuser, cannot read password hashes."""
        name = sql.Identifier(user)
        self.admin(sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD {}").format(name, sql.Literal(password)))
        self.admin(sql.SQL("GRANT rds_superuser TO {} WITH ADMIN OPTION").format(name))
        self.admin(sql.SQL("ALTER DATABASE postgres OWNER TO {}").format(name))
        for database in databases:
            self.create_database(database, user)

    def create_database(self, database: str, owner: str) -> None:
        if database != "postgres":
            self.admin(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner)))

    def set_password(self, user: str, password: str) -> None:
        self.admin(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), sql.Literal(password)))

    # Write-ahead log -----------------------------------------------------------------------------------------------

    def archive_now(self) -> datetime:
        """Archives everything up to a moment and returns that moment: a restore to it, or before it, will work.

        A transaction committed after the moment goes into the archived WAL too: recovery to a time only ends well
        when it meets a later commit.
        """
        moment = datetime.now(UTC)
        self.admin("SELECT pg_current_xact_id()")
        (name,) = self.admin("SELECT pg_walfile_name(pg_switch_wal())")[0]
        self.wait_archived(name)
        return moment

    def wait_archived(self, segment: str, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not (self.archive / segment).exists():
            if time.monotonic() > deadline or not self.running:
                raise PostgresError(f"{self.name}: WAL segment {segment} was not archived")
            time.sleep(0.02)

    # Copies --------------------------------------------------------------------------------------------------------

    def physical_copy(self, target: Path, progress: Callable[[float], None] = lambda _: None) -> None:
        """A consistent copy taken while the server serves, with the WAL it needs, into the new directory `target`."""
        with self.connect("postgres") as session:
            new = int(self.installation.major) >= 15
            begin = "pg_backup_start('sandbox', true)" if new else "pg_start_backup('sandbox', true, false)"
            end = "pg_backup_stop(false)" if new else "pg_stop_backup(false, false)"
            row = session.execute(f"SELECT pg_walfile_name({begin})").fetchone()
            assert row
            first: str = row[0]
            partial = make_owned(target)
            entries = [entry for entry in sorted(self.data.iterdir()) if entry.name != "base"]
            _copy_live([entry for entry in entries if entry.name not in NOT_COPIED], partial)
            for entry in entries:
                if entry.name in NOT_COPIED and entry.is_dir():
                    make_owned(partial / entry.name)
            make_owned(partial / "pg_wal" / "archive_status")
            databases = sorted((self.data / "base").iterdir())
            make_owned(partial / "base")
            for number, database in enumerate(databases):
                progress(number / len(databases))
                _copy_live([database], partial / "base")
            row = session.execute(f"SELECT lsn, labelfile, spcmapfile, pg_walfile_name(lsn) FROM {end}").fetchone()
            assert row
        _, label, tablespaces, last = row
        self.wait_archived(last)  # PostgreSQL's own wait looks only once a second
        _write_owned(partial / "backup_label", label)
        if tablespaces:
            _write_owned(partial / "tablespace_map", tablespaces)
        segments = [each for each in sorted(self.archive.iterdir()) if len(each.name) == len(first)]
        _copy_live([each for each in segments if first <= each.name <= last], partial / "pg_wal")

    def adopt_copy(self, copy: Path) -> None:
        """Takes over a copy made by `physical_copy`; the next start recovers it to its consistent end."""
        copy_tree(copy, self.data)
        own(self.data)

    def recover_to(self, archive: Path, moment: datetime) -> None:
        """Starts on an adopted copy, replays the WAL of `archive` up to `moment`, and returns when writable."""
        stamp = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        _write_owned(self.data / "recovery.signal", "")
        self._write_recovery(
            f'restore_command = \'cp "{archive}/%f" "%p"\'\n'
            f"recovery_target_time = '{stamp}'\n"
            "recovery_target_action = 'promote'\n"
        )
        self.start()
        deadline = time.monotonic() + START_TIMEOUT
        while self.admin("SELECT pg_is_in_recovery()")[0][0]:
            if time.monotonic() > deadline:
                raise PostgresError(f"{self.name}: recovery did not end:\n{self.log_tail()}")
            time.sleep(0.05)
        self._write_recovery("")

    def follow(self, primary: Cluster) -> None:
        """Becomes a streaming standby of another server, and returns when it takes connections."""
        command = [self.installation.program("pg_basebackup"), "--pgdata", str(self.data), "--no-sync"]
        command += ["--checkpoint=fast", "--host", str(primary.sockets), "--port", str(primary.port), "--username", ADMIN]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=clean_env(), **as_server_user())
        if done.returncode != 0:
            raise PostgresError(f"{self.name}: no copy of {primary.name}:\n{done.stderr[-2000:]}")
        _write_owned(self.data / "standby.signal", "")
        self._write_recovery(
            f"primary_conninfo = 'host={primary.sockets} port={primary.port} user={ADMIN}'\n"
            "wal_receiver_status_interval = '1s'\n"
        )
        self.start()

    def promote(self) -> None:
        """Ends a standby's recovery, and returns when it can be written to."""
        self.admin("SELECT pg_promote(true, 60)")
        self._write_recovery("")

    # Files ---------------------------------------------------------------------------------------------------------

    def log_tail(self, limit: int = 4000) -> str:
        newest = sorted(self.logs.glob("postgresql.log*"))[-1:]
        return "".join(path.read_text(errors="replace")[-limit:] for path in newest)

    def _write_recovery(self, text: str) -> None:
        _write_owned(self.data / RECOVERY, text)

    def _write_configuration(self) -> None:
        half = self.archive / ".%f"
        settings: dict[str, Any] = {
            "port": self.port,
            "listen_addresses": "localhost",
            "unix_socket_directories": self.sockets,
            "max_connections": 100,
            "shared_buffers": "32MB",
            "fsync": "off",
            "jit": "off",
            "wal_level": "replica",
            "max_wal_size": "256MB",
            "archive_mode": "on",
            "archive_command": f'cp --sparse=always "%p" "{half}" && mv "{half}" "{self.archive}/%f"',
            "ssl": "on" if self.installation.tls else "off",
            "ssl_cert_file": self.home / "tls" / "server.crt",
            "ssl_key_file": self.home / "tls" / "server.key",
            "password_encryption": "scram-sha-256",
            "logging_collector": "on",
            "log_directory": self.logs,
            "log_filename": "postgresql.log.%Y-%m-%d-%H",
            "log_rotation_age": "60min",
            "log_file_mode": "0644",
            "log_line_prefix": "%t:%r:%u@%d:[%p]:",
            "log_checkpoints": "on",
            "log_timezone": "UTC",
            "timezone": "UTC",
            "include": RECOVERY,
        }
        lines = [f"{key} = '{value}'" for key, value in settings.items()]
        _write_owned(self.data / "postgresql.conf", "\n".join(lines) + "\n")
        _write_owned(self.data / "postgresql.auto.conf", "")
        if not (self.data / RECOVERY).exists():
            self._write_recovery("")
        tls = "hostssl" if self.installation.tls else "host"
        remote = tls if self.force_ssl else "host"
        iam = [f'{tls} all "{role}" {net} trust' for role in self.iam_roles for net in ("127.0.0.1/32", "::1/128")]
        rules = ["local all all trust", f"local replication {ADMIN} trust", f"host {ADMIN} all all reject", f"host all {ADMIN} all reject"]
        rules += [*iam, f"{remote} all all all scram-sha-256"]
        _write_owned(self.data / "pg_hba.conf", "\n".join(rules) + "\n")


def free_port() -> int:
    for _ in range(200):
        port = random.randint(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise PostgresError("no free port")


def _write_owned(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    own(path)


def _copy_live(sources: list[Path], directory: Path) -> None:
    """Copies while the server works: files that vanish meanwhile are no error, for WAL replay drops them too."""
    command = ["cp", "-a", "--reflink=auto", "-t", str(directory), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_env())
    complaints = [line for line in done.stderr.splitlines() if not VANISHED.search(line)]
    if complaints:
        raise PostgresError(f"copying to {directory.name}: {'; '.join(complaints[:3])}")
