# One bucket, so set up that `strongroom check --online` finds nothing to say of it. The destination and its replica are two of
# these.

resource "aws_s3_bucket" "this" {
  bucket = var.name
  region = var.region

  # Not to be changed later, and it brings versioning along.
  object_lock_enabled = true

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id
  region = var.region

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  region = var.region

  rule {
    default_retention {
      mode = var.lock.mode
      days = var.lock.days
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  region = var.region

  rule {
    # Else each object would cost a request to KMS.
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id
  region = var.region

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id
  region = var.region

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# Dumps are never expired here: strongroom prunes them, and a manifest whose data has expired is no backup.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  region = var.region

  rule {
    id     = "abort-unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = var.unfinished_upload_days
    }
  }

  # What alerts were told of is written anew each time.
  rule {
    id     = "forget-old-state"
    status = "Enabled"

    filter {
      prefix = "${var.prefix}/state/"
    }

    noncurrent_version_expiration {
      noncurrent_days = var.state_days
    }
  }

  # A version becomes noncurrent when somebody overwrites or deletes the object. strongroom deletes versions outright, so of
  # dumps this is what others have hidden. It tells of that at once, and there is this time to bring them back.
  rule {
    id     = "delete-what-was-hidden-long-ago"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.hidden_days
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_logging" "this" {
  count = var.access_log_bucket == null ? 0 : 1

  bucket        = aws_s3_bucket.this.id
  region        = var.region
  target_bucket = var.access_log_bucket
  target_prefix = "${var.name}/"
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  region = var.region
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = jsondecode(templatefile("${path.module}/policy.json.tftpl", {
      bucket   = aws_s3_bucket.this.arn
      deleters = var.deleter_arns
    }))
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}
