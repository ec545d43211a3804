output "role_arn" {
  description = "ARN of the role that S3 takes."
  value       = aws_iam_role.this.arn
}
