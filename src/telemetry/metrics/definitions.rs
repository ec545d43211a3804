//! Names, help texts, labels and buckets of all metrics, in groups by what they tell about.

use std::path::Path;

use prometheus::{Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec};

use super::exposition::Exposition;
use super::family::{Family, counter, counters, gauge, gauges, histograms};
use super::{PROC, seconds_of};
use crate::telemetry::process::{self, ProcessUsage};

/// Seconds of a backup: from the dump of a small database to the two days of a first snapshot of a very large instance.
/// Bounds are what people think in (minutes, hours, a night, a day), so that "done by breakfast" can be read off.
const RUN_BUCKETS: [f64; 14] = [
    10.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 21_600.0, 28_800.0, 43_200.0, 86_400.0,
    172_800.0,
];

/// Seconds of one turn of the loop: a few listings take well under one second, paged or throttled ones minutes.
const RECONCILE_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The daemon itself.
#[derive(Debug)]
pub(super) struct DaemonMetrics {
    pub(super) leader: Gauge,
    pub(super) config_last_reload_successful: Gauge,
    pub(super) config_last_reload_success: Gauge,
    pub(super) reconcile_last_completed: Gauge,
    pub(super) reconcile_duration: Histogram,
    pub(super) inventory_complete: Family<GaugeVec, 1>,
}

impl DaemonMetrics {
    pub(super) fn register(exposition: &Exposition) -> prometheus::Result<DaemonMetrics> {
        let build = gauges(exposition, "strongroom_build_info", ["version", "revision"], "Always 1. What is running.")?;
        build.set([env!("CARGO_PKG_VERSION"), option_env!("STRONGROOM_REVISION").unwrap_or("unknown")], 1.0);
        let leader =
            gauge(exposition, "strongroom_leader", "1 where this daemon acts, 0 where it stands by for another one.")?;
        leader.set(1.0);
        let duration = Histogram::with_opts(
            HistogramOpts::new("strongroom_reconcile_duration_seconds", "Time that one turn of the loop took.")
                .buckets(RECONCILE_BUCKETS.to_vec()),
        )?;
        exposition.add(duration.clone())?;
        Ok(DaemonMetrics {
            leader,
            config_last_reload_successful: gauge(
                exposition,
                "strongroom_config_last_reload_successful",
                "1 if the configuration was valid when last read; 0 if not, and the one before is in force.",
            )?,
            config_last_reload_success: gauge(
                exposition,
                "strongroom_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was read. 0: never.",
            )?,
            reconcile_last_completed: gauge(
                exposition,
                "strongroom_reconcile_last_completed_timestamp_seconds",
                "When the loop last came round. 0: never.",
            )?,
            reconcile_duration: duration,
            inventory_complete: gauges(
                exposition,
                "strongroom_inventory_complete",
                ["section"],
                "1 if this part of the inventory was last seen whole; 0 if not, and all that follows from it keeps its last value.",
            )?,
        })
    }
}

/// What is promised: one series per obligation; `database` is empty for snapshots.
#[derive(Debug)]
pub(super) struct FreshnessMetrics {
    pub(super) last_success: Family<GaugeVec, 3>,
    pub(super) expected_interval: Family<GaugeVec, 3>,
    pub(super) next_due: Family<GaugeVec, 3>,
    pub(super) overdue: Family<GaugeVec, 3>,
}

impl FreshnessMetrics {
    pub(super) fn register(exposition: &Exposition) -> prometheus::Result<FreshnessMetrics> {
        let labels = ["source", "database", "kind"];
        Ok(FreshnessMetrics {
            last_success: gauges(
                exposition,
                "strongroom_last_success_timestamp_seconds",
                labels,
                "Moment of the data in the newest good recovery point of the instance that bears the name today. 0: never.",
            )?,
            expected_interval: gauges(
                exposition,
                "strongroom_expected_interval_seconds",
                labels,
                "Time from the latest slot of the schedule to the next one. 0: not known.",
            )?,
            next_due: gauges(
                exposition,
                "strongroom_next_due_timestamp_seconds",
                labels,
                "When the next run by schedule starts, jitter included. 0: never.",
            )?,
            overdue: gauges(
                exposition,
                "strongroom_overdue",
                labels,
                "1 if no good recovery point fills the latest slot although its run should have ended by now; 0 if not, or suspended.",
            )?,
        })
    }
}

