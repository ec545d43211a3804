output "arns" {
  description = "ARNs of the topics by name."
  value       = { for name, topic in aws_sns_topic.this : name => topic.arn }
}
