"""The null S3 as a child process."""

import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from . import process
from .process import BenchError, run, say

REPOSITORY = Path(__file__).resolve().parents[2]
BUCKET = "bench"
REGION = "us-east-1"


class NullStore:
    """`benches/null_s3`, answering for S3, RDS and Secrets Manager."""

    def __init__(self, binary: Path, account_file: Path, *options: str) -> None:
        command = [str(binary), "--port", "0", "--account", str(account_file), "--until-stdin-closes", *options]
        # With its stdin being a pipe of ours, it ends with us, however we end.
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        first_line = self.server.stdout.readline()
        if not first_line:
            raise BenchError("null_s3 did not start")
        self.endpoint: str = json.loads(first_line)["endpoint"]

    def environment(self) -> dict[str, str]:
        """What makes any AWS client talk to this store and to nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.endpoint}/_null_s3/stats", timeout=10) as answer:
            return json.load(answer)

    def cpu_seconds(self) -> float:
        return process.cpu_seconds(self.server.pid)

    def stop(self) -> None:
        process.stop(self.server, signal.SIGTERM)


def build() -> Path:
    """Builds the null store as the release profile does, and says where it is."""
    say("building null_s3")
    command = ["cargo", "build", "--release", "--bench", "null_s3", "--message-format=json"]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise BenchError("null_s3 does not build")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "null_s3":
            return Path(message["executable"])
    raise BenchError("cargo built null_s3 but did not say where")


def aws_cli() -> str:
    """The aws command; one that cannot even say its version is none."""
    path = process.tool("aws")
    run([path, "--version"], env=os.environ | {"AWS_EC2_METADATA_DISABLED": "true"})
    return path