/// Runs and what dumps move.
#[derive(Debug)]
pub(super) struct RunMetrics {
    pub(super) ended: Family<IntCounterVec, 3>,
    pub(super) duration: Family<HistogramVec, 2>,
    pub(super) in_progress: Family<GaugeVec, 2>,
    pub(super) dump_read_bytes: Family<IntCounterVec, 2>,
    pub(super) dump_stored_bytes: Family<IntCounterVec, 2>,
    pub(super) dump_rows: Family<IntCounterVec, 2>,
    pub(super) dump_stops: Family<IntCounterVec, 2>,
    pub(super) dump_memory_limit: Gauge,
    pub(super) dump_memory_in_use: Gauge,
}

impl RunMetrics {
    pub(super) fn register(exposition: &Exposition) -> prometheus::Result<RunMetrics> {
        let of_run = ["source", "kind"];
        let of_dump = ["source", "database"];
        Ok(RunMetrics {
            ended: counters(
                exposition,
                "strongroom_runs_total",
                ["source", "kind", "outcome"],
                "Runs that ended. A run whose process died counts as a failure when it is found.",
            )?,
            duration: histograms(
                exposition,
                "strongroom_run_duration_seconds",
                of_run,
                &RUN_BUCKETS,
                "Time from start to end of a run, whatever its outcome.",
            )?,
            in_progress: gauges(
                exposition,
                "strongroom_run_in_progress",
                of_run,
                "Runs under way, in this daemon or elsewhere, those that start now included.",
            )?,
            dump_read_bytes: counters(
                exposition,
                "strongroom_dump_bytes_read_total",
                of_dump,
                "Bytes that dumps read from the database's side, before compression.",
            )?,
            dump_stored_bytes: counters(
                exposition,
                "strongroom_dump_bytes_stored_total",
                of_dump,
                "Bytes of dumps that the store acknowledged, those of failed runs included.",
            )?,
            dump_rows: counters(
                exposition,
                "strongroom_dump_rows_total",
                of_dump,
                "Table rows that dumps read, those of failed runs included.",
            )?,
            dump_stops: counters(
                exposition,
                "strongroom_dump_stops_total",
                ["source", "cause"],
                "Dumps that gave way to production. Their runs count as cancelled.",
            )?,
            dump_memory_limit: gauge(
                exposition,
                "strongroom_dump_memory_limit_bytes",
                "Memory that all dumps together may take for buffers and parts.",
            )?,
            dump_memory_in_use: gauge(
                exposition,
                "strongroom_dump_memory_in_use_bytes",
                "Memory that is set aside for the dumps under way; more than the limit only while rows longer than a part pass.",
            )?,
        })
    }
}

/// What exists.
#[derive(Debug)]
pub(super) struct PointMetrics {
    pub(super) count: Family<GaugeVec, 3>,
    pub(super) stored_bytes: Family<GaugeVec, 3>,
    pub(super) newest: Family<GaugeVec, 3>,
    pub(super) oldest: Family<GaugeVec, 3>,
    pub(super) latest_restorable: Family<GaugeVec, 1>,
    pub(super) remains_bytes: Family<GaugeVec, 1>,
}

impl PointMetrics {
    pub(super) fn register(exposition: &Exposition) -> prometheus::Result<PointMetrics> {
        let labels = ["source", "kind", "plane"];
        Ok(PointMetrics {
            count: gauges(
                exposition,
                "strongroom_recovery_points",
                labels,
                "Good recovery points: available snapshots, and dumps whose every object is there. Others do not count.",
            )?,
            stored_bytes: gauges(
                exposition,
                "strongroom_stored_bytes",
                labels,
                "Bytes of good recovery points: stored ones of dumps, allocated ones of snapshots.",
            )?,
            newest: gauges(
                exposition,
                "strongroom_recovery_point_newest_timestamp_seconds",
                labels,
                "Moment of the data in the newest good recovery point. 0: there is none.",
            )?,
            oldest: gauges(
                exposition,
                "strongroom_recovery_point_oldest_timestamp_seconds",
                labels,
                "Moment of the data in the oldest good recovery point. 0: there is none.",
            )?,
            latest_restorable: gauges(
                exposition,
                "strongroom_latest_restorable_timestamp_seconds",
                ["source"],
                "Up to when RDS can restore to a point in time. 0: it cannot, or there is no such instance.",
            )?,
            remains_bytes: gauges(
                exposition,
                "strongroom_remains_bytes",
                ["source"],
                "Bytes of objects in the store that no manifest names: what dead or failed runs left.",
            )?,
        })
    }
}

