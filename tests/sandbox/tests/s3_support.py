"""Fixtures and helpers of the S3 and fault tests: one server process for all of them, buckets of their own for each."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

PRIMARY, SECONDARY = "eu-central-1", "eu-west-1"
ACCOUNT = "123456789012"
MIB = 1024 * 1024
CREDENTIALS = {"aws_access_key_id": "AKIATESTTESTTESTTEST", "aws_secret_access_key": "secret"}


class Server:
    """A running sandbox: its address, its process, and its side API."""

    def __init__(self, endpoint: str, process: subprocess.Popen[bytes], workdir: Path) -> None:
        self.endpoint = endpoint
        self.process = process
        self.workdir = workdir

    def side(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.endpoint}/sandbox-api/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def fault(self, kind: str, **wish: Any) -> str:
        return str(self.side("POST", "faults", {"kind": kind, **wish})["id"])

    def calls(self, **query: str) -> list[dict[str, Any]]:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return list(self.side("GET", f"calls?{text}")["calls"])

    def client(self, service: str = "s3", region: str = PRIMARY, **config: Any) -> Any:
        settings: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "read_timeout": 60}
        settings.update(config)
        return boto3.client(
            service, region_name=region, endpoint_url=self.endpoint, config=Config(**settings), **CREDENTIALS
        )

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(one for one in status.splitlines() if one.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def peak_rss_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(one for one in status.splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


def wait_until(predicate: Callable[[], Any], what: str, seconds: float = 15) -> Any:
    """The predicate's first true value; a failure that says what was awaited otherwise."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := predicate():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    workdir = tmp_path_factory.mktemp("sandbox")
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    script = Path(__file__).with_name("s3_server.py")
    with (workdir / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(script), str(port), str(workdir), "0.2"], env=environ, stdout=log, stderr=log
        )
    started = Server(f"http://127.0.0.1:{port}", process, workdir)

    def healthy() -> bool:
        assert process.poll() is None, (workdir / "server.log").read_text()
        try:
            return bool(started.side("GET", "health")["status"] == "ok")
        except OSError:
            return False

    wait_until(healthy, "the server answers")
    yield started
    process.terminate()
    process.wait(10)


@pytest.fixture
def s3(server: Server) -> Any:
    return server.client()


def new_bucket(client: Any, region: str = PRIMARY, *, versioned: bool = False, lock: bool = False) -> str:
    name = f"test-{uuid.uuid4().hex[:16]}"
    where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock, **where)
    if versioned and not lock:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def bucket(s3: Any) -> str:
    return new_bucket(s3)


@pytest.fixture
def versioned(s3: Any) -> str:
    return new_bucket(s3, versioned=True)


@pytest.fixture
def clean_faults(server: Server) -> Iterator[None]:
    server.side("DELETE", "faults")
    server.side("DELETE", "calls")
    yield
    server.side("DELETE", "faults")


AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential=AKIATESTTESTTESTTEST/20260101/{PRIMARY}/s3/aws4_request, Signature=0"


def raw(server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """A request as no SDK would send it; underscores in header names stand for hyphens."""
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=30)
    sent = {"Authorization": AUTHORIZATION, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    sent.update({name.replace("_", "-"): value for name, value in headers.items()})
    connection.request(method, path, body=body, headers=sent)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, data


def raw_code(answer: tuple[int, dict[str, str], bytes]) -> str:
    """The error code in a raw answer, or the status if there is none."""
    found = re.search(rb"<Code>([^<]*)</Code>", answer[2])
    return found.group(1).decode() if found else str(answer[0])


class AwsCli:
    """The aws command, as an operator would use it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def run(self, *arguments: str, region: str = PRIMARY, **environ: str) -> subprocess.CompletedProcess[str]:
        base = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        base.update(
            AWS_ACCESS_KEY_ID=CREDENTIALS["aws_access_key_id"],
            AWS_SECRET_ACCESS_KEY=CREDENTIALS["aws_secret_access_key"],
            AWS_DEFAULT_REGION=region,
            AWS_CONFIG_FILE="/nonexistent",
            AWS_MAX_ATTEMPTS="1",
        )
        base.update(environ)
        command = [str(Path(sys.executable).with_name("aws")), "--endpoint-url", self._server.endpoint, *arguments]
        return subprocess.run(command, env=base, capture_output=True, text=True, timeout=60, check=False)

    def json(self, *arguments: str, region: str = PRIMARY) -> Any:
        done = self.run(*arguments, region=region)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def error(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture
def aws(server: Server) -> AwsCli:
    return AwsCli(server)


def code_of(call: Callable[[], Any]) -> str:
    """The error code that a call fails with."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def status_of(call: Callable[[], Any]) -> int:
    with pytest.raises(ClientError) as caught:
        call()
    return int(caught.value.response["ResponseMetadata"]["HTTPStatusCode"])
