# Without split_roles the daemon's role may do what all functions need. With it each function has a role, which the daemon assumes
# for the requests of that function: `[aws.roles]` of the configuration, the output aws_roles. Its own keeps one function: an alert
# that a role cannot be assumed must not need one.

locals {
  functions = ["copy", "drill", "dump-write", "observe", "prune", "snapshot", "tell", "verify"]
  kept      = ["tell"]
  present   = [for name in local.functions : name if contains(keys(var.documents), name)]

  daemon_has  = var.split_roles ? local.kept : local.present
  split       = var.split_roles ? toset([for name in local.present : name if !contains(local.kept, name)]) : toset([])
  recover     = var.recover_service_account == null ? toset([]) : toset(["recover"])
  recover_has = ["observe", "recover", "verify"]
  dump        = var.dump_service_account == null ? toset([]) : toset(["dump"])
  dump_has    = ["dump-write", "observe", "verify"]

  # What one function alone may do is denied to the others outright: a right that is added to the wrong role stays without effect.
  fences = jsondecode(file("${path.module}/fences.json"))
  fenced = {
    for name in local.split : name => sort(flatten([for owner, actions in local.fences : actions if owner != name]))
  }
}

data "aws_caller_identity" "current" {}

# Who it is -------------------------------------------------------------------------------------------------------------------

locals {
  service_accounts = merge(
    { daemon = try(coalesce(try(var.trust.irsa.service_account, null), try(var.trust.pod_identity.service_account, null)), "") },
    var.recover_service_account == null ? {} : { recover = var.recover_service_account },
    var.dump_service_account == null ? {} : { dump = var.dump_service_account },
  )
  role_arns = merge(
    { daemon = aws_iam_role.daemon.arn },
    { for name, role in aws_iam_role.recover : name => role.arn },
    { for name, role in aws_iam_role.dump : name => role.arn },
  )
  trust = {
    for who, service_account in local.service_accounts : who => jsonencode({
      Version = "2012-10-17"
      Statement = jsondecode(
        var.trust.irsa != null ? templatefile("${path.module}/trust/irsa.json.tftpl", {
          provider        = var.trust.irsa.provider_arn
          issuer          = split(":oidc-provider/", var.trust.irsa.provider_arn)[1]
          namespace       = var.trust.irsa.namespace
          service_account = service_account
          }) : var.trust.pod_identity != null ? templatefile("${path.module}/trust/pod-identity.json.tftpl", {
          account         = data.aws_caller_identity.current.account_id
          cluster         = var.trust.pod_identity.cluster_arn
          namespace       = var.trust.pod_identity.namespace
          service_account = service_account
        }) : file("${path.module}/trust/ec2.json.tftpl")
      )
    })
  }
}

# The daemon ------------------------------------------------------------------------------------------------------------------

resource "aws_iam_role" "daemon" {
  name                 = var.name
  description          = "strongroom's daemon"
  assume_role_policy   = local.trust["daemon"]
  max_session_duration = var.session_seconds
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_policy" "function" {
  for_each = toset(concat(local.present, tolist(local.recover)))

  name        = "${var.name}-${each.key}"
  description = "What strongroom needs to ${each.key}"
  policy      = var.documents[each.key]
}

resource "aws_iam_role_policy_attachment" "daemon" {
  for_each = toset(local.daemon_has)

  role       = aws_iam_role.daemon.name
  policy_arn = aws_iam_policy.function[each.key].arn
}

# A role takes ten managed policies, of which eight are used: these are the role's own.
resource "aws_iam_role_policy" "daemon_guard" {
  for_each = toset(["guard", "production"])

  name   = each.key
  role   = aws_iam_role.daemon.id
  policy = var.documents[each.key]
}

resource "aws_iam_role_policy" "daemon_assume" {
  count = var.split_roles ? 1 : 0

  name = "assume"
  role = aws_iam_role.daemon.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "AssumeTheRoleOfAFunction"
      Effect   = "Allow"
      Action   = "sts:AssumeRole"
      Resource = [for name in local.split : aws_iam_role.split[name].arn]
    }]
  })
}

