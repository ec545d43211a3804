//! The requests to AWS that are counted by name. Labels are bounded by this list: what is not on it counts as `other`.

/// Service and operation of everything that strongroom asks of AWS, with the names of AWS's API models.
const REQUESTS: [(&str, &[&str]); 7] = [
    ("cloudwatch", &["PutMetricData"]),
    ("kms", &["DescribeKey"]),
    (
        "rds",
        &[
            "CopyDBSnapshot",
            "CreateDBSnapshot",
            "DeleteDBSnapshot",
            "DescribeAccountAttributes",
            "DescribeDBInstances",
            "DescribeDBParameters",
            "DescribeDBSnapshots",
            "DescribeEvents",
        ],
    ),
    (
        "s3",
        &[
            "AbortMultipartUpload",
            "CompleteMultipartUpload",
            "CopyObject",
            "CreateMultipartUpload",
            "DeleteObjects",
            "GetBucketEncryption",
            "GetBucketLifecycleConfiguration",
            "GetBucketPolicy",
            "GetBucketReplication",
            "GetBucketVersioning",
            "GetObject",
            "GetObjectLockConfiguration",
            "GetPublicAccessBlock",
            "HeadBucket",
            "HeadObject",
            "ListMultipartUploads",
            "ListObjectVersions",
            "PutObject",
            "UploadPart",
            "UploadPartCopy",
        ],
    ),
    ("secretsmanager", &["GetSecretValue"]),
    ("sns", &["Publish"]),
    ("sts", &["AssumeRole"]),
];

/// What is not on the list.
const OTHER: &str = "other";

/// Every pair of labels that can occur.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let named = REQUESTS.iter().flat_map(|(service, operations)| {
        operations.iter().copied().chain([OTHER]).map(|operation| (*service, operation))
    });
    named.chain([(OTHER, OTHER)])
}

/// The labels for a request, from the names that the SDK gives: `RDS`, `S3`, `Secrets Manager`.
pub(super) fn labels(service: &str, operation: &str) -> (&'static str, &'static str) {
    let plain: String = service.split_whitespace().collect::<String>().to_ascii_lowercase();
    let Some((service, operations)) = REQUESTS.iter().find(|(name, _)| *name == plain) else {
        return (OTHER, OTHER);
    };
    (service, operations.iter().find(|name| **name == operation).copied().unwrap_or(OTHER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_sdk_find_their_labels_and_unknown_ones_stay_bounded() {
        assert_eq!(labels("RDS", "DescribeDBInstances"), ("rds", "DescribeDBInstances"));
        assert_eq!(labels("KMS", "DescribeKey"), ("kms", "DescribeKey"));
        assert_eq!(labels("Secrets Manager", "GetSecretValue"), ("secretsmanager", "GetSecretValue"));
        assert_eq!(labels("S3", "SelectObjectContent"), ("s3", "other"));
        assert_eq!(labels("STS", "AssumeRole"), ("sts", "AssumeRole"));
        assert_eq!(labels("IAM", "GetRole"), ("other", "other"));
        for (service, operation) in [("S3", "x"), ("y", "z"), ("s3", "PutObject")] {
            assert!(all().any(|pair| pair == labels(service, operation)));
        }
    }
}
