"""Configurations of buckets as they are read back, in the shape that typed SDKs insist on."""

from __future__ import annotations

import urllib.request
from typing import Any

from s3_support import Server, code_of, new_bucket, s3, server  # noqa: F401


def document(server: Server, bucket: str, query: str) -> str:
    with urllib.request.urlopen(f"{server.endpoint}/{bucket}?{query}", timeout=30) as reply:
        return str(reply.read().decode())


def test_versioning_is_told_below_the_root_that_s3_gives_it(server: Server, s3: Any) -> None:
    plain, versioned = new_bucket(s3), new_bucket(s3, versioned=True)
    assert "Status" not in s3.get_bucket_versioning(Bucket=plain)
    assert s3.get_bucket_versioning(Bucket=versioned)["Status"] == "Enabled"
    for bucket in (plain, versioned):
        assert "<VersioningConfiguration xmlns=" in document(server, bucket, "versioning")


def test_lifecycle_rules_come_back_with_all_that_narrows_them(server: Server, s3: Any) -> None:
    bucket = new_bucket(s3)
    assert code_of(lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket)) == "NoSuchLifecycleConfiguration"
    both = {"Prefix": "a/", "Tags": [{"Key": "k", "Value": "v"}], "ObjectSizeLessThan": 9}
    rules = [
        {"ID": "sizes", "Status": "Enabled", "Filter": {"ObjectSizeGreaterThan": 5}, "Expiration": {"Days": 3}},
        {"ID": "both", "Status": "Disabled", "Filter": {"And": both}, "Expiration": {"Days": 3}},
        {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 4}},
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    assert "<LifecycleConfiguration xmlns=" in document(server, bucket, "lifecycle")
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert code_of(lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket)) == "NoSuchLifecycleConfiguration"
