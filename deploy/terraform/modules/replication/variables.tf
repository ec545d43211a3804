variable "name" {
  description = "Name of the role that S3 takes."
  type        = string
}

variable "prefix" {
  description = "destination.prefix of the configuration. What is below it is replicated."
  type        = string
  default     = "strongroom"
}

variable "source_bucket" {
  description = "Bucket that is replicated; ready is the output of that name of the module bucket."
  type = object({
    name        = string
    arn         = string
    region      = string
    kms_key_arn = string
    ready       = string
  })
}

variable "replica_bucket" {
  description = "Bucket that it is replicated to, of the same account and in another region."
  type = object({
    arn         = string
    region      = string
    kms_key_arn = string
    ready       = string
  })
}

variable "time_control" {
  description = "Whether S3 promises, and is paid for, replication within 15 minutes."
  type        = bool
  default     = false
}
