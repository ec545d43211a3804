//! When a dump gives way because its server runs out of room.

use jiff::SignedDuration;

use super::Stop;
use crate::domain::run::StopCause;

/// How often to ask. RDS measures once a minute (RDS user guide, Amazon CloudWatch metrics for Amazon RDS), and so what it
/// measures is seen within half a minute.
pub const ASK_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// Judges measurement after measurement of one server's free storage, for one dump.
#[derive(Debug, Clone)]
pub struct StorageGovernor {
    min_bytes: u64,
    /// What was free at first.
    first_bytes: Option<u64>,
}

impl StorageGovernor {
    /// A governor that knows of no measurement yet; `min_bytes` must stay free.
    #[must_use]
    pub fn new(min_bytes: u64) -> StorageGovernor {
        StorageGovernor { min_bytes, first_bytes: None }
    }

    /// Takes in the next measurement, and says whether the dump must stop. Where less than the least was free before the dump
    /// it is not the dump's doing, and the database needs a backup all the more: there it goes on until half of that is gone.
    pub fn judge(&mut self, free_bytes: u64) -> Option<Stop> {
        let first = *self.first_bytes.get_or_insert(free_bytes);
        let least = self.min_bytes.min(first / 2);
        (free_bytes < least || (free_bytes < self.min_bytes && first >= self.min_bytes)).then(|| Stop {
            cause: StopCause::FreeStorage,
            reason: format!(
                "only {} of the server's storage is free, and {} was when the dump began; `free_storage_min` is {}",
                gib(free_bytes),
                gib(first),
                gib(self.min_bytes)
            ),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[rstest]
    #[case::far_from_it(&[100 * GIB, 50 * GIB, 2 * GIB], None)]
    #[case::fallen(&[100 * GIB, 2 * GIB - 1], Some(2))]
    #[case::just_there_before(&[2 * GIB, 2 * GIB - 1], Some(2))]
    #[case::low_before(&[GIB, GIB, GIB / 2], None)]
    #[case::low_before_and_half_of_that_is_gone(&[GIB, GIB / 2 - 1], Some(2))]
    #[case::room_was_made_and_lost_again(&[GIB, 10 * GIB, GIB], None)]
    #[case::full_before(&[0, 0], None)]
    fn a_dump_gives_way_when_storage_falls_while_it_runs(#[case] measured: &[u64], #[case] stops_at: Option<usize>) {
        let mut governor = StorageGovernor::new(2 * GIB);
        let at = measured.iter().position(|free| governor.judge(*free).is_some()).map(|index| index + 1);
        assert_eq!(at, stops_at);
    }

    #[test]
    fn the_reason_says_what_is_free_what_was_and_what_must_be() {
        let mut governor = StorageGovernor::new(2 * GIB);
        assert_eq!(governor.judge(12 * GIB), None);
        let stop = governor.judge(GIB + GIB / 2).unwrap();
        assert_eq!(stop.cause, StopCause::FreeStorage);
        assert_eq!(
            stop.reason,
            "only 1.50 GiB of the server's storage is free, and 12.00 GiB was when the dump began; \
             `free_storage_min` is 2.00 GiB"
        );
    }
}
