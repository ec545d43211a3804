"""Serves a folder by HTTPS, as a host whose certificate this is: serve.py ADDRESS CERTIFICATE FOLDER"""

from __future__ import annotations

import ssl
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


def main() -> None:
    address, certificate, folder = sys.argv[1:]
    server = ThreadingHTTPServer((address, 443), partial(SimpleHTTPRequestHandler, directory=folder))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


main()
