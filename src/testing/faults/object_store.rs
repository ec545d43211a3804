//! The object store with faults.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Faulty, Operation};
use crate::domain::bucket::BucketFacts;
use crate::domain::inventory::{Complete, OpenUpload};
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::PortError;
use crate::ports::object_store::{
    ByteStream, Condition, CopySource, DeletedVersion, ListedVersion, ObjectFacts, ObjectStore, Part, PartReceipt,
    ReadObject, WholeObject, Written,
};

#[async_trait]
impl ObjectStore for Faulty<dyn ObjectStore> {
    async fn list_versions(&self, prefix: &str) -> Result<Complete<ListedVersion>, PortError> {
        self.faults.around(Operation::ListVersions, prefix, self.port.list_versions(prefix)).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Complete<OpenUpload>, PortError> {
        self.faults.around(Operation::ListUploads, prefix, self.port.list_uploads(prefix)).await
    }

    async fn get(&self, key: &ObjectKey, size_bytes_max: u64) -> Result<ReadObject, PortError> {
        self.faults.around(Operation::Get, key.as_str(), self.port.get(key, size_bytes_max)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError> {
        self.faults.around(Operation::Head, key.as_str(), self.port.head(key)).await
    }

    async fn head_version(&self, object: &ObjectVersion) -> Result<ObjectFacts, PortError> {
        self.faults.around(Operation::HeadVersion, object.key.as_str(), self.port.head_version(object)).await
    }

    async fn read_version(&self, object: &ObjectVersion) -> Result<ByteStream, PortError> {
        self.faults.around(Operation::ReadVersion, object.key.as_str(), self.port.read_version(object)).await
    }

    async fn read_range(&self, object: &ObjectVersion, bytes: Range<u64>) -> Result<ByteStream, PortError> {
        self.faults.around(Operation::ReadVersion, object.key.as_str(), self.port.read_range(object, bytes)).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes, condition: Condition) -> Result<Written, PortError> {
        self.faults.around(Operation::Put, key.as_str(), self.port.put(key, bytes, condition)).await
    }

    async fn create_upload(&self, key: &ObjectKey) -> Result<OpenUpload, PortError> {
        self.faults.around(Operation::CreateUpload, key.as_str(), self.port.create_upload(key)).await
    }

    async fn upload_part(&self, upload: &OpenUpload, part: Part) -> Result<PartReceipt, PortError> {
        let subject = format!("{} part {}", upload.key, part.number);
        self.faults.around(Operation::UploadPart, &subject, self.port.upload_part(upload, part)).await
    }

    async fn complete_upload(&self, upload: &OpenUpload, whole: WholeObject) -> Result<(), PortError> {
        let call = self.port.complete_upload(upload, whole);
        self.faults.around(Operation::CompleteUpload, upload.key.as_str(), call).await
    }

    async fn abort_upload(&self, upload: &OpenUpload) -> Result<(), PortError> {
        self.faults.around(Operation::AbortUpload, upload.key.as_str(), self.port.abort_upload(upload)).await
    }

    async fn delete_versions(&self, versions: &[ObjectVersion]) -> Result<Vec<DeletedVersion>, PortError> {
        let keys: Vec<&str> = versions.iter().map(|version| version.key.as_str()).collect();
        self.faults.around(Operation::DeleteVersions, &keys.join(" "), self.port.delete_versions(versions)).await
    }

    async fn copy_from(&self, source: &CopySource, key: &ObjectKey) -> Result<(), PortError> {
        self.faults.around(Operation::CopyFrom, key.as_str(), self.port.copy_from(source, key)).await
    }

    async fn bucket(&self) -> Result<BucketFacts, PortError> {
        self.faults.around(Operation::Bucket, "", self.port.bucket()).await
    }
}
