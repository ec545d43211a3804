"""Makes moto's KMS take a key's ARN where it takes only the bare id, and answers with an error page otherwise; and has
it say of the keys behind `alias/aws/…` that AWS manages them."""

from __future__ import annotations

from typing import Any

from moto.kms.models import KmsBackend

ACTIONS = ("enable_key", "disable_key", "cancel_key_deletion", "schedule_key_deletion")


def install() -> None:
    for name in ACTIONS:
        setattr(KmsBackend, name, _by_any_name(getattr(KmsBackend, name)))
    KmsBackend._generate_default_keys = _managed(KmsBackend._generate_default_keys)  # type: ignore[method-assign]


def _by_any_name(original: Any) -> Any:
    def action(self: KmsBackend, key_id: str, *rest: Any, **more: Any) -> Any:
        return original(self, self.any_id_to_key_id(key_id), *rest, **more)

    return action


def _managed(original: Any) -> Any:
    def default_key(self: KmsBackend, alias_name: str) -> str | None:
        key_id: str | None = original(self, alias_name)
        if key_id is not None:
            self.keys[key_id].key_manager = "AWS"
        return key_id

    return default_key