/// What is proven, what goes, and what a person should know.
#[derive(Debug)]
pub(super) struct CareMetrics {
    pub(super) verified: Family<GaugeVec, 3>,
    pub(super) pruned: Family<IntCounterVec, 3>,
    pub(super) expired: Family<GaugeVec, 3>,
    pub(super) replication_pending: Family<GaugeVec, 1>,
    pub(super) replication_lag: Family<GaugeVec, 1>,
    pub(super) findings: Family<GaugeVec, 3>,
    pub(super) clock_skew: Gauge,
}

impl CareMetrics {
    pub(super) fn register(exposition: &Exposition) -> prometheus::Result<CareMetrics> {
        Ok(CareMetrics {
            verified: gauges(
                exposition,
                "strongroom_verified_timestamp_seconds",
                ["source", "kind", "level"],
                "When a good recovery point was last verified well at this level or deeper. 0: never.",
            )?,
            pruned: counters(
                exposition,
                "strongroom_prune_deletions_total",
                ["source", "kind", "outcome"],
                "Deletions of recovery points that ended. Those that were held back or refused count as failures.",
            )?,
            expired: gauges(
                exposition,
                "strongroom_expired_recovery_points",
                ["source", "kind", "plane"],
                "Recovery points that no rule keeps and that are still there: held back, or about to be deleted.",
            )?,
            replication_pending: gauges(
                exposition,
                "strongroom_replication_pending",
                ["source"],
                "Good dumps that are not proven in the replica bucket and should be. 0 where there is no replica.",
            )?,
            replication_lag: gauges(
                exposition,
                "strongroom_replication_lag_seconds",
                ["source"],
                "How long the oldest of them has been waiting, as of the last look.",
            )?,
            findings: gauges(
                exposition,
                "strongroom_posture_findings",
                ["source", "check", "severity"],
                "Findings that stand. `source` is empty for those that are about no single source.",
            )?,
            clock_skew: gauge(
                exposition,
                "strongroom_clock_skew_seconds",
                "How far AWS's clock is ahead of ours. Beyond the limit nothing is pruned.",
            )?,
        })
    }
}

/// Requests to AWS.
pub(super) fn aws_requests(exposition: &Exposition) -> prometheus::Result<Family<IntCounterVec, 3>> {
    counters(
        exposition,
        "strongroom_aws_requests_total",
        ["service", "operation", "outcome"],
        "Requests to AWS that ended. `other`: a service or operation that is seldom asked.",
    )
}

/// The process, under the names that every Prometheus client uses.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    pub(super) cpu: Counter,
    pub(super) resident: Gauge,
    pub(super) open_fds: Gauge,
    pub(super) max_fds: Gauge,
    pub(super) threads: Gauge,
}

impl ProcessMetrics {
    pub(super) fn register(exposition: &Exposition) -> prometheus::Result<ProcessMetrics> {
        let start = gauge(exposition, "process_start_time_seconds", "When the process started. 0: not known.")?;
        start.set(process::started_at(Path::new(PROC)).map_or(0.0, seconds_of));
        Ok(ProcessMetrics {
            cpu: counter(exposition, "process_cpu_seconds_total", "Processor time used, user and system.")?,
            resident: gauge(exposition, "process_resident_memory_bytes", "Memory in RAM.")?,
            open_fds: gauge(exposition, "process_open_fds", "Open file descriptors.")?,
            max_fds: gauge(exposition, "process_max_fds", "File descriptors that may be open at once.")?,
            threads: gauge(exposition, "process_threads", "Threads.")?,
        })
    }

    /// Sets what is known; the rest keeps its last value.
    pub(super) fn set(&self, usage: &ProcessUsage) {
        if let Some(cpu) = usage.cpu {
            self.cpu.inc_by((cpu.as_secs_f64() - self.cpu.get()).max(0.0));
        }
        let gauges = [
            (&self.resident, usage.resident_bytes),
            (&self.open_fds, usage.open_fds),
            (&self.max_fds, usage.max_fds),
            (&self.threads, usage.threads),
        ];
        for (gauge, value) in gauges {
            if let Some(value) = value {
                gauge.set(value as f64);
            }
        }
    }
}
