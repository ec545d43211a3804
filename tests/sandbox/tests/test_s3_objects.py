"""Objects, versions and their lists: what clients page, range and delete through."""

from __future__ import annotations

import os
from typing import Any

import pytest
from s3_support import (  # noqa: F401
    MIB,
    Server,
    bucket,
    code_of,
    new_bucket,
    raw,
    s3,
    server,
    status_of,
    versioned,
)


def put_all(s3: Any, bucket: str, *keys: str) -> None:
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def pages(s3: Any, bucket: str, **query: Any) -> list[Any]:
    found, more = [], {}
    while True:
        page = s3.list_objects_v2(Bucket=bucket, **query, **more)
        found.append(page)
        if not page["IsTruncated"]:
            return found
        more = {"ContinuationToken": page["NextContinuationToken"]}


def names(page: Any) -> list[str]:
    return [one["Key"] for one in page.get("Contents", [])]


def test_pages_hold_every_key_once_in_order(s3: Any, bucket: str) -> None:
    keys = [f"k/{number:02}" for number in range(7)]
    put_all(s3, bucket, *reversed(keys))
    found = pages(s3, bucket, MaxKeys=3)
    assert [names(page) for page in found] == [keys[:3], keys[3:6], keys[6:]]
    assert [page["KeyCount"] for page in found] == [3, 3, 1]


def test_a_page_size_of_zero_or_too_many_is_bounded(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a")
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["IsTruncated"] is False
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=5000)["MaxKeys"] == 1000


