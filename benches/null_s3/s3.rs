//! The requests that write, and the dispatch of all of them. Reading is in `objects`.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};

use crate::body::{Received, receive};
use crate::checksum::CRC64NVME_HEADER;
use crate::objects;
use crate::respond::{NullS3, with_headers};
use crate::store::{Completion, Echoed, ListedPart, Name, Object};
use crate::uri::Query;
use crate::xml::{S3Error, bare_etag, element, inner, s3_answer};

/// The longest list of parts: 10,000 of some 250 bytes each.
const PART_LIST_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CreateBucket,
    CreateMultipartUpload,
    DeleteObject,
    GetBucketLocation,
    GetBucketVersioning,
    GetObject,
    HeadBucket,
    HeadObject,
    ListMultipartUploads,
    ListObjectVersions,
    ListObjectsV2,
    PutObject,
    UploadPart,
}

impl Operation {
    fn of(method: &Method, key: &str, query: &Query) -> Option<Self> {
        let upload = query.has("uploadId");
        match (method.as_str(), key.is_empty()) {
            ("GET", true) if query.has("location") => Some(Self::GetBucketLocation),
            ("GET", true) if query.has("versioning") => Some(Self::GetBucketVersioning),
            ("GET", true) if query.has("versions") => Some(Self::ListObjectVersions),
            ("GET", true) if query.has("uploads") => Some(Self::ListMultipartUploads),
            ("GET", true) if query.get("list-type") == Some("2") => Some(Self::ListObjectsV2),
            ("HEAD", true) => Some(Self::HeadBucket),
            ("PUT", true) if !query.has("versioning") => Some(Self::CreateBucket),
            ("GET", false) if !upload && !query.has("attributes") => Some(Self::GetObject),
            ("HEAD", false) => Some(Self::HeadObject),
            ("PUT", false) if upload && query.has("partNumber") => Some(Self::UploadPart),
            ("PUT", false) if !query.has("tagging") && !query.has("retention") => Some(Self::PutObject),
            ("POST", false) if query.has("uploads") => Some(Self::CreateMultipartUpload),
            ("POST", false) if upload => Some(Self::CompleteMultipartUpload),
            ("DELETE", false) if upload => Some(Self::AbortMultipartUpload),
            ("DELETE", false) => Some(Self::DeleteObject),
            _ => None,
        }
    }
}

