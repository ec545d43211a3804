"""Object lock as AWS enforces it: who may shorten, remove or delete what, and the bucket's default retention."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xmltodict

from .errors import S3Error, invalid_argument, invalid_request, locked

MODE = "x-amz-object-lock-mode"
UNTIL = "x-amz-object-lock-retain-until-date"
HOLD = "x-amz-object-lock-legal-hold"
BYPASS = "x-amz-bypass-governance-retention"
MODES = ("GOVERNANCE", "COMPLIANCE")
MISSING = "Bucket is missing Object Lock Configuration"


@dataclass(frozen=True)
class Lock:
    """Retention and legal hold of one version."""

    mode: str | None = None
    until: str | None = None
    hold: str | None = None


def now() -> datetime.datetime:
    return datetime.datetime.now(tz=datetime.timezone.utc)


def parse_date(text: str) -> datetime.datetime:
    try:
        parsed = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise invalid_argument("The retain until date must be provided in ISO 8601 format") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.timezone.utc)


def format_date(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def bypass(headers: Mapping[str, str]) -> bool:
    return headers.get(BYPASS, "").lower() == "true"


def for_write(bucket: Any, headers: Mapping[str, str]) -> Lock:
    """The lock of a new version: the request's headers override the bucket's default."""
    mode, until, hold = headers.get(MODE), headers.get(UNTIL), headers.get(HOLD)
    if (mode or until or hold) and not bucket.object_lock_enabled:
        raise invalid_request(MISSING)
    if bool(mode) != bool(until):
        raise invalid_argument(f"{UNTIL} and {MODE} must both be supplied")
    if hold is not None and hold not in ("ON", "OFF"):
        raise invalid_argument("Legal hold must be either of 'ON' or 'OFF'")
    if mode and until:
        _check_mode(mode)
        return Lock(mode, _future(until), hold)
    if bucket.has_default_lock:
        days = int(bucket.default_lock_days or 0) + 365 * int(bucket.default_lock_years or 0)
        return Lock(bucket.default_lock_mode, format_date(now() + datetime.timedelta(days=days)), hold)
    return Lock(hold=hold)


def needs_checksum(bucket: Any, headers: Mapping[str, str]) -> bool:
    """Uploads that end up locked must carry a checksum."""
    explicit = any(headers.get(name) for name in (MODE, UNTIL, HOLD))
    return explicit or bool(bucket.has_default_lock)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise invalid_argument("Unknown wormMode directive.")


def _future(text: str) -> str:
    moment = parse_date(text)
    if moment <= now():
        raise invalid_argument("The retain until date must be in the future!")
    if moment > now() + datetime.timedelta(days=365 * 100 + 30):
        raise invalid_argument("The retain until date must be within 100 years")
    return format_date(moment)


def retention_active(key: Any) -> bool:
    return bool(key.lock_mode and key.lock_until and parse_date(key.lock_until) > now())


def check_delete(key: Any, *, may_bypass: bool) -> None:
    """Raises if this version may not be deleted for good; delete markers have no lock."""
    if not hasattr(key, "lock_mode"):
        return
    if key.lock_legal_status == "ON":
        raise locked()
    if not retention_active(key):
        return
    if key.lock_mode == "GOVERNANCE" and may_bypass:
        return
    raise locked()


def retention_from_xml(body: bytes) -> tuple[str | None, str | None]:
    retention = (xmltodict.parse(body).get("Retention") or {}) if body else {}
    mode, until = retention.get("Mode"), retention.get("RetainUntilDate")
    if bool(mode) != bool(until) or (mode and mode not in MODES):
        raise S3Error(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    return mode, until


def change_retention(key: Any, mode: str | None, until: str | None, *, may_bypass: bool) -> None:
    """PutObjectRetention: longer is always allowed, anything weaker only for governance with the bypass header."""
    new_until = _future(until) if until else None
    weakens = retention_active(key) and not _is_stronger(key, mode, new_until)
    if weakens and (key.lock_mode == "COMPLIANCE" or not may_bypass):
        raise locked()
    key.lock_mode, key.lock_until = mode, new_until


def _is_stronger(key: Any, mode: str | None, until: str | None) -> bool:
    if mode != key.lock_mode or until is None:
        return False
    return parse_date(until) >= parse_date(key.lock_until)


def bucket_config_from_xml(body: bytes) -> tuple[str | None, int, int]:
    """The default retention (mode, days, years) in a PutObjectLockConfiguration request."""
    malformed = S3Error(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
    config = (xmltodict.parse(body).get("ObjectLockConfiguration") or {}) if body else {}
    if config.get("ObjectLockEnabled") != "Enabled":
        raise malformed
    rule = config.get("Rule")
    if not rule:
        return None, 0, 0
    retention = rule.get("DefaultRetention") or {}
    mode, days, years = retention.get("Mode"), retention.get("Days"), retention.get("Years")
    if mode not in MODES or (days is None) == (years is None):
        raise malformed
    if int(days or years or 0) <= 0:
        raise invalid_argument("Default retention period must be a positive integer value.")
    return mode, int(days or 0), int(years or 0)
