//! What must hold of drills after a life with faults.

use super::model::Model;
use crate::domain::drill::DrillState;
use crate::domain::inventory::Inventory;
use crate::plan::Plan;
use crate::policy::finding::Check;

impl Model {
    /// No instance is left, no drill is overdue, and none has ever found a backup bad: nobody damages any.
    pub(super) fn check_drills(&self, inventory: &Inventory, plan: &Plan) {
        let policy = self.policy();
        let is_source = |id: &str| policy.sources.values().any(|source| source.instance.as_str() == id);
        let instances = inventory.instances.as_ref().expect("all was seen");
        let left: Vec<&str> = instances.iter().map(|own| own.id.as_str()).filter(|id| !is_source(id)).collect();
        self.holds(left.is_empty(), || format!("after the calm these instances stand: {left:?}"));
        let all_stand =
            policy.sources.values().all(|source| inventory.instance(&source.instance).is_ok_and(|own| own.is_some()));
        self.holds(all_stand, || "an instance of production is gone".to_owned());
        let records = inventory.stores.values().flatten().flat_map(|store| &store.drills).map(|stored| &stored.record);
        for record in records {
            let is_bad = matches!(record.state, DrillState::BackupBad { .. });
            self.holds(!is_bad, || format!("a good backup was found bad: {record:?}"));
        }
        for own in plan.findings.iter().filter(|own| own.check == Check::DrillOverdue) {
            self.holds(false, || format!("after the calm: {own}"));
        }
    }
}
