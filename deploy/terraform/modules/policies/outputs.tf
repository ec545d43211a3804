output "documents" {
  description = "Policy documents, as JSON, by the function that they are for."
  value       = local.documents
}
