"""What policies allow: the rules of IAM for actions, resources and conditions, of which moto knows the first.

Deny comes before allow, and what nothing allows is refused. A condition that is not known here is an error: to guess it would
make tests of policies worthless. Boundaries, service control policies, session policies and the policies of resources
are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]
Statement = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """One right that a call needs. Keys of conditions that the call does not have are absent."""

    action: str
    resource: str = "*"
    keys: Mapping[str, str] = field(default_factory=dict)


def allows(documents: Iterable[Document], request: Request) -> bool:
    """Whether somebody with these policies may do this."""
    effects = {
        statement["Effect"]
        for document in documents
        for statement in several(document["Statement"])
        if concerns(statement, request)
    }
    return effects == {"Allow"}


def concerns(statement: Statement, request: Request) -> bool:
    return (
        named(statement, "Action", request.action, ignore_case=True)
        and named(statement, "Resource", request.resource, ignore_case=False)
        and holds(statement.get("Condition", {}), request.keys)
    )


def named(statement: Statement, element: str, value: str, ignore_case: bool) -> bool:
    """Whether `Action` or `Resource`, or the `Not` of it, takes this in."""
    if f"Not{element}" in statement:
        return not any(like(pattern, value, ignore_case) for pattern in several(statement[f"Not{element}"]))
    return any(like(pattern, value, ignore_case) for pattern in several(statement[element]))


def like(pattern: str, value: str, ignore_case: bool = False) -> bool:
    """`*` for any characters, `?` for one."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, value, re.IGNORECASE | re.DOTALL if ignore_case else re.DOTALL) is not None


def several(value: Any) -> list[Any]:
    """IAM takes a single item for a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def holds(conditions: Mapping[str, Mapping[str, Any]], keys: Mapping[str, str]) -> bool:
    """Whether all conditions are met."""
    in_lower_case = {name.lower(): value for name, value in keys.items()}
    return all(
        condition_holds(operator, several(wanted), in_lower_case.get(key.lower()))
        for operator, pairs in conditions.items()
        for key, wanted in pairs.items()
    )


EQUAL: Callable[[str, str], bool] = lambda wanted, found: wanted == found  # noqa: E731
OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": lambda wanted, found: str(wanted).lower() == found.lower(),
    "NumericLessThan": lambda wanted, found: float(found) < float(wanted),
    "StringEquals": EQUAL,
    "StringLike": like,
}
NEGATED = {
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "StringNotEquals": "StringEquals",
    "StringNotLike": "StringLike",
}


def condition_holds(operator: str, wanted: list[Any], found: str | None) -> bool:
    if operator == "Null":
        (absent,) = wanted
        return (found is None) == (str(absent).lower() == "true")
    if_exists = operator.endswith("IfExists")
    operator = operator.removesuffix("IfExists")
    if operator in NEGATED:
        # A key that is absent is unlike everything.
        return found is None or not any(OPERATORS[NEGATED[operator]](one, found) for one in wanted)
    if found is None:
        return if_exists
    return any(OPERATORS[operator](one, found) for one in wanted)
