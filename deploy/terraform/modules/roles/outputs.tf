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

output "split_arns" {
  description = "ARNs of the roles of the functions, by function; empty without split_roles."
  value       = { for name, role in aws_iam_role.split : name => role.arn }
}

output "instance_profile" {
  description = "Name of the instance profile; null unless the daemon runs on a host."
  value       = try(aws_iam_instance_profile.daemon[0].name, null)
}
