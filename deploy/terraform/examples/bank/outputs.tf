output "daemon_role_arn" {
  description = "For the annotation of the daemon's ServiceAccount."
  value       = module.roles.daemon_arn
}

output "recover_role_arn" {
  description = "For the annotation of the ServiceAccount that people recover with."
  value       = module.roles.recover_arn
}

output "dump_role_arn" {
  description = "For the annotation of the ServiceAccount of dumps."
  value       = module.roles.dump_arn
}

output "split_role_arns" {
  description = "ARNs of the roles of the functions; empty without split_roles."
  value       = module.roles.split_arns
}

output "kms_key" {
  description = "For destination.kms_key."
  value       = module.bucket_key.alias
}

output "snapshot_copy_key_arn" {
  description = "For kms_key of copy_to."
  value       = module.snapshot_copy_key.arn
}

output "topic_arns" {
  description = "For sns_topic of the alert routes."
  value       = module.alerts.arns
}
