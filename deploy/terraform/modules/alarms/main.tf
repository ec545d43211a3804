# Alarms over what the daemon publishes. What is missing is a breach: a daemon that is dead or stuck publishes nothing.

locals {
  kinds = merge([
    for source, owes in var.sources : {
      for kind, hours in { snapshot = owes.snapshot_hours, dump = owes.dump_hours } :
      "${source}-${kind}" => { source = source, kind = kind, hours = hours } if hours != null
    }
  ]...)
  drills = merge([
    for source, owes in var.sources : {
      for path, hours in owes.drill_hours : "${source}-${path}" => { source = source, kind = path, hours = hours }
    }
  ]...)
  stored = merge([
    for source, owes in var.sources : {
      for kind, bytes in owes.storage_bytes : "${source}-${kind}" => { source = source, kind = kind, bytes = bytes }
    }
  ]...)
}

resource "aws_cloudwatch_metric_alarm" "heartbeat" {
  alarm_name          = "${var.installation}-heartbeat"
  alarm_description   = "strongroom has stopped looking, or cannot publish. No backup is made meanwhile."
  region              = var.region
  namespace           = var.namespace
  metric_name         = "Heartbeat"
  statistic           = "Minimum"
  unit                = "Count"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = var.interval_seconds
  evaluation_periods  = 3
  treat_missing_data  = "breaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}

resource "aws_cloudwatch_metric_alarm" "age" {
  for_each = local.kinds

  alarm_name          = "${var.installation}-age-${each.key}"
  alarm_description   = "The newest good ${each.value.kind} of ${each.value.source} is older than ${each.value.hours} hours, or there is none."
  region              = var.region
  namespace           = var.namespace
  metric_name         = "LastSuccessAge"
  dimensions          = { Source = each.value.source, Kind = each.value.kind }
  statistic           = "Maximum"
  unit                = "Seconds"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.hours * 3600
  period              = var.interval_seconds
  evaluation_periods  = 3
  treat_missing_data  = "breaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}

resource "aws_cloudwatch_metric_alarm" "overdue" {
  for_each = local.kinds

  alarm_name          = "${var.installation}-overdue-${each.key}"
  alarm_description   = "A ${each.value.kind} of ${each.value.source} should have been made by now."
  region              = var.region
  namespace           = var.namespace
  metric_name         = "Overdue"
  dimensions          = { Source = each.value.source, Kind = each.value.kind }
  statistic           = "Maximum"
  unit                = "Count"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = var.interval_seconds
  evaluation_periods  = 3
  treat_missing_data  = "breaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}

resource "aws_cloudwatch_metric_alarm" "failures" {
  for_each = local.kinds

  alarm_name          = "${var.installation}-failures-${each.key}"
  alarm_description   = "More than ${var.failures_max} attempts at a ${each.value.kind} of ${each.value.source} have failed."
  region              = var.region
  namespace           = var.namespace
  metric_name         = "RunFailures"
  dimensions          = { Source = each.value.source, Kind = each.value.kind }
  statistic           = "Maximum"
  unit                = "Count"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.failures_max
  period              = var.interval_seconds
  evaluation_periods  = 3
  treat_missing_data  = "breaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}

resource "aws_cloudwatch_metric_alarm" "stored" {
  for_each = local.stored

  alarm_name          = "${var.installation}-stored-${each.key}"
  alarm_description   = "What is kept of ${each.value.source} (${each.value.kind}) takes more than ${each.value.bytes} bytes."
  region              = var.region
  namespace           = var.namespace
  metric_name         = "StoredBytes"
  dimensions          = { Source = each.value.source, Kind = each.value.kind }
  statistic           = "Maximum"
  unit                = "Bytes"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.bytes
  period              = var.interval_seconds
  evaluation_periods  = 3
  treat_missing_data  = "breaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}

# Published from the first drill on: until then the alarm says that there was none.
resource "aws_cloudwatch_metric_alarm" "drill" {
  for_each = local.drills

  alarm_name          = "${var.installation}-drill-${each.key}"
  alarm_description   = "The last drill (${each.value.kind}) of ${each.value.source} took longer than ${each.value.hours} hours, or there was none."
  region              = var.region
  namespace           = var.namespace
  metric_name         = "DrillDuration"
  dimensions          = { Source = each.value.source, Kind = each.value.kind }
  statistic           = "Maximum"
  unit                = "Seconds"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.hours * 3600
  period              = var.interval_seconds
  evaluation_periods  = 3
  treat_missing_data  = "breaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}
