# destination.replica of the configuration with mode = "replicated": S3 copies, strongroom looks at every copy.

resource "aws_iam_role" "this" {
  name        = var.name
  description = "S3, to replicate strongroom's bucket"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "S3ForThisBucket"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { ArnLike = { "aws:SourceArn" = var.source_bucket.arn } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "replicate"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = jsondecode(templatefile("${path.module}/policy.json.tftpl", {
      prefix         = var.prefix
      source         = var.source_bucket.arn
      source_key     = var.source_bucket.kms_key_arn
      source_region  = var.source_bucket.region
      replica        = var.replica_bucket.arn
      replica_key    = var.replica_bucket.kms_key_arn
      replica_region = var.replica_bucket.region
    }))
  })
}

resource "aws_s3_bucket_replication_configuration" "this" {
  bucket = var.source_bucket.name
  region = var.source_bucket.region
  role   = aws_iam_role.this.arn

  rule {
    id       = "everything-of-strongroom"
    status   = "Enabled"
    priority = 1

    filter {
      prefix = "${var.prefix}/"
    }

    # A delete marker hides an object from whoever reads without a version. Whoever gets into the first bucket could hide every
    # dump in both with one, so it stays where it was put. strongroom needs none: it deletes versions, which S3 never
    # replicates, and does so in each bucket by that bucket's retention.
    delete_marker_replication {
      status = "Disabled"
    }

    source_selection_criteria {
      # Without it S3 leaves out what is encrypted with KMS, which is everything.
      sse_kms_encrypted_objects {
        status = "Enabled"
      }
    }

    destination {
      bucket = var.replica_bucket.arn

      encryption_configuration {
        replica_kms_key_id = var.replica_bucket.kms_key_arn
      }

      dynamic "replication_time" {
        for_each = var.time_control ? ["on"] : []

        content {
          status = "Enabled"

          time {
            minutes = 15
          }
        }
      }

      metrics {
        status = "Enabled"

        dynamic "event_threshold" {
          for_each = var.time_control ? ["on"] : []

          content {
            minutes = 15
          }
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.source_bucket.region != var.replica_bucket.region
      error_message = "A replica in the same region is lost with it."
    }

    # Both buckets have versions and locks by now: S3 refuses the rule before.
    precondition {
      condition     = var.source_bucket.ready != "" && var.replica_bucket.ready != ""
      error_message = "Both buckets must be set up first."
    }
  }
}
