"""The rules by which policies are read in IAM mode. That calls are asked by them is tested by the S3 tests (test_s3_iam.py) and
with the real policies (tests/e2e/test_roles.py); sessions of roles are in test_sts.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sandbox.iam import tags_in  # noqa: E402
from sandbox.iam_rules import Request, allows, holds, like  # noqa: E402

SNAPSHOT = "arn:aws:rds:us-east-1:123456789012:snapshot:strongroom-a"


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(effect: str, action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


ALLOW = document(statement("Allow", "rds:*"))


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert not allows([], Request("rds:DeleteDBSnapshot", SNAPSHOT))
    assert not allows([document(statement("Allow", "s3:*"))], Request("rds:DeleteDBSnapshot", SNAPSHOT))


def test_a_denial_in_any_policy_comes_first() -> None:
    deny = document(statement("Deny", ["rds:Delete*"], SNAPSHOT))
    assert not allows([ALLOW, deny], Request("rds:DeleteDBSnapshot", SNAPSHOT))
    assert allows([ALLOW, deny], Request("rds:DeleteDBSnapshot", SNAPSHOT + "b"))


def test_not_resource_is_everything_else() -> None:
    deny = document({"Effect": "Deny", "Action": "rds:DeleteDBSnapshot", "NotResource": "arn:*:snapshot:strongroom-*"})
    assert allows([ALLOW, deny], Request("rds:DeleteDBSnapshot", SNAPSHOT))
    assert not allows([ALLOW, deny], Request("rds:DeleteDBSnapshot", SNAPSHOT.replace("strongroom-a", "by-hand")))


def test_actions_are_of_any_case_and_resources_are_not() -> None:
    only = document(statement("Allow", "RDS:deletedbsnapshot", SNAPSHOT))
    assert allows([only], Request("rds:DeleteDBSnapshot", SNAPSHOT))
    assert not allows([only], Request("rds:DeleteDBSnapshot", SNAPSHOT.upper()))


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [("a*c", "abbc", True), ("a?c", "abc", True), ("a?c", "ac", False), ("a.c", "abc", False), ("*", "a/b\n", True)],
)
def test_wildcards(pattern: str, value: str, matches: bool) -> None:
    assert like(pattern, value) == matches


@pytest.mark.parametrize(
    ("operator", "wanted", "found", "met"),
    [
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a", None, False),
        ("StringEqualsIfExists", "a", None, True),
        ("StringNotEquals", "a", None, True),
        ("StringLike", "bank/*", "bank/x", True),
        ("StringNotLike", "bank/*", "other/x", True),
        ("StringNotLike", "bank/*", "bank/x", False),
        ("ArnNotEquals", ["arn:a", "arn:b"], "arn:b", False),
        ("Bool", "false", "FALSE", True),
        ("NumericLessThan", "1.2", "1.1", True),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
    ],
)
def test_conditions(operator: str, wanted: Any, found: str | None, met: bool) -> None:
    keys = {} if found is None else {"aws:Key": found}
    assert holds({operator: {"AWS:key": wanted}}, keys) == met


def test_all_conditions_must_hold_and_an_unknown_one_is_no_guess() -> None:
    both = {"StringEquals": {"a": "1", "b": "2"}}
    assert holds(both, {"a": "1", "b": "2"}) and not holds(both, {"a": "1"})
    with pytest.raises(KeyError):
        holds({"DateGreaterThan": {"a": "1"}}, {"a": "1"})


def test_tags_are_found_in_both_forms_that_clients_write() -> None:
    parameters = {"Tags.Tag.1.Key": "a", "Tags.Tag.1.Value": "x", "Tags.member.2.Key": "b", "Action": "y"}
    assert tags_in(parameters) == {"a": "x", "b": ""}
