variable "topics" {
  description = "Names of the topics: one for each alert route of the configuration that has sns_topic."
  type        = set(string)

  validation {
    condition     = length(var.topics) > 0 && alltrue([for name in var.topics : can(regex("^[A-Za-z0-9_-]{1,256}$", name))])
    error_message = "At least one topic, of letters, digits, hyphens and underscores."
  }
}

variable "region" {
  description = "Region of the topics: that of the instances, because the daemon publishes there."
  type        = string
}

variable "kms_key_arn" {
  description = "ARN of the key that messages are encrypted with. CloudWatch must be among its services, or alarms are lost."
  type        = string
}

variable "emails" {
  description = "Addresses to tell by topic. Each gets a message that it must confirm."
  type        = map(set(string))
  default     = {}
}
