//! Where the recovery points of a source are: how many, how large, how new.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::id::{DatabaseName, Kind, RegionName};
use crate::domain::recovery_point::{Plane, RecoveryPoint};

/// The time over which growth is told.
const GROWTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Recovery points of one kind and database in one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaneStatus {
    /// Snapshots or dumps.
    pub kind: Kind,
    /// The database, for dumps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
    /// The source's own region, or the second one.
    pub plane: Plane,
    /// Which one that is.
    pub region: RegionName,
    /// Good ones.
    pub points: usize,
    /// Others: being made, deleted, bad or unreadable.
    pub others: usize,
    /// Bytes of all of them: stored (dumps) or allocated (snapshots).
    pub stored_bytes: u64,
    /// Those of them that came in the last 30 days. What was deleted in that time is not counted anywhere.
    pub added_30_days_bytes: u64,
    /// The moment of the newest good one's data.
    pub newest_at: Option<Timestamp>,
    /// The moment of the oldest good one's data.
    pub oldest_at: Option<Timestamp>,
}

/// By kind, database, plane and region, which is how the points come.
pub(super) fn of_source(points: &[RecoveryPoint], now: Timestamp) -> Vec<PlaneStatus> {
    let mut planes: Vec<PlaneStatus> = Vec::new();
    let since = now.saturating_sub(GROWTH).unwrap_or(Timestamp::MIN);
    for point in points {
        let shelf = |plane: &PlaneStatus| {
            (plane.kind, plane.plane) == (point.kind, point.plane)
                && (&plane.database, &plane.region) == (&point.database, &point.region)
        };
        let index = planes.iter().position(shelf).unwrap_or_else(|| {
            planes.push(empty(point));
            planes.len() - 1
        });
        let Some(plane) = planes.get_mut(index) else { continue };
        plane.stored_bytes = plane.stored_bytes.saturating_add(point.size_bytes);
        if point.stored_at.is_some_and(|at| at > since) {
            plane.added_30_days_bytes = plane.added_30_days_bytes.saturating_add(point.size_bytes);
        }
        if point.is_good() {
            plane.points += 1;
            plane.newest_at = plane.newest_at.max(point.created_at);
            plane.oldest_at = [plane.oldest_at, point.created_at].into_iter().flatten().min();
        } else {
            plane.others += 1;
        }
    }
    planes
}

fn empty(point: &RecoveryPoint) -> PlaneStatus {
    PlaneStatus {
        kind: point.kind,
        database: point.database.clone(),
        plane: point.plane,
        region: point.region.clone(),
        points: 0,
        others: 0,
        stored_bytes: 0,
        added_30_days_bytes: 0,
        newest_at: None,
        oldest_at: None,
    }
}
