//! The requests that read: objects, listings, and what a bucket says about itself.

use std::convert::Infallible;
use std::ops::RangeInclusive;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::aws::Account;
use crate::checksum::CRC64NVME_HEADER;
use crate::respond::{kept, with_headers};
use crate::store::{self, Kept, Name, Object, State};
use crate::uri::{Query, encode};
use crate::xml::{S3Error, element, s3_answer};

const PAGE_MAX: usize = 1000;

pub(crate) fn bucket(account: &Account) -> Response {
    let region = (HeaderName::from_static("x-amz-bucket-region"), account.region().to_owned());
    with_headers(StatusCode::OK.into_response(), [region])
}

pub(crate) fn location(account: &Account) -> Response {
    // S3's oldest region is the one without a name.
    let region = if account.region() == "us-east-1" { "" } else { account.region() };
    s3_answer("LocationConstraint", region)
}

pub(crate) fn get(state: &State, name: &Name, headers: &HeaderMap) -> Result<Response, S3Error> {
    let object = state.objects.get(name).ok_or_else(S3Error::no_such_key)?;
    let pieces = kept(object.kept.as_ref())?;
    let len = store::len(pieces);
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let response = match range.and_then(|range| wanted(range, len)) {
        Some(range) => partial(pieces, len, &range),
        None => body(pieces, 0, len),
    };
    Ok(with_metadata(response, object))
}

pub(crate) fn head(state: &State, name: &Name) -> Result<Response, S3Error> {
    let object = state.objects.get(name).ok_or_else(S3Error::no_such_key)?;
    let length = (CONTENT_LENGTH, object.size_bytes.to_string());
    Ok(with_metadata(with_headers(StatusCode::OK.into_response(), [length]), object))
}

fn with_metadata(mut response: Response, object: &Object) -> Response {
    for (name, value) in &object.echoed {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    let modified = DateTimePrinter::new().timestamp_to_rfc9110_string(&object.modified).unwrap_or_default();
    let response = with_headers(
        response,
        [
            (ETAG, object.etag.clone()),
            (LAST_MODIFIED, modified),
            (ACCEPT_RANGES, "bytes".to_owned()),
            (HeaderName::from_static("x-amz-version-id"), object.version_id.clone()),
        ],
    );
    if response.status() == StatusCode::PARTIAL_CONTENT {
        // That of the whole would be compared with what came.
        return response;
    }
    let checksum = (HeaderName::from_static(CRC64NVME_HEADER), object.crc64.base64());
    with_headers(response, [checksum, (HeaderName::from_static("x-amz-checksum-type"), "FULL_OBJECT".to_owned())])
}

fn wanted(range: &str, len: usize) -> Option<RangeInclusive<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = len.checked_sub(1)?;
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => first..=last.min(end),
        (Ok(first), Err(_)) => first..=end,
        (Err(_), Ok(suffix)) => len.saturating_sub(suffix)..=end,
        (Err(_), Err(_)) => return None,
    };
    (!range.is_empty()).then_some(range)
}

fn partial(pieces: &Kept, len: usize, range: &RangeInclusive<usize>) -> Response {
    let content_range = format!("bytes {}-{}/{len}", range.start(), range.end());
    let mut response = body(pieces, *range.start(), range.end() + 1);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    with_headers(response, [(CONTENT_RANGE, content_range)])
}

/// The bytes from `begin` to before `end`, as they are kept: nothing is copied.
fn body(pieces: &Kept, begin: usize, end: usize) -> Response {
    let mut at = 0;
    let mut wanted: Vec<Result<Bytes, Infallible>> = Vec::new();
    for piece in pieces {
        let (from, to) = (begin.max(at), end.min(at + piece.len()));
        if from < to {
            wanted.push(Ok(piece.slice(from - at..to - at)));
        }
        at += piece.len();
    }
    let response = Body::from_stream(futures_util::stream::iter(wanted)).into_response();
    with_headers(response, [(CONTENT_LENGTH, (end - begin).to_string())])
}

pub(crate) fn list(state: &State, bucket: &str, query: &Query) -> Response {
    let after = query.get("continuation-token").or_else(|| query.get("start-after"));
    let page = Page::of(state.objects.iter(), bucket, query, after, "max-keys");
    let mut body = page.head(bucket, query);
    body.push_str(&element("KeyCount", &(page.items.len() + page.groups.len()).to_string()));
    body.push_str(&element("MaxKeys", &page.limit.to_string()));
    if let Some(next) = &page.next {
        body.push_str(&element("NextContinuationToken", next));
    }
    for (key, object) in &page.items {
        let fields = [element("Key", key), object_fields(object)].concat();
        body.push_str(&format!("<Contents>{fields}</Contents>"));
    }
    body.push_str(&page.prefixes());
    s3_answer("ListBucketResult", &body)
}

