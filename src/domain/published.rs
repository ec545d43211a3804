//! Numbers for a service that raises alarms from outside.

use super::id::SourceId;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricName {
    /// Seconds since the moment of the newest good recovery point's data; of several databases the oldest.
    LastSuccessAge,
    /// Attempts that have failed since the data of the newest good recovery point.
    RunFailures,
    /// Bytes of all recovery points, in all planes.
    StoredBytes,
    /// Seconds that the last drill took from the order to the last row read; its kind is the path.
    DrillDuration,
    /// 1 where the latest slot should have been filled by now and is not.
    Overdue,
    /// 1 at each look: that it is missing is the alarm.
    Heartbeat,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Things.
    Count,
}

impl MetricName {
    /// The name that alarms use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MetricName::LastSuccessAge => "LastSuccessAge",
            MetricName::RunFailures => "RunFailures",
            MetricName::StoredBytes => "StoredBytes",
            MetricName::DrillDuration => "DrillDuration",
            MetricName::Overdue => "Overdue",
            MetricName::Heartbeat => "Heartbeat",
        }
    }

    /// What it counts.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            MetricName::LastSuccessAge | MetricName::DrillDuration => Unit::Seconds,
            MetricName::StoredBytes => Unit::Bytes,
            MetricName::RunFailures | MetricName::Overdue | MetricName::Heartbeat => Unit::Count,
        }
    }
}

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// What it is.
    pub name: MetricName,
    /// Of which source; absent for the daemon as a whole.
    pub source: Option<SourceId>,
    /// Snapshots, dumps, or the path of a drill.
    pub kind: Option<&'static str>,
    /// The number.
    pub value: f64,
}
