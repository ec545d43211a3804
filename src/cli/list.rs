//! `strongroom list`: recovery points.

use clap::Args;

use super::text::Table;
use super::{Exit, assemble, look, text, unknown_source};
use crate::config::Config;
use crate::domain::id::{Kind, SourceId};
use crate::domain::recovery_point::RecoveryPoint;

/// Options of `list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this source.
    source: Option<SourceId>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        if let Some(source) = self.source.as_ref().filter(|source| !config.policy.sources.contains_key(*source)) {
            super::complain(&unknown_source(source));
            return Ok(Exit::Usage);
        }
        let mut assembly = assemble(config).await;
        let (_, plan) = look(&mut assembly).await;
        let wanted = |point: &&RecoveryPoint| self.source.as_ref().is_none_or(|source| point.source == *source);
        let points: Vec<&RecoveryPoint> = plan.points.iter().filter(wanted).collect();
        if self.json {
            text::print_json(&points)?;
        } else {
            text::print(&render(&points))?;
        }
        // A list with holes must not pass for the whole.
        for (section, unseen) in &plan.unseen {
            super::complain(&format!("not seen, so the list may lack something: {section}: {}", unseen.0));
        }
        Ok(if plan.unseen.is_empty() { Exit::Done } else { Exit::Findings })
    }
}

fn render(points: &[&RecoveryPoint]) -> String {
    let mut table = Table::new(&["SOURCE", "KIND", "PLANE", "DATA OF", "SIZE", "STATE", "RECOVERY POINT"]);
    for point in points {
        let size = match point.kind {
            Kind::Snapshot => text::storage(point.size_bytes),
            Kind::Dump => text::size(point.size_bytes),
        };
        table.row(vec![
            point.source.to_string(),
            point.kind.to_string(),
            point.plane.as_str().to_owned(),
            point.created_at.map_or_else(|| "-".to_owned(), text::utc),
            size,
            point.state.to_string(),
            match &point.from_snapshot {
                Some(snapshot) => format!("{} (from {snapshot})", point.id),
                None => point.id.clone(),
            },
        ]);
    }
    table.render()
}
