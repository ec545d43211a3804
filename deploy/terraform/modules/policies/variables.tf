variable "partition" {
  description = "Partition of AWS, the second part of every ARN."
  type        = string
  default     = "aws"
}

variable "account" {
  description = "Account that everything is in."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "An account is twelve digits."
  }
}

variable "region" {
  description = "Region of the instances: aws.region of the configuration."
  type        = string
}

variable "installation" {
  description = "installation of the configuration. Snapshots and drill instances are marked with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", var.installation))
    error_message = "An installation is lower-case letters, digits and hyphens: a wildcard would open it to all others."
  }
}

variable "prefix" {
  description = "destination.prefix of the configuration."
  type        = string
  default     = "strongroom"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9/_-]*[A-Za-z0-9]$", var.prefix))
    error_message = "A prefix has no slash at either end and no wildcard."
  }
}

variable "snapshot_prefix" {
  description = "snapshot_prefix of the configuration."
  type        = string
  default     = "strongroom"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*[a-z0-9]$", var.snapshot_prefix))
    error_message = "A prefix of snapshots is lower-case letters, digits and hyphens, and has no wildcard."
  }
}

variable "instances" {
  description = "Identifiers of the RDS instances that are protected."
  type        = list(string)

  validation {
    condition     = length(var.instances) > 0 && alltrue([for name in var.instances : can(regex("^[a-z][a-z0-9-]*$", name))])
    error_message = "At least one instance, each by its identifier: not an ARN, and without a wildcard."
  }
}

variable "instance_keys" {
  description = "ARNs of the KMS keys that the instances are encrypted with. Snapshots are copied and restored with them."
  type        = list(string)
  default     = []
}

variable "copy_regions" {
  description = "Regions that snapshots are copied to: copy_to of the policies."
  type        = list(string)
  default     = []
}

variable "copy_keys" {
  description = "ARNs of the KMS keys of these copies."
  type        = list(string)
  default     = []
}

variable "bucket" {
  description = "destination.bucket of the configuration."
  type        = string
}

variable "replicas" {
  description = "destination.replica.bucket of the configuration, if there is one."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.replicas) <= 1
    error_message = "There is at most one replica."
  }
}

variable "copied_replicas" {
  description = "The replica again where its mode is \"copied\": only then does strongroom write there itself."
  type        = list(string)
  default     = []
}

variable "bucket_keys" {
  description = "ARNs of the KMS keys of the bucket and of its replica."
  type        = list(string)
}

variable "key_regions" {
  description = "Regions whose KMS keys are looked at: that of the instances, that of the copies, that of the replica."
  type        = list(string)
}

variable "login_secrets" {
  description = "ARNs of the Secrets Manager secrets with logins of the databases, each ending in -* or in its six characters."
  type        = list(string)
  default     = []
}

variable "token_users" {
  description = "Names of database users that log in by RDS tokens (iam = true)."
  type        = list(string)
  default     = []
}

variable "drill_subnet_groups" {
  description = "drills.subnet_group of the configuration. Empty where there are no drills: then nothing can be restored."
  type        = list(string)
  default     = []
}

variable "topics" {
  description = "ARNs of the SNS topics of the alert routes."
  type        = list(string)
  default     = []
}

variable "topic_keys" {
  description = "ARNs of the KMS keys of these topics."
  type        = list(string)
  default     = []
}

variable "alert_secrets" {
  description = "ARNs of the secrets with addresses and keys of alert routes and of the heartbeat."
  type        = list(string)
  default     = []
}

variable "namespace" {
  description = "cloudwatch.namespace of the configuration."
  type        = string
  default     = "Strongroom"
}

variable "recover_secrets" {
  description = "ARNs of the secrets in which recover changes the address of a database (switch = \"secrets_manager\")."
  type        = list(string)
  default     = []
}
