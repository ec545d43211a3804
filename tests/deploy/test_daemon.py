"""The real daemon on the configuration that is deployed: what the probes, Prometheus and the kubelet meet."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools import BINARY, Built, run

TOKEN = "a-token-of-the-page-that-is-long-enough"
NOWHERE = "http://127.0.0.1:9"
"""An AWS that answers nothing: nobody listens on the port of `discard`."""


def environment(token_file: Path) -> dict[str, str]:
    """What differs from the pod: a free port, a token elsewhere, and no AWS."""
    token_file.write_text(TOKEN)
    aws = {"AWS_ENDPOINT_URL": NOWHERE, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    return aws | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "STRONGROOM__DAEMON__LISTEN": "127.0.0.1:0",
        "STRONGROOM__HTTP__TOKEN_FILE": str(token_file),
        "STRONGROOM_LOG_FORMAT": "json",
        "TMPDIR": str(token_file.parent),
    }


@contextmanager
def daemon(overlay: Built, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """It runs; its process and its address."""
    log = folder / "log"
    with log.open("wb") as to:
        words = [BINARY, "--config", overlay.config, *overlay.container["args"]]
        process = subprocess.Popen(words, env=environment(folder / "token"), stderr=to, stdin=subprocess.DEVNULL)
    try:
        yield process, f"http://{address(log, process)}"
    finally:
        process.kill()
        process.wait(10)


def address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "strongroom has started" in line:
                found: str = json.loads(line)["http.address"]
                return found
        time.sleep(0.05)
    raise AssertionError(f"it does not start:\n{log.read_text()}")


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_daemon_without_aws_is_alive_not_ready_and_scraped(overlay: Built, tmp_path: Path) -> None:
    """A kubelet that restarted it would mend nothing."""
    (port,) = overlay.container["ports"]
    path = {name: overlay.container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")}
    (endpoint,) = overlay.one("ServiceMonitor")["spec"]["endpoints"]
    assert port["name"] == "http"
    with daemon(overlay, tmp_path) as (process, url):
        assert status_of(url + path["liveness"]) == 200
        assert status_of(url + path["readiness"]) == 503
        assert status_of(url + endpoint["path"]) == 200, "without a token"
        assert status_of(url + "/") == 401, "the page wants one"
        began = time.monotonic()
        process.terminate()
        assert process.wait(overlay.pod["terminationGracePeriodSeconds"]) == 0
        assert time.monotonic() - began < 10, "it had nothing to finish"


def test_without_the_secret_it_does_not_start(production: Built, tmp_path: Path) -> None:
    """So the pod must not start without it either: the kubelet says then what is missing."""
    changes = environment(tmp_path / "token") | {"STRONGROOM__HTTP__TOKEN_FILE": str(tmp_path / "missing")}
    run(BINARY, "--config", production.config, "run", code=1, env=changes)
    (secret,) = [volume["secret"] for volume in production.pod["volumes"] if "secret" in volume]
    assert secret.get("optional", False) is False
