"""The daemon's configuration for a benchmark. This is the one place that knows its keys."""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from .cluster import BACKUP_ROLE
from .store import BUCKET, REGION

INSTALLATION = "bench"
# Long enough that no slot comes due while anything is measured.
NEXT_SLOT_IN = timedelta(days=180)


@dataclass(frozen=True)
class Source:
    """One protected database: the name in the configuration, and where it is."""

    name: str
    database: str
    port: int
    password: str
    engine_version: str = "15.0"


@dataclass(frozen=True)
class Tuning:
    """What may be varied from the command line."""

    engine: str
    level: int
    parts_in_flight: int
    part_mib: int
    # Of the parallel engine only.
    jobs: int = 4
    http_port: int = 0


def write_account(path: Path, sources: list[Source]) -> Path:
    """What null_s3 answers for RDS and Secrets Manager."""
    instances = [
        {
            "id": source.name,
            "host": "localhost",
            "port": source.port,
            "engine_version": source.engine_version,
            "resource_id": f"db-{source.name.upper()}",
            "database": source.database,
        }
        for source in sources
    ]
    secrets = {f"rds/{source.name}/backup": {"username": BACKUP_ROLE, "password": source.password} for source in sources}
    path.write_text(json.dumps({"region": REGION, "instances": instances, "secrets": secrets}, indent=2))
    return path


def write_config(path: Path, sources: list[Source], tuning: Tuning, ca_file: Path | None) -> Path:
    """A `strongroom.toml` whose sources are these."""
    due = date.today() + NEXT_SLOT_IN
    lines = [
        f'installation = "{INSTALLATION}"',
        "[aws]",
        f'region = "{REGION}"',
        "[daemon]",
        f'listen = "127.0.0.1:{tuning.http_port}"',
        "[destination]",
        f'bucket = "{BUCKET}"',
        f"parts_in_flight = {tuning.parts_in_flight}",
        f'part_size = "{tuning.part_mib}MiB"',
        "[postgres]",
        f'ca_file = "{ca_file or "/nonexistent"}"',
        "[policies.bench.dump]",
        # A 29th to 31st would skip months; the day only has to be far away, and last year's slot too old to be caught up.
        f'schedule = "0 3 {min(due.day, 28)} {due.month} *"',
        'start_deadline = "1h"',
        "keep_all = true",
        f'engine = "{tuning.engine}"',
        f"compression_level = {tuning.level}",
    ]
    if tuning.engine == "parallel":
        lines.append(f"jobs = {tuning.jobs}")
    for source in sources:
        lines += [
            f"[sources.{source.name}]",
            f'instance = "{source.name}"',
            'policy = "bench"',
            f'databases = ["{source.database}"]',
            f'credentials = {{ secret = "rds/{source.name}/backup" }}',
        ]
    path.write_text("\n".join(lines) + "\n")
    return path
