"""What RDS checks before it acts: identifiers, tags, keys, pages, passwords."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any

import regex
from moto.rds.models import RDSBackend

from .errors import RdsError, invalid_combination, invalid_value, key_not_accessible

Tags = list[dict[str, str]]

TAG_TEXT = regex.compile(r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*")
IDENTIFIER_RULE = (
    "Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; "
    "and must not end with a hyphen or contain two consecutive hyphens."
)


def identifier(value: str | None, parameter: str, longest: int) -> str:
    """A name in lower case, as RDS stores it."""
    if value is None:
        raise RdsError("MissingParameter", f"The request must contain the parameter {parameter}")
    good = re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", value) and not value.endswith("-") and "--" not in value
    if not good or len(value) > longest:
        raise invalid_value(f"The parameter {parameter} is not a valid identifier. {IDENTIFIER_RULE}")
    return value.lower()


def tags(values: Sequence[Any] | None) -> Tags:
    """Tags as plain dicts, refused where RDS refuses them."""
    plain = [{"Key": each.get("Key") or "", "Value": each.get("Value") or ""} for each in values or []]
    if len(plain) > 50:
        raise RdsError("InvalidParameterValue", "You can't assign more than 50 tags to a resource.")
    if len({each["Key"] for each in plain}) != len(plain):
        raise invalid_value("Duplicate tag keys are not allowed.")
    for each in plain:
        key, value = each["Key"], each["Value"]
        if not 1 <= len(key) <= 128 or not TAG_TEXT.fullmatch(key):
            raise invalid_value(f"Invalid tag key: {key!r}")
        if len(value) > 256 or not TAG_TEXT.fullmatch(value):
            raise invalid_value(f"Invalid tag value: {value!r}")
        if key.lower().startswith(("aws:", "rds:")):
            raise invalid_value("Tag keys starting with aws: or rds: are reserved.")
    return plain


def usable_key(backend: RDSBackend, key: str) -> str:
    """The ARN of a key of the backend's own region that exists and is enabled."""
    parts = key.split(":")
    if key.startswith("arn:") and (len(parts) < 6 or parts[3] != backend.region_name):
        raise key_not_accessible(key)
    try:
        found = backend.kms.describe_key(key)
    except Exception as error:
        raise key_not_accessible(key) from error
    if found.key_state != "Enabled":
        raise key_not_accessible(key)
    return str(found.arn)


def page(
    items: Sequence[Any], params: Any, key: Callable[[Any], str], smallest: int = 20, largest: int = 100
) -> tuple[list[Any], str | None]:
    """One page of `items` and the marker of the next.

    The marker names the last item given, so what comes and goes between two calls neither repeats nor hides others.
    """
    limit = params.get("MaxRecords")
    limit = largest if limit is None else int(limit)
    if not smallest <= limit <= largest:
        raise invalid_value(f"Invalid value {limit} for MaxRecords. Must be between {smallest} and {largest}")
    ordered = sorted(items, key=key)
    if marker := params.get("Marker"):
        try:
            after = base64.urlsafe_b64decode(marker.encode()).decode()
        except ValueError as error:
            raise invalid_value(f"Invalid marker: {marker}") from error
        ordered = [item for item in ordered if key(item) > after]
    if len(ordered) <= limit:
        return ordered, None
    return ordered[:limit], base64.urlsafe_b64encode(key(ordered[limit - 1]).encode()).decode()


def password(value: str | None) -> str:
    if value is None or not 8 <= len(value) <= 128:
        raise invalid_value(
            "The parameter MasterUserPassword is not a valid password because it is shorter than 8 characters "
            "or longer than 128 characters."
        )
    if not value.isascii() or not value.isprintable() or set(value) & set('/@" '):
        raise invalid_value(
            "The parameter MasterUserPassword is not a valid password. "
            "Only printable ASCII characters besides '/', '@', '\"', ' ' may be used."
        )
    return value


def retention(value: int | None, default: int) -> int:
    days = default if value is None else int(value)
    if not 0 <= days <= 35:
        raise invalid_value(f"Invalid backup retention period: {days}. Must be between 0 and 35.")
    return days


def filters(params: Any, known: Sequence[str]) -> dict[str, list[str]]:
    """The request's filters by name; an unknown one is refused, as RDS does, for it would silently select too much."""
    given: dict[str, list[str]] = {}
    for each in params.get("Filters") or []:
        name, values = each["Name"], list(each["Values"] or [])
        if name not in known:
            raise invalid_value(f"Unrecognized filter name: {name}")
        if not values:
            raise invalid_combination(f"The list of {name} must not be empty.")
        given[name] = values
    return given
