"""The S3 layer and the faults alone, without PostgreSQL: `s3_server.py <port> <workdir> <replication delay>`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from sandbox import iam, kms, sessions, signatures
from sandbox.faults import Faults
from sandbox.s3 import S3Options, install


def main(port: int, workdir: Path, delay: float) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    kms.install()
    signatures.install()
    iam.install()
    sessions.install()
    install(S3Options(workdir=workdir, replication_delay=delay))
    app = Faults(DomainDispatcherApplication(create_backend_app))
    make_server("127.0.0.1", port, app, threaded=True).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