def test_common_prefixes_count_and_page(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a/1", "a/2", "b", "c/1", "d")
    found = pages(s3, bucket, Delimiter="/", MaxKeys=2)
    listed = [(names(page), [one["Prefix"] for one in page.get("CommonPrefixes", [])]) for page in found]
    assert listed == [(["b"], ["a/"]), (["d"], ["c/"])]


def test_a_prefix_with_a_delimiter_lists_one_level(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "x/y/1", "x/y/2", "x/3", "z")
    page = s3.list_objects_v2(Bucket=bucket, Prefix="x/", Delimiter="/")
    assert (names(page), page["CommonPrefixes"]) == (["x/3"], [{"Prefix": "x/y/"}])


def test_start_after_and_odd_names(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a", "b c+d", "ä/ö", "e=f&g")
    assert names(s3.list_objects_v2(Bucket=bucket)) == sorted(["a", "b c+d", "ä/ö", "e=f&g"])
    assert names(s3.list_objects_v2(Bucket=bucket, StartAfter="b c+d")) == ["e=f&g", "ä/ö"]
    assert s3.get_object(Bucket=bucket, Key="b c+d")["Body"].read() == b"b c+d"


def test_a_token_that_we_did_not_give_is_refused(s3: Any, bucket: str) -> None:
    assert code_of(lambda: s3.list_objects_v2(Bucket=bucket, ContinuationToken="nonsense")) == "InvalidArgument"


def test_the_old_list_pages_by_marker(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a", "b", "c")
    first = s3.list_objects(Bucket=bucket, MaxKeys=2)
    assert (names(first), first["IsTruncated"]) == (["a", "b"], True)
    assert names(s3.list_objects(Bucket=bucket, Marker="b")) == ["c"]


def test_hidden_keys_make_no_common_prefix(s3: Any, versioned: str) -> None:
    put_all(s3, versioned, "a/1")
    s3.delete_object(Bucket=versioned, Key="a/1")
    assert s3.list_objects_v2(Bucket=versioned, Delimiter="/")["KeyCount"] == 0


def test_versions_are_listed_newest_first_in_pages(s3: Any, versioned: str) -> None:
    ids = [s3.put_object(Bucket=versioned, Key="k", Body=str(n).encode())["VersionId"] for n in range(5)]
    put_all(s3, versioned, "l")
    seen, more = [], {}
    while True:
        page = s3.list_object_versions(Bucket=versioned, MaxKeys=2, **more)
        seen += [(one["Key"], one["VersionId"], one["IsLatest"]) for one in page["Versions"]]
        if not page["IsTruncated"]:
            break
        more = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    assert [(key, latest) for key, _, latest in seen] == [("k", True), *[("k", False)] * 4, ("l", True)]
    assert [one for _, one, _ in seen[:5]] == list(reversed(ids))


def test_delete_markers_are_listed_apart(s3: Any, versioned: str) -> None:
    put_all(s3, versioned, "k")
    marker = s3.delete_object(Bucket=versioned, Key="k")
    page = s3.list_object_versions(Bucket=versioned)
    assert [(one["VersionId"], one["IsLatest"]) for one in page["DeleteMarkers"]] == [(marker["VersionId"], True)]
    assert [one["IsLatest"] for one in page["Versions"]] == [False]


def test_a_delete_marker_is_told_apart_from_nothing(s3: Any, versioned: str) -> None:
    put_all(s3, versioned, "k")
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    with pytest.raises(s3.exceptions.NoSuchKey) as caught:
        s3.get_object(Bucket=versioned, Key="k")
    assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    assert status_of(lambda: s3.head_object(Bucket=versioned, Key="k")) == 404
    assert code_of(lambda: s3.get_object(Bucket=versioned, Key="k", VersionId=marker)) == "MethodNotAllowed"
    assert s3.delete_object(Bucket=versioned, Key="k", VersionId=marker)["DeleteMarker"] is True
    assert s3.get_object(Bucket=versioned, Key="k")["Body"].read() == b"k"


def test_deleting_what_is_not_there_still_makes_a_marker(s3: Any, versioned: str) -> None:
    assert s3.delete_object(Bucket=versioned, Key="never")["DeleteMarker"] is True


def test_deleting_many_names_versions_and_markers(s3: Any, versioned: str) -> None:
    first = s3.put_object(Bucket=versioned, Key="a", Body=b"1")["VersionId"]
    put_all(s3, versioned, "b")
    objects = [{"Key": "a", "VersionId": first}, {"Key": "b"}, {"Key": "missing", "VersionId": "null"}]
    done = s3.delete_objects(Bucket=versioned, Delete={"Objects": objects})["Deleted"]
    assert [(one["Key"], one.get("VersionId"), one.get("DeleteMarker", False)) for one in done] == [
        ("a", first, False),
        ("b", None, True),
        ("missing", "null", False),
    ]
    assert "Contents" not in s3.list_objects_v2(Bucket=versioned)


def test_suspended_versioning_keeps_old_versions(s3: Any, versioned: str) -> None:
    old = s3.put_object(Bucket=versioned, Key="k", Body=b"old")["VersionId"]
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Suspended"})
    for body in (b"null 1", b"null 2"):
        s3.put_object(Bucket=versioned, Key="k", Body=body)
    ids = [one["VersionId"] for one in s3.list_object_versions(Bucket=versioned)["Versions"]]
    assert ids == ["null", old]
    assert s3.get_object(Bucket=versioned, Key="k", VersionId=old)["Body"].read() == b"old"


@pytest.mark.parametrize(
    "wanted, start, end",
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-99999999", 5, None)],
)
@pytest.mark.parametrize("size", [1000, MIB])
def test_ranges_give_exactly_their_bytes(
    s3: Any, bucket: str, wanted: str, start: int, end: int | None, size: int
) -> None:
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    got = s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    assert got["Body"].read() == body[start:end]
    first = start % size
    assert got["ContentRange"] == f"bytes {first}-{first + len(body[start:end]) - 1}/{size}"


def test_a_range_beyond_the_end_is_refused(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"123")
    assert code_of(lambda: s3.get_object(Bucket=bucket, Key="k", Range="bytes=3-")) == "InvalidRange"


def test_head_takes_a_range(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    assert s3.head_object(Bucket=bucket, Key="k", Range="bytes=1-2")["ContentLength"] == 2


def test_an_empty_object_is_an_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b""
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 0


def test_a_copy_is_of_its_own(server: Server, s3: Any, bucket: str) -> None:
    body = os.urandom(MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=body, Metadata={"a": "b"})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/source")
    server.side("POST", "s3/corrupt", {"bucket": bucket, "key": "source", "offset": 10, "xor": 255})
    s3.delete_object(Bucket=bucket, Key="source")
    got = s3.get_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got["Metadata"]) == (body, {"a": "b"})


def test_corruption_changes_one_byte_and_nothing_else(server: Server, s3: Any, bucket: str) -> None:
    body = os.urandom(MIB)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=body)["ETag"]
    server.side("POST", "s3/corrupt", {"bucket": bucket, "key": "k", "offset": 1000, "xor": 4})
    got = server.client(response_checksum_validation="when_required").get_object(Bucket=bucket, Key="k")
    rotten = got["Body"].read()
    assert got["ETag"] == etag
    assert [(n, a ^ b) for n, (a, b) in enumerate(zip(body, rotten, strict=True)) if a != b] == [(1000, 4)]


def test_truncation_shortens_what_is_stored(server: Server, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)
    server.side("POST", "s3/truncate", {"bucket": bucket, "key": "k", "size": 100})
    got = server.client(response_checksum_validation="when_required").get_object(Bucket=bucket, Key="k")
    assert len(got["Body"].read()) == 100


def test_a_bucket_with_versions_cannot_be_deleted(s3: Any, versioned: str) -> None:
    put_all(s3, versioned, "k")
    assert code_of(lambda: s3.delete_bucket(Bucket=versioned)) == "BucketNotEmpty"


def test_missing_things_have_their_names(s3: Any, bucket: str, versioned: str) -> None:
    assert code_of(lambda: s3.get_object(Bucket=bucket, Key="k")) == "NoSuchKey"
    put_all(s3, versioned, "k")
    assert code_of(lambda: s3.get_object(Bucket=versioned, Key="k", VersionId="nope")) == "NoSuchVersion"
    assert code_of(lambda: s3.list_objects_v2(Bucket="no-such-bucket-at-all")) == "NoSuchBucket"


def test_an_object_being_read_survives_its_deletion(s3: Any, bucket: str) -> None:
    body = os.urandom(8 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    stream = s3.get_object(Bucket=bucket, Key="k")["Body"]
    head = stream.read(10)
    s3.delete_object(Bucket=bucket, Key="k")
    assert head + stream.read() == body


def test_a_reset_forgets_everything_and_frees_the_bytes(server: Server, s3: Any, bucket: str) -> None:
    import urllib.request

    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="l")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="l", UploadId=upload_id, PartNumber=1, Body=b"x" * MIB)
    request = urllib.request.Request(f"{server.endpoint}/moto-api/reset", data=b"", method="POST")
    urllib.request.urlopen(request, timeout=30).read()
    assert s3.list_buckets()["Buckets"] == []
    assert list((server.workdir / "s3").iterdir()) == []
    again = new_bucket(s3)
    put_all(s3, again, "k")
    assert s3.get_object(Bucket=again, Key="k")["Body"].read() == b"k"
