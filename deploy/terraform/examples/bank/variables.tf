variable "administrator_arns" {
  description = "ARNs of the roles that may change keys and bring back what was deleted; Terraform's is among them."
  type        = list(string)
}

variable "oidc_provider_arn" {
  description = "ARN of the cluster's OIDC provider, for IRSA."
  type        = string
}

variable "instance_key_arns" {
  description = "ARNs of the KMS keys that the instances are encrypted with."
  type        = list(string)
}
