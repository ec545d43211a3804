"""Signatures in IAM mode are of the request as it came: moto takes path and forms decoded, and so refuses good ones; and
what is told to it in another protocol (rpc_cbor.py) was signed in its own. What the signer may do is asked in iam.py."""

from __future__ import annotations

from typing import Any

from flask import request
from moto.iam.access_control import IAMRequestBase

from .calls import FORM_AS_IT_CAME
from .rpc_cbor import AS_IT_CAME


def install() -> None:
    original = IAMRequestBase._create_aws_request

    def as_it_came(self: IAMRequestBase) -> Any:
        self._path = request.environ["RAW_URI"]
        self._body = self._body or request.environ.get(FORM_AS_IT_CAME, b"")
        if AS_IT_CAME in request.environ:
            self._path, headers, self._body = request.environ[AS_IT_CAME]
            self._headers = {**self._headers, **headers}
        return original(self)

    IAMRequestBase._create_aws_request = as_it_came  # type: ignore[method-assign]
