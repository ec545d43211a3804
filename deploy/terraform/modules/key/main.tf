# One key in one region. There is one for each purpose and region, and none is of several regions: the replica is encrypted
# anew on its way, and whoever gets at one key can read one bucket.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

resource "aws_kms_key" "this" {
  description             = var.purpose
  region                  = var.region
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_days
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for statement in jsondecode(templatefile("${path.module}/policy.json.tftpl", {
        account        = data.aws_caller_identity.current.account_id
        administrators = var.administrator_arns
        partition      = data.aws_partition.current.partition
        services       = [for name in var.services : "${name}.amazonaws.com"]
      })) : statement if try(length(statement.Principal.Service), 1) > 0
    ]
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.alias}"
  region        = var.region
  target_key_id = aws_kms_key.this.key_id
}
