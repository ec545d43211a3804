"""The HTTP server: moto's application, our layers inside it, and the faults around it."""

from __future__ import annotations

import gzip
import io
import logging
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

from . import rpc_cbor
from .faults import Faults
from .options import Options

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

SIGNED_FOR = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/([^/]+)/aws4_request")


class Server:
    """Serves while the seed is applied, but without faults and counting until `open_doors`."""

    def __init__(self, options: Options, port: int) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Handler(WSGIRequestHandler):
            """Not a line per request: the faults layer lists calls."""

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                logging.getLogger("sandbox.http").debug("%s %s", self.requestline, code)

        self._moto: WsgiApp = inflate(rpc_cbor.translate(DomainDispatcherApplication(create_backend_app)))
        self._app = self._moto
        self._server = make_server("127.0.0.1", port, self, threaded=True, request_handler=Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self._app(environ, start_response)

    def start(self) -> None:
        self._thread.start()

    def open_doors(self) -> None:
        """From here on every call passes the faults layer, which counts it."""
        self._app = Faults(self._moto)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def inflate(app: WsgiApp) -> WsgiApp:
    """Unpacks gzip bodies of every service but S3, where the encoding belongs to the object.

    SDKs compress CloudWatch requests over 10 KiB; moto's own unpacking keeps the packed length and so cuts them.
    """

    def unpacked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match = SIGNED_FOR.search(environ.get("HTTP_AUTHORIZATION", ""))
        if environ.get("HTTP_CONTENT_ENCODING") == "gzip" and match and match[1] != "s3":
            packed = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = gzip.decompress(packed)
            del environ["HTTP_CONTENT_ENCODING"]
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return app(environ, start_response)

    return unpacked


def install_layers(options: Options) -> None:
    """Patches moto; must come before the first request."""
    from . import iam, kms, rds, s3, sessions, signatures

    kms.install()
    signatures.install()
    iam.install()
    sessions.install()
    options.ca_file = rds.install(options).authority.ca_file
    s3.install(s3.S3Options(workdir=options.workdir, **options.seed.get("s3", {})))