pub(crate) async fn respond(server: &NullS3, name: Name, query: &Query, request: Request) -> Result<Response, S3Error> {
    let (head, body) = request.into_parts();
    let operation = Operation::of(&head.method, &name.1, query)
        .ok_or_else(|| S3Error::not_implemented(&format!("{} {}", head.method, head.uri)))?;
    *server.store.lock().requests.entry(format!("{operation:?}")).or_default() += 1;
    let headers = &head.headers;
    match operation {
        Operation::PutObject => put_object(server, name, headers, body).await,
        Operation::CreateMultipartUpload => Ok(create_upload(server, name, headers)),
        Operation::UploadPart => upload_part(server, query, headers, body).await,
        Operation::CompleteMultipartUpload => complete_upload(server, name, query, headers, body).await,
        Operation::AbortMultipartUpload => {
            server.store.lock().abort_upload(upload_id(query))?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Operation::DeleteObject => {
            server.store.lock().remove(&name);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Operation::CreateBucket | Operation::HeadBucket => Ok(objects::bucket(&server.account)),
        Operation::GetBucketLocation => Ok(objects::location(&server.account)),
        Operation::GetBucketVersioning => Ok(s3_answer("VersioningConfiguration", "<Status>Enabled</Status>")),
        Operation::GetObject => objects::get(&server.store.lock(), &name, headers),
        Operation::HeadObject => objects::head(&server.store.lock(), &name),
        Operation::ListMultipartUploads => Ok(objects::list_uploads(&server.store.lock(), &name.0, query)),
        Operation::ListObjectVersions => Ok(objects::list_versions(&server.store.lock(), &name.0, query)),
        Operation::ListObjectsV2 => Ok(objects::list(&server.store.lock(), &name.0, query)),
    }
}

async fn put_object(server: &NullS3, name: Name, headers: &HeaderMap, body: Body) -> Result<Response, S3Error> {
    let keep = server.store.keep_object();
    let received = receive(headers, body, keep, &server.pace).await?;
    let mut state = server.store.lock();
    state.received_bytes += received.sums.size_bytes;
    let checksum = checksum_header(&received, false);
    let object = state.put(name, received, echoed(headers), only_if_absent(headers), keep)?;
    let response = with_headers(StatusCode::OK.into_response(), [(ETAG, object.etag.clone()), checksum]);
    Ok(with_object_headers(response, &object))
}

fn create_upload(server: &NullS3, (bucket, key): Name, headers: &HeaderMap) -> Response {
    let algorithm = text(headers, "x-amz-checksum-algorithm");
    let other_algorithm = algorithm.is_some_and(|algorithm| algorithm != "CRC64NVME");
    let id = server.store.lock().create_upload((bucket.clone(), key.clone()), echoed(headers), other_algorithm);
    let body = [element("Bucket", &bucket), element("Key", &key), element("UploadId", &id)].concat();
    let response = s3_answer("InitiateMultipartUploadResult", &body);
    let same = ["x-amz-checksum-algorithm", "x-amz-checksum-type"]
        .into_iter()
        .filter_map(|name| Some((HeaderName::from_static(name), text(headers, name)?.to_owned())));
    with_headers(response, same)
}

async fn upload_part(server: &NullS3, query: &Query, headers: &HeaderMap, body: Body) -> Result<Response, S3Error> {
    let number =
        query.get("partNumber").and_then(|number| number.parse().ok()).filter(|number| (1..=10_000).contains(number));
    let number = number
        .ok_or_else(|| S3Error::invalid_request("Part number must be an integer between 1 and 10000, inclusive"))?;
    let received = receive(headers, body, server.store.keep_part(), &server.pace).await?;
    let mut state = server.store.lock();
    state.received_bytes += received.sums.size_bytes;
    let other_algorithm = state.uploads.get(upload_id(query)).is_some_and(|upload| upload.other_algorithm);
    let checksum = checksum_header(&received, other_algorithm);
    let etag = state.put_part(upload_id(query), number, received)?;
    Ok(with_headers(StatusCode::OK.into_response(), [(ETAG, etag), checksum]))
}

async fn complete_upload(
    server: &NullS3,
    name: Name,
    query: &Query,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, S3Error> {
    let list = axum::body::to_bytes(body, PART_LIST_BYTES_MAX).await.map_err(|_| S3Error::incomplete_body())?;
    let list = String::from_utf8_lossy(&list);
    let parts = inner(&list, "Part").into_iter().map(listed_part).collect::<Result<Vec<_>, _>>()?;
    let asked = Completion {
        only_if_absent: only_if_absent(headers),
        crc64: text(headers, CRC64NVME_HEADER).map(str::to_owned),
        size_bytes: text(headers, "x-amz-mp-object-size").and_then(|size| size.parse().ok()),
    };
    let mut state = server.store.lock();
    let other_algorithm = state.uploads.get(upload_id(query)).is_some_and(|upload| upload.other_algorithm);
    let object = state.complete_upload(upload_id(query), &parts, &asked)?;
    let mut body = [element("Bucket", &name.0), element("Key", &name.1), element("ETag", &object.etag)].concat();
    if !other_algorithm {
        body.push_str(&element("ChecksumCRC64NVME", &object.crc64.base64()));
        body.push_str(&element("ChecksumType", "FULL_OBJECT"));
    }
    Ok(with_object_headers(s3_answer("CompleteMultipartUploadResult", &body), &object))
}

fn listed_part(part: &str) -> Result<ListedPart, S3Error> {
    let one = |name| inner(part, name).first().copied();
    let malformed = || S3Error::new(StatusCode::BAD_REQUEST, "MalformedXML", "A part has no number or no ETag.");
    Ok(ListedPart {
        number: one("PartNumber").and_then(|number| number.parse().ok()).ok_or_else(malformed)?,
        etag: one("ETag").map(bare_etag).ok_or_else(malformed)?,
        crc64: one("ChecksumCRC64NVME").map(str::to_owned),
    })
}

/// The checksum that S3 answers with: the one it was given, else its own.
fn checksum_header(received: &Received, other_algorithm: bool) -> (HeaderName, String) {
    match &received.sums.extra {
        Some((extra, value)) if other_algorithm => (HeaderName::from_static(extra.header()), value.clone()),
        Some(_) | None => (HeaderName::from_static(CRC64NVME_HEADER), received.sums.crc64.base64()),
    }
}

fn with_object_headers(response: Response, object: &Object) -> Response {
    let encryption = object.echoed.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-server-side-encryption"));
    let encryption = encryption.filter_map(|(name, value)| Some((name.clone(), value.to_str().ok()?.to_owned())));
    let version = (HeaderName::from_static("x-amz-version-id"), object.version_id.clone());
    with_headers(response, encryption.chain([version]))
}

fn echoed(headers: &HeaderMap) -> Echoed {
    let comes_back = |name: &HeaderName| {
        name == CONTENT_TYPE
            || name.as_str().starts_with("x-amz-meta-")
            || name.as_str().starts_with("x-amz-server-side-encryption")
    };
    headers.iter().filter(|(name, _)| comes_back(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn only_if_absent(headers: &HeaderMap) -> bool {
    headers.get(IF_NONE_MATCH).is_some_and(|value| value == "*")
}

fn upload_id(query: &Query) -> &str {
    query.get("uploadId").unwrap_or_default()
}

fn text<'headers>(headers: &'headers HeaderMap, name: &str) -> Option<&'headers str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
