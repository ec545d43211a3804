"""Sessions of roles: whose a key is, until when it is good, and which ones STS refuses to make.

moto makes a session of any length and name, never ends one, and does not say whose an access key is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from moto.core.utils import utcnow
from moto.iam.models import iam_backends
from moto.sts.exceptions import STSValidationError
from moto.sts.models import AssumedRole, STSBackend

__all__ = ["sessions", "set_session_seconds"]

CHAINED_SECONDS = 3600
"""The longest session of a role that comes from a role (IAM user guide, "Role chaining")."""
NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


@dataclass
class Length:
    """What a test wants instead of the seconds that were asked for."""

    seconds: float | None = None


_length = Length()
_by_key: dict[str, AssumedRole] = {}


def install() -> None:
    original = STSBackend.assume_role

    def assume_role(self: STSBackend, **given: Any) -> AssumedRole:
        refuse(self, given)
        if _length.seconds is not None:
            given["duration"] = _length.seconds
        made = original(self, **given)
        _by_key[made.access_key_id] = made
        return made

    STSBackend.assume_role = assume_role  # type: ignore[assignment,method-assign]


def refuse(backend: STSBackend, given: dict[str, Any]) -> None:
    """As STS does, before it makes a session."""
    if not NAME.fullmatch(given["role_session_name"] or ""):
        raise STSValidationError(
            f"Value '{given['role_session_name']}' at 'roleSessionName' failed to satisfy constraint"
        )
    if given["duration"] > CHAINED_SECONDS and asked_by_a_session():
        raise STSValidationError(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        )
    roles = iam_backends[backend.account_id][backend.partition].roles.values()
    longest = next((role.max_session_duration for role in roles if role.arn == given["role_arn"]), None)
    if longest is not None and given["duration"] > int(longest):
        raise STSValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")


def asked_by_a_session() -> bool:
    from flask import request

    return "X-Amz-Security-Token" in request.headers


def role_and_name(access_key: str) -> tuple[str, str]:
    """The name of the role whose session has this key, and that of the session; empty where it is none's."""
    session = _by_key.get(access_key)
    return (session.role_arn.rpartition("/")[2], session.session_name) if session else ("", "")


def is_over(access_key: str) -> bool:
    """Whether the key was a session's that has ended."""
    session = _by_key.get(access_key)
    return session is not None and session.expiration <= utcnow()


# for tests


def set_session_seconds(seconds: float | None) -> None:
    """Sessions that are made from here on last so long, whatever is asked for; None: as it is asked for."""
    _length.seconds = seconds


def sessions() -> list[dict[str, str]]:
    """All that were made so far, with their secrets: for tests that look whether one is found anywhere."""
    return [
        {
            "role": made.role_arn.rpartition("/")[2],
            "name": made.session_name,
            "access_key": key,
            "secret_key": made.secret_access_key,
            "token": made.session_token,
            "expires": made.expiration.isoformat(),
        }
        for key, made in list(_by_key.items())
    ]
