"""One test's own corner of the shared sandbox: names, a prefix in the bucket, a directory, a configuration."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import ClientError
from sandbox_process import BUCKET, KMS_ALIAS, REGION, Sandbox
from strongroom_process import Daemon, Strongroom

YEARLY = "0 4 1 1 *"
"""Due since New Year: a backup that is missing starts at once, and no test sees the slot change under its feet."""

Config = dict[str, Any]
Match = dict[str, str] | None

ALL_BUT_THE_FIRST = {"partNumber": "^([2-9]|[1-9][0-9]+)$"}
"""Parts of an upload after its first. Parts travel side by side: were the second alone held, a dump would be read to its end."""


def source(name: str, dumps: bool = True, **changes: Any) -> Config:
    """A source as the configuration has it; what dumps need is a mistake where there are none."""
    for_dumps = {"databases": [name], "credentials": {"secret": f"rds/{name}/backup"}}
    return {"instance": f"bank-{name}", "policy": "p"} | (for_dumps if dumps else {}) | changes


def quick(schedule: str = YEARLY, **more: Any) -> Config:
    """A schedule whose failures are repeated soon; `more` replaces and adds. Without a `keep_*` everything is kept."""
    keep = {} if any(key.startswith("keep_") for key in more) else {"keep_all": True}
    return {"schedule": schedule, "retry": {"initial_backoff": "1s", "backoff_max": "2s"}, **keep, **more}


def to_toml(value: Any) -> str:
    """A TOML value; JSON's strings, numbers and lists are TOML's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {to_toml(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(to_toml(inner) for inner in value) + "]"
    return json.dumps(value)


@dataclass
class Case:
    """What one test has for itself; nothing of it is seen by others, although they share the sandbox."""

    sandbox: Sandbox
    directory: Path
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")
    bucket: str = BUCKET
    daemons: list[Daemon] = field(default_factory=list)

    def configure(
        self,
        *sources: str,
        snapshot: Config | None = None,
        dump: Config | None = None,
        drill: Config | None = None,
        environment: dict[str, str] | None = None,
        **changes: Any,
    ) -> Strongroom:
        """A configuration for sources by name; `changes` are merged into its tables.

        Dumps are one stream unless `dump` names another engine, or None for the default: a stream can be held at one place.
        """
        if dump is not None:
            dump = {key: value for key, value in ({"engine": "pg_dump"} | dump).items() if value is not None}
        parts = {"snapshot": snapshot, "dump": dump, "drill": drill}
        policy = {name: part for name, part in parts.items() if part is not None}
        config: Config = {
            "installation": self.name,
            "snapshot_prefix": self.name,
            "aws": {"region": REGION},
            "destination": {
                "bucket": self.bucket,
                "prefix": self.name,
                "kms_key": KMS_ALIAS,
                "part_size": "8MiB",
                # A store that stays broken is given up soon, so that tests can see the failure.
                "outage_tolerance": "3s",
                # One part at a time: while it is on its way the client waits, in the middle of a table.
                "parts_in_flight": 1,
            },
            "postgres": {"ca_file": self.sandbox.ca_file},
            "daemon": {"listen": "127.0.0.1:0", "poll_interval": "1s", "reconcile_interval": "2s"},
            "policies": {"p": policy},
            "sources": {name: source(name, dumps=dump is not None or drill is not None) for name in sources},
        }
        for table, change in changes.items():
            config[table] = config.get(table, {}) | change if isinstance(change, dict) else change
        return self.write(config, environment)

    def write(self, config: Config, environment: dict[str, str] | None = None) -> Strongroom:
        text = "".join(f"{name} = {to_toml(value)}\n" for name, value in config.items())
        path = self.directory / "strongroom.toml"
        path.write_text(text)
        scratch = self.directory / "tmp"
        scratch.mkdir(exist_ok=True)
        own = {"TMPDIR": str(scratch), "AWS_ACCESS_KEY_ID": self.access_key}
        environment = self.sandbox.environment | own | (environment or {})
        return Strongroom(path, environment, self.directory, self.daemons, self.at_rest)

    # faults that hit this test's strongroom and nobody else, the test's own clients included

    @property
    def access_key(self) -> str:
        return f"AKIA{self.name.upper()}"

    def fault(self, kind: str, operation: str, count: int | None = 1, match: Match = None, **rule: Any) -> None:
        """From now on calls of this operation go wrong, `count` times."""
        self.sandbox.fault(kind, operation=operation, count=count, match=self._match(match), **rule)

    @contextmanager
    def holding(self, operation: str, match: Match = None, **rule: Any) -> Iterator[None]:
        """Calls of this operation are held up until the end of the block."""
        with self.sandbox.holding(operation=operation, match=self._match(match), **rule):
            yield

    def _match(self, match: Match) -> dict[str, str]:
        return {"access_key": f"^{self.access_key}$"} | (match or {})

    def calls(self, operation: str, key_part: str = "") -> list[dict[str, Any]]:
        """The calls of this operation that this test's strongroom has made, on keys that contain this."""
        calls = self.sandbox.calls(operation)
        return [call for call in calls if call["access_key"] == self.access_key and key_part in call["key"]]

    # what the store has

    def keys(self, below: str = "") -> list[str]:
        """Keys below this test's prefix, without it."""
        pages = self.sandbox.client("s3").get_paginator("list_objects_v2")
        prefix = f"{self.name}/"
        found = (
            item["Key"]
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix + below)
            for item in page.get("Contents", [])
        )
        return sorted(key.removeprefix(prefix) for key in found)

    def get(self, key: str) -> bytes:
        body: bytes = self.sandbox.client("s3").get_object(Bucket=self.bucket, Key=f"{self.name}/{key}")["Body"].read()
        return body

    def documents(self, keys: list[str]) -> list[dict[str, Any]]:
        """What stands at these keys, except for what a daemon at work has deleted since they were listed."""
        found = []
        for key in keys:
            try:
                found.append(json.loads(self.get(key)))
            except ClientError as error:
                if error.response["Error"]["Code"] != "NoSuchKey":
                    raise
        return found

    def runs(self, source: str, kind: str = "") -> list[dict[str, Any]]:
        """The records of a source's runs, in the order of their attempts."""
        wanted = [key for key in self.keys(f"{source}/runs/") if f"-{kind}" in key.rsplit("/", 1)[1]]
        return sorted(self.documents(wanted), key=lambda record: str(record["started_at"]))

    def at_rest(self) -> bool:
        """Whether no run is recorded as running, and the newest dump of each database has been read back."""
        keys = self.keys()
        records = self.documents([key for key in keys if "/runs/" in key])
        if any(record["state"] == "running" for record in records):
            return False
        newest = {key.rsplit("/", 2)[0]: key for key in sorted(keys) if key.endswith("/manifest.json")}
        return all(self.verification(key) in keys for key in newest.values())

    @staticmethod
    def verification(manifest_key: str, level: int = 2, plane: str = "primary") -> str:
        """The key of the record of a dump's verification."""
        source, _, database, slot, _ = manifest_key.split("/")
        return f"{source}/verifications/{database}/{slot}/{plane}-l{level}.json"

    def run_states(self, source: str, kind: str = "") -> list[str]:
        return [record["state"] for record in self.runs(source, kind)]

    def manifests(self, source: str) -> list[dict[str, Any]]:
        return self.documents([key for key in self.keys(f"{source}/dumps/") if key.endswith("/manifest.json")])

    def dump_objects(self, source: str) -> list[str]:
        """Everything visible that is not a record."""
        return self.keys(f"{source}/dumps/")

    def uploads(self) -> list[dict[str, Any]]:
        """Multipart uploads that are open."""
        found = self.sandbox.client("s3").list_multipart_uploads(Bucket=self.bucket, Prefix=f"{self.name}/")
        return list(found.get("Uploads", []))

    def parts(self) -> list[dict[str, Any]]:
        """Parts that have arrived of the only open upload; none if there is no such upload."""
        uploads = self.uploads()
        if len(uploads) != 1:
            return []
        upload = {"Bucket": self.bucket, "Key": uploads[0]["Key"], "UploadId": uploads[0]["UploadId"]}
        try:
            return list(self.sandbox.client("s3").list_parts(**upload).get("Parts", []))
        except ClientError:
            return []

    def first_part_is_stored(self) -> bool:
        """Parts travel side by side: where the second is held, the third may be there before anybody looks."""
        return any(part["PartNumber"] == 1 for part in self.parts())

    def second_part_is_on_its_way(self) -> bool:
        return any(call["query"].get("partNumber") == "2" for call in self.calls("UploadPart"))

    def assert_whole(self, manifest: dict[str, Any]) -> None:
        """Every object that a manifest names is there, with its size."""
        for item in manifest["objects"]:
            found = self.sandbox.client("s3").head_object(Bucket=self.bucket, Key=item["key"])
            assert found["ContentLength"] == item["size_bytes"], item["key"]

    # what RDS has

    def snapshots(self) -> list[dict[str, Any]]:
        """The snapshots with this test's prefix, in the order of their ids."""
        pages = self.sandbox.client("rds").get_paginator("describe_db_snapshots")
        found = [item for page in pages.paginate(SnapshotType="manual") for item in page["DBSnapshots"]]
        own = [item for item in found if item["DBSnapshotIdentifier"].startswith(f"{self.name}-")]
        return sorted(own, key=lambda item: str(item["DBSnapshotIdentifier"]))

    def snapshot_ids(self, status: str = "available") -> list[str]:
        return [item["DBSnapshotIdentifier"] for item in self.snapshots() if item["Status"] == status]

    @contextmanager
    def in_mid_dump(self, strongroom: Strongroom) -> Iterator[Daemon]:
        """Starts a daemon and holds its dump of the ledger in mid-table: one part is stored, and no other arrives."""
        with self.holding("UploadPart", ALL_BUT_THE_FIRST):
            daemon = strongroom.start()
            daemon.wait_for(self.first_part_is_stored, "the first part is stored")
            daemon.wait_for(self.second_part_is_on_its_way, "the second part is on its way")
            daemon.wait_for(lambda: self.sandbox.backends("bank-ledger"), "the server has the session")
            yield daemon

    def close(self) -> None:
        """Ends whatever the test has left running, by its process id."""
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.kill()


Corner = TypeVar("Corner", bound=Case)


@contextmanager
def settled(corner: Corner) -> Iterator[Corner]:
    """A corner whose daemons end and whose faults are gone after the block, also after one that failed."""
    try:
        yield corner
    finally:
        corner.close()
        corner.sandbox.settle()
