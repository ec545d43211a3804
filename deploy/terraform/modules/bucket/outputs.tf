output "name" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.bucket
}

output "arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "ready" {
  description = "Known once versioning and lock are on, which replication must wait for."
  value       = aws_s3_bucket_object_lock_configuration.this.id
}
