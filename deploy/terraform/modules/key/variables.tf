variable "alias" {
  description = "Alias of the key, without alias/."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9/_-]+$", var.alias)) && !startswith(var.alias, "aws/") && !startswith(var.alias, "alias/")
    error_message = "An alias is letters, digits, hyphens, underscores and slashes; alias/ is put before it, and aws/ is AWS's."
  }
}

variable "purpose" {
  description = "What is encrypted with it, for people."
  type        = string
}

variable "region" {
  description = "Region of the key."
  type        = string
}

variable "administrator_arns" {
  description = "ARNs of the only roles that may disable or delete the key, or change its policy; Terraform's must be among them."
  type        = list(string)

  validation {
    condition     = length(var.administrator_arns) > 0 && alltrue([for arn in var.administrator_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/[^*?]+$", arn))])
    error_message = "At least one role, each by its ARN and without a wildcard: else nobody could ever change the key again."
  }
}

variable "services" {
  description = "Services of AWS that encrypt messages with the key on their own behalf, such as cloudwatch."
  type        = list(string)
  default     = []
}

variable "deletion_days" {
  description = "Days between the order to delete the key and its end."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_days >= 7 && var.deletion_days <= 30
    error_message = "KMS takes 7 to 30 days."
  }
}