resource "aws_iam_instance_profile" "daemon" {
  count = var.trust.ec2 ? 1 : 0

  name = var.name
  role = aws_iam_role.daemon.name
}

resource "aws_eks_pod_identity_association" "service_account" {
  for_each = var.trust.pod_identity == null ? {} : local.service_accounts

  cluster_name    = split("/", var.trust.pod_identity.cluster_arn)[1]
  namespace       = var.trust.pod_identity.namespace
  service_account = each.value
  role_arn        = local.role_arns[each.key]
}

# One role for each function --------------------------------------------------------------------------------------------------

# A session lasts an hour, IAM's most for a role that is assumed by a role, and max_session_duration is that by itself. The
# daemon renews it, so that a dump may last for longer.
resource "aws_iam_role" "split" {
  for_each = local.split

  name        = "${var.name}-${each.key}"
  description = "strongroom's daemon, to ${each.key}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = jsondecode(templatefile("${path.module}/trust/daemon.json.tftpl", { daemon = aws_iam_role.daemon.arn }))
  })
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy_attachment" "split" {
  for_each = local.split

  role       = aws_iam_role.split[each.key].name
  policy_arn = aws_iam_policy.function[each.key].arn
}

resource "aws_iam_role_policy" "split_guard" {
  for_each = local.split

  name   = "guard"
  role   = aws_iam_role.split[each.key].id
  policy = var.documents["guard"]
}

resource "aws_iam_role_policy" "split_production" {
  for_each = local.split

  name   = "production"
  role   = aws_iam_role.split[each.key].id
  policy = var.documents["production"]
}

resource "aws_iam_role_policy" "split_fence" {
  for_each = local.split

  name = "fence"
  role = aws_iam_role.split[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "OtherRolesDoThis"
      Effect   = "Deny"
      Action   = local.fenced[each.key]
      Resource = "*"
    }]
  })
}

# People who recover ----------------------------------------------------------------------------------------------------------

resource "aws_iam_role" "recover" {
  for_each = local.recover

  name                 = "${var.name}-recover"
  description          = "People who recover a database with strongroom"
  assume_role_policy   = local.trust["recover"]
  max_session_duration = var.session_seconds
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy_attachment" "recover" {
  for_each = length(local.recover) == 0 ? toset([]) : toset(local.recover_has)

  role       = aws_iam_role.recover["recover"].name
  policy_arn = aws_iam_policy.function[each.key].arn
}

# Not that of production: a recovery renames the instance. It deletes none.
resource "aws_iam_role_policy" "recover_guard" {
  for_each = local.recover

  name   = "guard"
  role   = aws_iam_role.recover["recover"].id
  policy = var.documents["guard"]
}

# Dumps by Jobs ---------------------------------------------------------------------------------------------------------------

# A Job assumes nothing: it has no role of the daemon's to come from. What it looks at before it dumps is also how the dumps stand
# that are there, their locks and replicas: with the right of verify.
resource "aws_iam_role" "dump" {
  for_each = local.dump

  name                 = "${var.name}-dump"
  description          = "Jobs of strongroom that make dumps"
  assume_role_policy   = local.trust["dump"]
  max_session_duration = var.session_seconds
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy_attachment" "dump" {
  for_each = length(local.dump) == 0 ? toset([]) : toset(local.dump_has)

  role       = aws_iam_role.dump["dump"].name
  policy_arn = aws_iam_policy.function[each.key].arn
}

resource "aws_iam_role_policy" "dump_guard" {
  for_each = length(local.dump) == 0 ? toset([]) : toset(["guard", "production"])

  name   = each.key
  role   = aws_iam_role.dump["dump"].id
  policy = var.documents[each.key]
}

resource "aws_iam_role_policy" "dump_fence" {
  for_each = local.dump

  name = "fence"
  role = aws_iam_role.dump["dump"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "OtherRolesDoThis"
      Effect   = "Deny"
      Action   = sort(flatten([for owner, actions in local.fences : actions if owner != "dump-write"]))
      Resource = "*"
    }]
  })
}
