variable "name" {
  description = "Name of the daemon's role, and beginning of all other names here."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,40}$", var.name))
    error_message = "A name has at most 40 of the characters that IAM takes, so that what is added to it still fits."
  }
}

variable "documents" {
  description = "Output documents of the module policies."
  type        = map(string)

  validation {
    condition     = alltrue([for name in ["guard", "observe", "production", "tell"] : contains(keys(var.documents), name)])
    error_message = "These are not the documents of the module policies."
  }
}

variable "trust" {
  description = "Who is the daemon: a service account by IRSA, one by EKS Pod Identity, or hosts by an instance profile."
  type = object({
    irsa = optional(object({
      provider_arn    = string
      namespace       = string
      service_account = string
    }))
    pod_identity = optional(object({
      cluster_arn     = string
      namespace       = string
      service_account = string
    }))
    ec2 = optional(bool, false)
  })

  validation {
    condition     = length([for way in [var.trust.irsa != null, var.trust.pod_identity != null, var.trust.ec2] : way if way]) == 1
    error_message = "Exactly one way: who can come in by two is harder to watch than who can by one."
  }

  validation {
    condition     = var.trust.irsa == null ? true : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.trust.irsa.provider_arn))
    error_message = "The provider of IRSA is given by its ARN."
  }

  validation {
    condition = alltrue([
      for account in [try(var.trust.irsa, null), try(var.trust.pod_identity, null)] :
      account == null ? true : can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", "${account.namespace}/${account.service_account}"))
    ])
    error_message = "Namespace and service account are plain names: a wildcard would let others of the cluster in."
  }
}

variable "recover_service_account" {
  description = "Service account of the pod that people recover from, which gets a role of its own; null where there is none."
  type        = string
  default     = null

  validation {
    condition     = var.recover_service_account == null || !var.trust.ec2
    error_message = "On a host whoever recovers would come in as the daemon does: give people a role that they assume instead."
  }
}

variable "dump_service_account" {
  description = "Service account of the Jobs that make dumps, which gets a role of its own that can delete nothing; null where there are none."
  type        = string
  default     = null

  validation {
    condition     = var.dump_service_account == null || !var.trust.ec2
    error_message = "A host has no Jobs."
  }
}

variable "split_roles" {
  description = "Whether each function but tell gets a role that the daemon assumes. The configuration has to name them: output aws_roles."
  type        = bool
  default     = false
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for all roles, where the account demands one."
  type        = string
  default     = null
}

variable "session_seconds" {
  description = "Longest session of the daemon, of Jobs and of people who recover. Those of the functions' roles last an hour."
  type        = number
  default     = 3600

  validation {
    condition     = var.session_seconds >= 3600 && var.session_seconds <= 43200
    error_message = "IAM takes an hour to twelve."
  }
}
