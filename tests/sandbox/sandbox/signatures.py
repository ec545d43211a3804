"""Signatures in IAM mode are of the request as it came: moto takes the path decoded, and so refuses good ones; and
what is told to it in another protocol (rpc_cbor.py) was signed in its own. CloudWatch's rights bear another name than its
signatures."""

from __future__ import annotations

from typing import Any

from flask import request
from moto.iam.access_control import IAMRequestBase

from .rpc_cbor import AS_IT_CAME


def install() -> None:
    original = IAMRequestBase._create_aws_request

    def as_it_came(self: IAMRequestBase) -> Any:
        self._path = request.environ["RAW_URI"]
        if AS_IT_CAME in request.environ:
            self._path, headers, self._body = request.environ[AS_IT_CAME]
            self._headers = {**self._headers, **headers}
        return original(self)

    IAMRequestBase._create_aws_request = as_it_came  # type: ignore[method-assign]
    IAMRequestBase.check_action_permitted = _of_cloudwatch(  # type: ignore[method-assign]
        IAMRequestBase.check_action_permitted
    )


def _of_cloudwatch(original: Any) -> Any:
    def check(self: IAMRequestBase, resource: str) -> None:
        if self._service == "monitoring":
            self._action = self._action.replace("monitoring:", "cloudwatch:", 1)
        original(self, resource)

    return check
