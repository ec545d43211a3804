variable "name" {
  description = "Name of the bucket."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.name))
    error_message = "A name of a bucket has 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "region" {
  description = "Region of the bucket."
  type        = string
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that objects are encrypted with by default, in the region of the bucket."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "The key is given by its ARN: an alias can be led to another key."
  }
}

variable "prefix" {
  description = "destination.prefix of the configuration."
  type        = string
  default     = "strongroom"
}

variable "lock" {
  description = "Default retention of the object lock. In COMPLIANCE nobody can shorten it, the root user included."
  type = object({
    mode = string
    days = number
  })
  default = {
    mode = "COMPLIANCE"
    days = 35
  }

  validation {
    condition     = contains(["COMPLIANCE", "GOVERNANCE"], var.lock.mode)
    error_message = "The mode is COMPLIANCE or GOVERNANCE."
  }

  validation {
    condition     = var.lock.days >= 1 && var.lock.days <= 3650
    error_message = "A lock is for 1 to 3650 days. It should not be longer than the shortest retention: dumps stay until it ends."
  }
}

variable "unfinished_upload_days" {
  description = "Days after which S3 aborts uploads that were never finished. No dump may take that long."
  type        = number
  default     = 7

  validation {
    condition     = var.unfinished_upload_days >= 2
    error_message = "Two days at least, or a long dump could lose its upload."
  }
}

variable "state_days" {
  description = "Days that overwritten versions of strongroom's own state are kept."
  type        = number
  default     = 30

  validation {
    condition     = var.state_days >= 1
    error_message = "One day at least."
  }
}

variable "hidden_days" {
  description = "Days that any other object is kept after somebody has put another version or a delete marker over it."
  type        = number
  default     = 400

  validation {
    condition     = var.hidden_days >= 90
    error_message = "90 days at least: this is the time to find a dump that somebody has hidden."
  }
}

variable "deleter_arns" {
  description = "ARNs of the only roles that may delete versions: the daemon's, or that of prune. Break-glass roles belong here too."
  type        = list(string)

  validation {
    condition     = length(var.deleter_arns) > 0 && alltrue([for arn in var.deleter_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/[^*?]+$", arn))])
    error_message = "At least one role, each by its ARN and without a wildcard."
  }
}

variable "access_log_bucket" {
  description = "Bucket of the same region that S3 writes access logs to; null where CloudTrail's data events do that."
  type        = string
  default     = null
}
