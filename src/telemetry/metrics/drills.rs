//! What restore drills have shown.

use jiff::SignedDuration;
use prometheus::{Gauge, GaugeVec};

use super::exposition::Exposition;
use super::family::{Family, gauge, gauges};
use super::seconds_of;
use crate::domain::drill::Phase;
use crate::domain::inventory::Inventory;
use crate::plan::Plan;
use crate::plan::drill::instances_standing;
use crate::policy::Policy;

/// Series of drills: of each path that a source's policy has.
#[derive(Debug)]
pub(super) struct DrillMetrics {
    last_success: Family<GaugeVec, 2>,
    overdue: Family<GaugeVec, 2>,
    phase: Family<GaugeVec, 3>,
    rto: Family<GaugeVec, 2>,
    rpo: Family<GaugeVec, 2>,
    rto_objective: Family<GaugeVec, 2>,
    rpo_objective: Family<GaugeVec, 2>,
    instances: Gauge,
}

impl DrillMetrics {
    pub(super) fn register(exposition: &Exposition) -> prometheus::Result<DrillMetrics> {
        let by_path = ["source", "path"];
        Ok(DrillMetrics {
            last_success: gauges(
                exposition,
                "strongroom_drill_last_success_timestamp_seconds",
                by_path,
                "When the newest restore drill had ended that was passed. 0: never.",
            )?,
            overdue: gauges(
                exposition,
                "strongroom_drill_overdue",
                by_path,
                "1 where a restore drill was due and has no verdict within its time.",
            )?,
            phase: gauges(
                exposition,
                "strongroom_drill_phase_seconds",
                ["source", "path", "phase"],
                "From the order until the phase was reached, in the newest drill that has a verdict. 0: it was not reached.",
            )?,
            rto: gauges(
                exposition,
                "strongroom_rto_seconds",
                by_path,
                "From the order until the last row was read, in the newest drill that has a verdict. 0: never.",
            )?,
            rpo: gauges(
                exposition,
                "strongroom_rpo_seconds",
                by_path,
                "How old the restored data was when the newest drill began that has a verdict. 0: never.",
            )?,
            rto_objective: gauges(
                exposition,
                "strongroom_rto_objective_seconds",
                by_path,
                "How long a restore may take, as the policy says. 0: it does not say.",
            )?,
            rpo_objective: gauges(
                exposition,
                "strongroom_rpo_objective_seconds",
                by_path,
                "How old the restored data may be, as the policy says of this path. 0: it does not say.",
            )?,
            instances: gauge(
                exposition,
                "strongroom_drill_instances",
                "Instances of restore drills that stand. They are deleted when their drill ends.",
            )?,
        })
    }

    /// Makes every series of a policy, and drops the others.
    pub(super) fn keep_series(&self, policy: &Policy) {
        let paths = || {
            policy.sources.values().flat_map(|source| {
                let paths = source.drill.iter().flat_map(|drill| &drill.paths);
                paths.map(|path| [source.id.as_str(), path.as_str()])
            })
        };
        let families = [&self.last_success, &self.overdue, &self.rto, &self.rpo];
        for family in families.into_iter().chain([&self.rto_objective, &self.rpo_objective]) {
            family.keep_exactly(paths());
        }
        for (source, drill) in policy.sources.values().filter_map(|source| Some((source, source.drill.as_ref()?))) {
            let seconds = |length: Option<SignedDuration>| length.map_or(0.0, |length| length.as_secs_f64());
            for path in &drill.paths {
                let labels = [source.id.as_str(), path.as_str()];
                self.rto_objective.set(labels, seconds(drill.recovery_time_max));
                self.rpo_objective.set(labels, seconds(drill.data_loss_max_by(*path)));
            }
        }
        let phases = Phase::ALL.map(Phase::as_str);
        self.phase.keep_exactly(paths().flat_map(|[source, path]| phases.map(|phase| [source, path, phase])));
    }

    /// Sets them. What could not be seen keeps its last value.
    pub(super) fn observe(&self, policy: &Policy, inventory: &Inventory, plan: &Plan) {
        if inventory.instances.is_ok() {
            let standing = u32::try_from(instances_standing(policy, inventory)).unwrap_or(u32::MAX);
            self.instances.set(f64::from(standing));
        }
        for decision in &plan.drills {
            if inventory.store(&decision.source).is_err() {
                continue;
            }
            let labels = [decision.source.as_str(), decision.path.as_str()];
            self.last_success.set(labels, decision.last_passed_at.map_or(0.0, seconds_of));
            self.overdue.set(labels, if decision.overdue { 1.0 } else { 0.0 });
            let Some(last) = &decision.last else { continue };
            self.rto.set(labels, last.recovery_time().map_or(0.0, |length| length.as_secs_f64()));
            self.rpo.set(labels, last.data_loss().map_or(0.0, |length| length.as_secs_f64()));
            for phase in Phase::ALL {
                let took = last.took_until(phase).map_or(0.0, |length| length.as_secs_f64());
                self.phase.set([labels[0], labels[1], phase.as_str()], took);
            }
        }
    }
}
