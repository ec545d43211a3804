"""The other end of alerts: a server that keeps what it is posted, a topic with a queue behind it, and Alertmanager itself."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox_process import REPOSITORY, Sandbox
from waiting import wait_until

PROMETHEUS = REPOSITORY / "target/tools/prometheus"
TEMPLATES = b"/usr/share/prometheus/alertmanager"
"""Where Debian's Alertmanager looks for its templates, which are not installed but only unpacked."""

Body = dict[str, Any]


class Receiver:
    """Takes every request and keeps it; refuses for as long as it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Body]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(length)
                if outer.status == 200:
                    outer.requests.append((self.command, self.path, json.loads(text) if text else {}))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = answer

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def bodies(self, path: str) -> list[Body]:
        return [body for _, seen, body in self.requests if seen == path]

    def told(self, path: str, alert: str) -> list[str]:
        """What was said of an alert, in the order in which it came: `fired`, `repeated`, `resolved`."""
        return [body["event"] for body in self.bodies(path) if alert in keys(body)]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def keys(body: Body) -> list[str]:
    """The alerts of a message: `overdue/accounts/dump/accounts`."""
    parts = ("name", "source", "detail", "database")
    alerts = [item["alert"]["key"] for item in body["alerts"]]
    return ["/".join(key[part] for part in parts if part in key) for key in alerts]


class Topic:
    """A topic of SNS and a queue that hears of all that is published."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.sqs = sandbox.client("sqs")
        sns = sandbox.client("sns")
        self.arn: str = sns.create_topic(Name=name)["TopicArn"]
        self.queue: str = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=self.arn, Protocol="sqs", Endpoint=arn)
        self.seen: list[Body] = []

    def messages(self) -> list[Body]:
        """Everything that was published so far: subject, message and attributes."""
        while found := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", []):
            for message in found:
                self.seen.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return self.seen

    def subjects(self) -> list[str]:
        return [message["Subject"] for message in self.messages()]


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Iterator[str]:
    """Alertmanager itself, which posts to one address; its own address."""
    config = folder / "alertmanager.yaml"
    config.write_text(
        "route: {receiver: hook, group_by: ['...'], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{webhook}', send_resolved: true}}]}}]\n"
    )
    log = folder / "alertmanager.log"
    program = folder / "prometheus-alertmanager"
    # A path of the same length that leads to its working directory.
    built = (PROMETHEUS / "usr/bin" / program.name).read_bytes()
    program.write_bytes(built.replace(TEMPLATES, b"./" * (len(TEMPLATES) // 2)))
    program.chmod(0o755)
    for template in (PROMETHEUS / TEMPLATES.decode().lstrip("/")).glob("*.tmpl"):
        (folder / template.name).write_bytes(template.read_bytes())
    command = [program, f"--config.file={config}", f"--storage.path={folder / 'alertmanager'}"]
    with log.open("w") as to:
        # It takes a free port and says which.
        own = ["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]
        process = subprocess.Popen([*command, *own], cwd=folder, stdout=to, stderr=to)
    try:
        said = re.compile(r"Listening on\"? address=(127\.0\.0\.1:\d+)")
        address: str = wait_until(lambda: said.search(log.read_text()), "Alertmanager listens", state=log.read_text)[1]
        wait_until(lambda: is_ready(address), "Alertmanager is ready")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=10) as reply:
            return bool(reply.status == 200)
    except urllib.error.URLError:
        return False


def standing(server: str) -> list[Body]:
    """The alerts that Alertmanager has as firing."""
    with urllib.request.urlopen(f"{server}/api/v2/alerts?active=true", timeout=10) as reply:
        found: list[Body] = json.load(reply)
    return found
