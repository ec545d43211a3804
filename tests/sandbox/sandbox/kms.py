"""Makes moto's KMS take a key's ARN where it takes only the bare id, and answers with an error page otherwise."""

from __future__ import annotations

from typing import Any

from moto.kms.models import KmsBackend

ACTIONS = ("enable_key", "disable_key", "cancel_key_deletion", "schedule_key_deletion")


def install() -> None:
    for name in ACTIONS:
        setattr(KmsBackend, name, _by_any_name(getattr(KmsBackend, name)))


def _by_any_name(original: Any) -> Any:
    def action(self: KmsBackend, key_id: str, *rest: Any, **more: Any) -> Any:
        return original(self, self.any_id_to_key_id(key_id), *rest, **more)

    return action
