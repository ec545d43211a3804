output "daemon_arn" {
  description = "ARN of the daemon's role."
  value       = aws_iam_role.daemon.arn
}

output "recover_arn" {
  description = "ARN of the role that people recover with; null where there is none."
  value       = try(aws_iam_role.recover["recover"].arn, null)
}

output "dump_arn" {
  description = "ARN of the role of Jobs that make dumps; null where there are none."
  value       = try(aws_iam_role.dump["dump"].arn, null)
}

output "aws_roles" {
  description = "ARNs of the roles of the functions, by their keys in aws.roles of the configuration; empty without split_roles."
  value       = { for name, role in aws_iam_role.split : replace(name, "-", "_") => role.arn }
}

output "pruner_arn" {
  description = "ARN of the role that deletes versions, for deleter_arns of the buckets."
  value       = var.split_roles ? aws_iam_role.split["prune"].arn : aws_iam_role.daemon.arn
}

output "instance_profile" {
  description = "Name of the instance profile; null unless the daemon runs on a host."
  value       = try(aws_iam_instance_profile.daemon[0].name, null)
}
