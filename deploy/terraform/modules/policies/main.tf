# Only documents, and no provider: so they can be rendered, read and tested without an account. Names are put together here,
# what may be done with them is in statements/.

locals {
  values = {
    account             = var.account
    alert_secrets       = var.alert_secrets
    all_snapshots       = "arn:${var.partition}:rds:*:${var.account}:snapshot:*"
    auto_backups        = "arn:${var.partition}:rds:*:${var.account}:auto-backup:*"
    bucket              = "arn:${var.partition}:s3:::${var.bucket}"
    bucket_keys         = var.bucket_keys
    copied_buckets      = [for name in var.copied_replicas : "arn:${var.partition}:s3:::${name}"]
    copied_from         = [for name in var.copied_replicas : "arn:${var.partition}:s3:::${var.bucket}/${var.prefix}/*"]
    copied_objects      = [for name in var.copied_replicas : "arn:${var.partition}:s3:::${name}/${var.prefix}/*"]
    copies              = [for region in var.copy_regions : "arn:${var.partition}:rds:${region}:${var.account}:snapshot:${var.snapshot_prefix}-*"]
    copy_keys           = var.copy_keys
    drill_instances     = "arn:${var.partition}:rds:${var.region}:${var.account}:db:${var.snapshot_prefix}-drill-*"
    drill_subnet_groups = [for name in var.drill_subnet_groups : "arn:${var.partition}:rds:${var.region}:${var.account}:subgrp:${name}"]
    installation        = var.installation
    instance_keys       = var.instance_keys
    instances           = [for name in var.instances : "arn:${var.partition}:rds:${var.region}:${var.account}:db:${name}"]
    key_services        = [for region in var.key_regions : "rds.${region}.amazonaws.com"]
    keys                = [for region in var.key_regions : "arn:${var.partition}:kms:${region}:${var.account}:key/*"]
    login_secrets       = var.login_secrets
    namespace           = var.namespace
    objects             = "arn:${var.partition}:s3:::${var.bucket}/${var.prefix}/*"
    option_groups       = "arn:${var.partition}:rds:*:${var.account}:og:*"
    parameter_groups    = "arn:${var.partition}:rds:*:${var.account}:pg:*"
    prefix              = var.prefix
    records             = "arn:${var.partition}:s3:::${var.bucket}/${var.prefix}/*.json"
    recover_secrets     = var.recover_secrets
    recovered           = [for name in var.instances : "arn:${var.partition}:rds:*:${var.account}:db:${name}-*"]
    replica_objects     = [for name in var.replicas : "arn:${var.partition}:s3:::${name}/${var.prefix}/*"]
    replica_records     = [for name in var.replicas : "arn:${var.partition}:s3:::${name}/${var.prefix}/*.json"]
    replicas            = [for name in var.replicas : "arn:${var.partition}:s3:::${name}"]
    snapshot_prefix     = var.snapshot_prefix
    snapshots           = "arn:${var.partition}:rds:${var.region}:${var.account}:snapshot:${var.snapshot_prefix}-*"
    subnet_groups       = "arn:${var.partition}:rds:*:${var.account}:subgrp:*"
    token_users         = [for name in var.token_users : "arn:${var.partition}:rds-db:${var.region}:${var.account}:dbuser:*/${name}"]
    topic_keys          = var.topic_keys
    topics              = var.topics
  }
}

# A statement about nothing is no statement: without a replica, say, what is about replicas falls away.
locals {
  statements = {
    for file in fileset("${path.module}/statements", "*.json.tftpl") :
    trimsuffix(file, ".json.tftpl") => jsondecode(templatefile("${path.module}/statements/${file}", local.values))
  }
  without_purpose = toset(concat(
    length(var.copy_regions) == 0 ? ["copy"] : [],
    length(var.drill_subnet_groups) == 0 ? ["drill"] : [],
  ))
  documents = {
    for name, statements in local.statements : name => jsonencode({
      Version = "2012-10-17"
      Statement = [
        for statement in statements : merge(statement, try({ Resource = flatten([statement.Resource]) }, {}))
        if try(length(flatten([statement.Resource])), 1) > 0
      ]
    }) if !contains(local.without_purpose, name)
  }
}
