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

output "roles_toml" {
  description = "A file of the configuration with the roles of the functions: terraform output -raw roles_toml."
  value = join("", concat(
    ["# A role for each function but `tell`, as deploy/terraform makes them: terraform output -raw roles_toml\n[aws.roles]\n"],
    [for key, arn in module.roles.aws_roles : "${key} = \"${arn}\"\n"],
  ))
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