pub(crate) fn list_versions(state: &State, bucket: &str, query: &Query) -> Response {
    let page = Page::of(state.objects.iter(), bucket, query, query.get("key-marker"), "max-keys");
    let mut body = page.head(bucket, query);
    body.push_str(&element("MaxKeys", &page.limit.to_string()));
    if let Some(next) = &page.next {
        body.push_str(&element("NextKeyMarker", next));
    }
    for (key, object) in &page.items {
        let version = element("VersionId", &object.version_id);
        let fields = [element("Key", key), version, element("IsLatest", "true"), object_fields(object)].concat();
        body.push_str(&format!("<Version>{fields}</Version>"));
    }
    body.push_str(&page.prefixes());
    s3_answer("ListVersionsResult", &body)
}

pub(crate) fn list_uploads(state: &State, bucket: &str, query: &Query) -> Response {
    let mut uploads: Vec<_> = state.uploads.iter().map(|(id, upload)| (&upload.name, (id, upload))).collect();
    uploads.sort_by_key(|(name, (id, _))| (*name, *id));
    let page = Page::of(uploads.into_iter(), bucket, query, query.get("key-marker"), "max-uploads");
    let mut body = page.head(bucket, query).replace("<Name>", "<Bucket>").replace("</Name>", "</Bucket>");
    body.push_str(&element("MaxUploads", &page.limit.to_string()));
    if let Some(next) = &page.next {
        body.push_str(&element("NextKeyMarker", next));
    }
    for (key, (id, upload)) in &page.items {
        let fields =
            [element("Key", key), element("UploadId", id), element("Initiated", &iso(upload.initiated))].concat();
        body.push_str(&format!("<Upload>{fields}<StorageClass>STANDARD</StorageClass></Upload>"));
    }
    body.push_str(&page.prefixes());
    s3_answer("ListMultipartUploadsResult", &body)
}

/// One page of names, common prefixes folded.
struct Page<T> {
    items: Vec<(String, T)>,
    groups: Vec<String>,
    limit: usize,
    next: Option<String>,
}

impl<T> Page<T> {
    fn of<'names>(
        named: impl Iterator<Item = (&'names Name, T)>,
        bucket: &str,
        query: &Query,
        after: Option<&str>,
        limit: &str,
    ) -> Self {
        let prefix = query.get("prefix").unwrap_or_default();
        let delimiter = query.get("delimiter").filter(|delimiter| !delimiter.is_empty());
        let limit = query.get(limit).and_then(|limit| limit.parse().ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let url = query.get("encoding-type") == Some("url");
        let shown = |key: &str| if url { encode(key) } else { key.to_owned() };
        let mut page = Self { items: Vec::new(), groups: Vec::new(), limit, next: None };
        let mut last = None;
        for ((_, key), item) in named.filter(|(name, _)| name.0 == bucket && name.1.starts_with(prefix)) {
            let group = delimiter.and_then(|delimiter| {
                let end = key[prefix.len()..].find(delimiter)? + prefix.len() + delimiter.len();
                Some(&key[..end])
            });
            let entry = group.unwrap_or(key);
            if after.is_some_and(|after| entry <= after) || (group.is_some() && last == group) {
                continue;
            }
            if page.items.len() + page.groups.len() == limit {
                page.next = last.map(str::to_owned);
                break;
            }
            last = Some(entry);
            match group {
                Some(group) => page.groups.push(shown(group)),
                None => page.items.push((shown(key), item)),
            }
        }
        page
    }

    fn head(&self, bucket: &str, query: &Query) -> String {
        let mut head = [
            element("Name", bucket),
            element("Prefix", query.get("prefix").unwrap_or_default()),
            element("IsTruncated", if self.next.is_some() { "true" } else { "false" }),
        ]
        .concat();
        for (asked, name) in [("delimiter", "Delimiter"), ("encoding-type", "EncodingType")] {
            if let Some(value) = query.get(asked) {
                head.push_str(&element(name, value));
            }
        }
        head
    }

    fn prefixes(&self) -> String {
        let one = |group: &String| format!("<CommonPrefixes>{}</CommonPrefixes>", element("Prefix", group));
        self.groups.iter().map(one).collect()
    }
}

fn object_fields(object: &Object) -> String {
    [
        element("LastModified", &iso(object.modified)),
        element("ETag", &object.etag),
        element("Size", &object.size_bytes.to_string()),
        element("StorageClass", "STANDARD"),
    ]
    .concat()
}

fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
