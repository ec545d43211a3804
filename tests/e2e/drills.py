"""What tests of restore drills have in common: where their instances are put, and that none of them is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from case import Case, Config
from sandbox_process import Sandbox

DRILLS: Config = {"subnet_group": "drills", "security_groups": ["sg-0a1b2c3d"]}
RETRY: Config = {"initial_backoff": "1s", "backoff_max": "2s"}
SECONDS = 240


@pytest.fixture(scope="module", autouse=True)
def subnet_group(sandbox: Sandbox) -> None:
    sandbox.subnet_group(DRILLS["subnet_group"])


@pytest.fixture(autouse=True)
def nothing_is_left(case: Case) -> Iterator[None]:
    yield
    for name in instances(case):
        try:
            case.sandbox.client("rds").delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidDBInstanceState", error


def instances(case: Case) -> list[str]:
    """The instances of this test's drills that stand."""
    pages = case.sandbox.client("rds").get_paginator("describe_db_instances").paginate()
    found = [item["DBInstanceIdentifier"] for page in pages for item in page["DBInstances"]]
    return [name for name in found if name.startswith(f"{case.name}-drill-")]


def records(case: Case) -> list[dict[str, Any]]:
    """The records of this test's drills, in the order of their keys."""
    return case.documents([key for key in case.keys() if "/drills/" in key])
