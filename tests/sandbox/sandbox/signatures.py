"""Signatures in IAM mode are of the request as it came: moto takes the path decoded, and so refuses good ones."""

from __future__ import annotations

from typing import Any

from flask import request
from moto.iam.access_control import IAMRequestBase


def install() -> None:
    original = IAMRequestBase._create_aws_request

    def as_it_came(self: IAMRequestBase) -> Any:
        self._path = request.environ["RAW_URI"]
        return original(self)

    IAMRequestBase._create_aws_request = as_it_came  # type: ignore[method-assign]
