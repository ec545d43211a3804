variable "region" {
  description = "Region that the daemon publishes in: aws.region of the configuration."
  type        = string
}

variable "namespace" {
  description = "cloudwatch.namespace of the configuration."
  type        = string
  default     = "Strongroom"
}

variable "interval_seconds" {
  description = "cloudwatch.interval of the configuration. A period of an alarm is never shorter."
  type        = number
  default     = 60

  validation {
    condition     = var.interval_seconds >= 60 && var.interval_seconds % 60 == 0
    error_message = "CloudWatch counts in whole minutes."
  }
}

variable "installation" {
  description = "installation of the configuration, the beginning of all names of alarms."
  type        = string
}

variable "sources" {
  description = "What each source owes: the oldest that its newest good snapshot and dump may be, and the longest drill by path."
  type = map(object({
    snapshot_hours = optional(number)
    dump_hours     = optional(number)
    drill_hours    = optional(map(number), {})
    storage_bytes  = optional(map(number), {})
  }))

  validation {
    condition     = alltrue(flatten([for source in var.sources : [for path in keys(source.drill_hours) : contains(["dump", "pitr", "snapshot"], path)]]))
    error_message = "A path of drills is snapshot, pitr or dump."
  }

  validation {
    condition     = alltrue(flatten([for source in var.sources : [for kind in keys(source.storage_bytes) : contains(["dump", "snapshot"], kind)]]))
    error_message = "What is stored is of the kind snapshot or dump."
  }
}

variable "failures_max" {
  description = "How many attempts of a backup may have failed since the last good one."
  type        = number
  default     = 3

  validation {
    condition     = var.failures_max >= 0
    error_message = "A number of attempts is not negative."
  }
}

variable "topic_arns" {
  description = "ARNs of the topics that are told of an alarm and of its end."
  type        = list(string)

  validation {
    condition     = length(var.topic_arns) > 0
    error_message = "An alarm that nobody hears is none."
  }
}
