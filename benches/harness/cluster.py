"""A PostgreSQL cluster of the bench's own: TLS with a CA of its own, a free port, gone at the end."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import process
from .process import BenchError, run, say

BANK = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "bank"
# The role that tests/fixtures/bank/schema.sql makes for dumping.
BACKUP_ROLE = "strongroom_backup"
START_SECONDS_MAX = 30

# The data set is thrown away, so loading need not survive a crash. What is read later is as on any server.
SETTINGS = {
    "listen_addresses": "localhost",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "shared_buffers": "512MB",
    "max_connections": "40",
    # A dump holds a lock on every table.
    "max_locks_per_transaction": "1024",
    "jit": "off",
    # Nothing may start to work by itself in the middle of a measurement.
    "autovacuum": "off",
    "ssl": "on",
}


class Cluster:
    """One server with any number of bank databases."""

    def __init__(self, folder: Path, wal_level: str = "minimal") -> None:
        self.folder = folder
        self.wal_level = wal_level
        self.data = folder / "data"
        self.ca_file = folder / "ca.crt"
        self.port = free_port()
        self.password = secrets.token_urlsafe(24)
        self.bin = binaries()
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.server: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Makes the cluster and waits until it answers."""
        self.data.mkdir()
        if self.user:
            shutil.chown(self.data, self.user, self.user)
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        self._give_to_server(password_file)
        options = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"]
        run([self.bin / "initdb", "-D", self.data, "--locale=C.UTF-8", "--no-sync", *options], **self._as_server())
        self._make_certificates()
        settings = [f"-c{name}={value}" for name, value in (SETTINGS | {"wal_level": self.wal_level}).items()]
        settings += [f"-cunix_socket_directories={self.data}", f"-cport={self.port}"]
        with (self.folder / "server.log").open("w") as log:
            self.server = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, *settings], stdout=log, stderr=log, text=True, **self._as_server()
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while subprocess.run([self.bin / "pg_isready", "-q"], env=self.environment("postgres"), check=False).returncode:
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"PostgreSQL did not start: {(self.folder / 'server.log').read_text()[-800:]}")
            time.sleep(0.1)

    def load_bank(self, database: str, scale: float) -> int:
        """Makes one bank database and gives its size in bytes on the server."""
        say(f"loading the bank at scale {scale:g} into {database}")
        started = time.monotonic()
        self.psql("postgres", "-c", f"CREATE DATABASE {database}")
        self.psql(database, "-f", str(BANK / "schema.sql"))
        self.psql(database, "-v", f"scale={scale:g}", "-f", str(BANK / "data.sql"))
        self.psql("postgres", "-c", f"ALTER ROLE {BACKUP_ROLE} PASSWORD '{self.password}'")
        # Hint bits and the visibility map are written now, not by whichever dump comes first.
        self.psql(database, "-c", "VACUUM", "-c", "CHECKPOINT")
        size = int(self.psql("postgres", "-Atc", f"SELECT pg_database_size('{database}')"))
        say(f"loaded in {time.monotonic() - started:.0f} s, {size / 1e9:.2f} GB on the server")
        return size

    def load_one_table(self, database: str, scale: float) -> None:
        """Makes a database with as much COPY text as a bank of that size, all of it in one table."""
        say(f"loading one table at scale {scale:g} into {database}")
        rows = int(scale * 1_600_000)
        # Some 100 bytes a row, which compress as a bank's do.
        columns = "n AS id, md5(n::text) AS reference, now() AS booked_at, (n * 37 % 99999) / 100.0 AS amount, 'Standing order' AS text"
        self.psql("postgres", "-c", f"CREATE DATABASE {database}")
        self.psql(database, "-c", f"CREATE TABLE facts AS SELECT {columns} FROM generate_series(1, {rows}) AS n")
        self._let_read(database)

    def load_generated(self, database: str, gigabytes: float) -> None:
        """Makes a database with so much COPY text on little disk: rows of 10 kB that the server keeps compressed."""
        say(f"generating {gigabytes:g} GB of rows in {database}")
        rows = int(gigabytes * 1e9 / 9640)
        self.psql("postgres", "-c", f"CREATE DATABASE {database}")
        columns = "n AS id, repeat(md5(n::text), 300) AS text"
        self.psql(database, "-c", f"CREATE TABLE generated AS SELECT {columns} FROM generate_series(1, {rows}) AS n")
        self._let_read(database)

    def load_incompressible(self, database: str, gigabytes: float) -> None:
        """Makes a database with so much COPY text on as much disk: rows of 10 kB, cut out of 16 MB of digits by chance, of which
        a compressor finds no two alike within its window and saves the half that digits always save."""
        say(f"generating {gigabytes:g} GB of rows by chance in {database}")
        rows = int(gigabytes * 1e9 / 9640)
        self.psql("postgres", "-c", f"CREATE DATABASE {database}")
        digits = "SELECT decode(string_agg(md5(n::text), ''), 'hex') FROM generate_series(1, 500000) AS n"
        columns = "n AS id, encode(substr(digits.bytes, (1 + n::bigint * 7919 % 7990000)::int, 4800), 'hex') AS text"
        # Of bytes that are stored as they are, only the part that is cut out is read.
        self.psql(database, "-c", "CREATE TABLE digits (bytes bytea)", "-c", "ALTER TABLE digits ALTER bytes SET STORAGE EXTERNAL")
        self.psql(database, "-c", f"INSERT INTO digits {digits}")
        self.psql(database, "-c", f"CREATE TABLE generated AS SELECT {columns} FROM digits, generate_series(1, {rows}) AS n")
        self.psql(database, "-c", "DROP TABLE digits")
        self._let_read(database)

    def load_tables(self, database: str, tables: int) -> None:
        """Makes a database of so many tables with ten rows each."""
        say(f"making {tables} tables in {database}")
        self.psql("postgres", "-c", f"CREATE DATABASE {database}")
        one = "EXECUTE format('CREATE TABLE t%s AS SELECT n AS id, md5(n::text) AS text FROM generate_series(1, 10) AS n', number)"
        # A transaction each thousand: one holds a lock on every table that it makes.
        for begin in range(1, tables + 1, 1000):
            end = min(begin + 999, tables)
            self.psql(database, "-c", f"DO $$BEGIN FOR number IN {begin}..{end} LOOP {one}; END LOOP; END$$")
        self._let_read(database)

    def _let_read(self, database: str) -> None:
        """What schema.sql does for the bank."""
        role = f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{BACKUP_ROLE}') THEN CREATE ROLE {BACKUP_ROLE} LOGIN IN ROLE pg_read_all_data; END IF"
        self.psql("postgres", "-c", f"DO $$BEGIN {role}; END$$")
        self.psql("postgres", "-c", f"ALTER ROLE {BACKUP_ROLE} PASSWORD '{self.password}'")
        self.psql(database, "-c", "VACUUM ANALYZE", "-c", "CHECKPOINT")

    def psql(self, database: str, *arguments: str) -> str:
        command = [self.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *arguments]
        return run(command, env=self.environment(database, user="postgres"))

    def environment(self, database: str, user: str = BACKUP_ROLE) -> dict[str, str]:
        """What a client needs: TCP, TLS, the server's certificate checked."""
        return os.environ | {
            "PGHOST": "localhost",
            "PGPORT": str(self.port),
            "PGUSER": user,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.ca_file),
        }

    def version(self) -> str:
        return self.psql("postgres", "-Atc", "SHOW server_version").split()[0]

    def cpu_seconds(self) -> float:
        """All that the server has used: the postmaster, its live children, and those that have ended."""
        if self.server is None:
            return 0.0
        own = process.cpu_seconds(self.server.pid, with_reaped=True)
        return own + sum(process.cpu_seconds(child) for child in process.children(self.server.pid))

    def stop(self) -> None:
        if self.server is not None:
            # SIGINT is PostgreSQL's "fast" shutdown: clients are cut off.
            process.stop(self.server, signal.SIGINT)

    def _make_certificates(self) -> None:
        openssl = process.tool("openssl")
        at = self.folder
        names = at / "names.ext"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        key = ["-newkey", "rsa:2048", "-nodes"]
        run([openssl, "req", "-x509", *key, "-days", "2", "-subj", "/CN=bench CA", "-keyout", at / "ca.key", "-out", self.ca_file])
        run([openssl, "req", *key, "-subj", "/CN=localhost", "-keyout", self.data / "server.key", "-out", at / "server.csr"])
        signing = ["-CA", self.ca_file, "-CAkey", at / "ca.key", "-CAcreateserial", "-days", "2", "-extfile", names]
        run([openssl, "x509", "-req", "-in", at / "server.csr", *signing, "-out", self.data / "server.crt"])
        (self.data / "server.key").chmod(0o600)
        for file in ("server.key", "server.crt"):
            self._give_to_server(self.data / file)
        rule = "hostssl all all {} scram-sha-256\n"
        (self.data / "pg_hba.conf").write_text(rule.format("127.0.0.1/32") + rule.format("::1/128"))

    def _give_to_server(self, path: Path) -> None:
        if self.user:
            shutil.chown(path, self.user, self.user)

    def _as_server(self) -> dict[str, object]:
        ids: dict[str, object] = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        return ids | {"cwd": self.data}


def binaries() -> Path:
    """Where PostgreSQL 15's programs are: Debian keeps servers out of PATH."""
    debian = Path("/usr/lib/postgresql/15/bin")
    places = [Path(os.environ["PG_BIN"])] if "PG_BIN" in os.environ else [debian]
    if found := shutil.which("postgres"):
        places.append(Path(found).parent)
    for place in places:
        if (place / "postgres").exists() and (place / "pg_dump").exists():
            return place
    raise BenchError("PostgreSQL 15 is not installed (set PG_BIN to the folder of its programs)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
