# Topics of the alert routes. strongroom's messages name databases, so they are encrypted and travel over TLS only.

data "aws_caller_identity" "current" {}

resource "aws_sns_topic" "this" {
  for_each = var.topics

  name              = each.key
  region            = var.region
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "this" {
  for_each = var.topics

  arn    = aws_sns_topic.this[each.key].arn
  region = var.region
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = jsondecode(templatefile("${path.module}/policy.json.tftpl", {
      account = data.aws_caller_identity.current.account_id
      topic   = aws_sns_topic.this[each.key].arn
    }))
  })
}

locals {
  subscriptions = merge([
    for topic, addresses in var.emails : { for address in addresses : "${topic} ${address}" => { topic = topic, address = address } }
  ]...)
}

resource "aws_sns_topic_subscription" "email" {
  for_each = local.subscriptions

  region    = var.region
  topic_arn = aws_sns_topic.this[each.value.topic].arn
  protocol  = "email"
  endpoint  = each.value.address
}
