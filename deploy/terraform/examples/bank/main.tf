# What deploy/kubernetes/overlays/production needs of AWS. A test compares the names here with that configuration.

locals {
  account        = "111122223333"
  region         = "us-east-1"
  replica_region = "us-west-2"

  installation     = "bank-production"
  instances        = ["bank-accounts-prod", "bank-cards-prod", "bank-payments-prod"]
  bucket           = "bank-backups"
  replica          = "bank-backups-west"
  role             = "strongroom-production"
  topic            = "database-team"
  secrets          = "arn:aws:secretsmanager:${local.region}:${local.account}:secret"
  deleter_arns     = concat([module.roles.pruner_arn], var.administrator_arns)
  namespace        = "strongroom"
  service_account  = "strongroom"
  recovery_account = "strongroom-recover"
  dump_account     = "strongroom-dump"
}

provider "aws" {
  region              = local.region
  allowed_account_ids = [local.account]

  default_tags {
    tags = { managed-by = "terraform", installation = local.installation }
  }
}

# Keys ------------------------------------------------------------------------------------------------------------------------

module "bucket_key" {
  source = "../../modules/key"

  alias              = "bank-backups"
  purpose            = "Dumps of the bank's databases"
  region             = local.region
  administrator_arns = var.administrator_arns
}

module "replica_key" {
  source = "../../modules/key"

  alias              = "bank-backups"
  purpose            = "Dumps of the bank's databases, in the second region"
  region             = local.replica_region
  administrator_arns = var.administrator_arns
}

# copy_to of the configuration names it by the output snapshot_copy_key_arn.
module "snapshot_copy_key" {
  source = "../../modules/key"

  alias              = "bank-snapshot-copies"
  purpose            = "Copies of the bank's snapshots"
  region             = local.replica_region
  administrator_arns = var.administrator_arns
}

module "alert_key" {
  source = "../../modules/key"

  alias              = "bank-database-alerts"
  purpose            = "Alerts about the bank's databases"
  region             = local.region
  administrator_arns = var.administrator_arns
  services           = ["cloudwatch"]
}

# Buckets ---------------------------------------------------------------------------------------------------------------------

module "bucket" {
  source = "../../modules/bucket"

  name         = local.bucket
  region       = local.region
  kms_key_arn  = module.bucket_key.arn
  deleter_arns = local.deleter_arns
}

module "replica" {
  source = "../../modules/bucket"

  name         = local.replica
  region       = local.replica_region
  kms_key_arn  = module.replica_key.arn
  deleter_arns = local.deleter_arns
}

module "replication" {
  source = "../../modules/replication"

  name = "${local.role}-replication"
  source_bucket = {
    name        = module.bucket.name
    arn         = module.bucket.arn
    region      = local.region
    kms_key_arn = module.bucket_key.arn
    ready       = module.bucket.ready
  }
  replica_bucket = {
    arn         = module.replica.arn
    region      = local.replica_region
    kms_key_arn = module.replica_key.arn
    ready       = module.replica.ready
  }
}

# Roles -----------------------------------------------------------------------------------------------------------------------

module "policies" {
  source = "../../modules/policies"

  account             = local.account
  region              = local.region
  installation        = local.installation
  instances           = local.instances
  instance_keys       = var.instance_key_arns
  copy_regions        = [local.replica_region]
  copy_keys           = [module.snapshot_copy_key.arn]
  bucket              = local.bucket
  replicas            = [local.replica]
  bucket_keys         = [module.bucket_key.arn, module.replica_key.arn]
  key_regions         = [local.region, local.replica_region]
  login_secrets       = ["${local.secrets}:rds/cards/backup-*"]
  token_users         = ["strongroom_backup"]
  drill_subnet_groups = ["bank-drills"]
  topics              = values(module.alerts.arns)
  topic_keys          = [module.alert_key.arn]
  alert_secrets       = ["${local.secrets}:strongroom/heartbeat-url-*"]
  recover_secrets     = ["${local.secrets}:bank/cards/app-*"]
}

module "roles" {
  source = "../../modules/roles"

  name      = local.role
  documents = module.policies.documents
  trust = {
    irsa = {
      provider_arn    = var.oidc_provider_arn
      namespace       = local.namespace
      service_account = local.service_account
    }
  }
  recover_service_account = local.recovery_account
  dump_service_account    = local.dump_account
  # [aws.roles] of the configuration names them. Whoever turns it off, empties that table first.
  split_roles = true
}

# Alerts ----------------------------------------------------------------------------------------------------------------------

module "alerts" {
  source = "../../modules/alerts"

  topics      = [local.topic]
  region      = local.region
  kms_key_arn = module.alert_key.arn
}

# A snapshot each week and a dump each month, each with some hours to be made in; drills have the configuration's rto.
module "alarms" {
  source = "../../modules/alarms"

  region       = local.region
  installation = local.installation
  topic_arns   = values(module.alerts.arns)
  sources = merge(
    {
      for name in ["accounts", "cards"] : name => {
        snapshot_hours = 8 * 24
        dump_hours     = 32 * 24
        drill_hours    = { snapshot = 2, pitr = 2, dump = 2 }
      }
    },
    {
      payments = {
        snapshot_hours = 8 * 24
        dump_hours     = 32 * 24
        drill_hours    = { snapshot = 4, pitr = 4 }
      }
    },
  )
}
