//! When something is due: cron expressions in a time zone, read the same from whatever instant one asks.
//!
//! A slot in a spring gap falls on the first instant after it; a slot in an autumn overlap falls on the first of the two.
//! That holds for every expression whose hours are named. One that runs all day (`*` or `*/6` for the hour) follows elapsed
//! time instead: it runs in each hour that passes, in the repeated one too. Days that a month does not have are skipped
//! (`31` is no last day; `L` is).

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::domain::id::Slot;

/// How far back to look for the latest slot of a schedule that runs all day, in steps: a few searches find minutely and
/// yearly schedules alike. Nine years because 29 February can be eight years away (1896 to 1904, 2096 to 2104).
const LOOK_BACK: [SignedDuration; 6] = [
    SignedDuration::from_hours(6),
    SignedDuration::from_hours(2 * 24),
    SignedDuration::from_hours(9 * 24),
    SignedDuration::from_hours(33 * 24),
    SignedDuration::from_hours(370 * 24),
    SignedDuration::from_hours(9 * 366 * 24),
];

/// A cron expression that cannot be a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// It does not parse.
    #[error("`{pattern}` is not a cron expression of five fields (minute hour day month weekday): {reason}")]
    Syntax {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It parses and never fires.
    #[error("`{0}` never comes due: no month has that day")]
    Never(String),
}

/// A cron expression in a time zone, with the share of jitter that falls to its user.
#[derive(Clone)]
pub struct Schedule {
    /// As it was written; the parser's own form has numbers for names.
    pattern: String,
    cron: Cron,
    /// It follows elapsed time, not the calendar.
    all_day: bool,
    zone: TimeZone,
    delay: SignedDuration,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({self}, {}, +{})", self.zone_name(), self.delay)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

impl Schedule {
    /// Parses a cron expression in croner's syntax: five fields, `L`, `#`, `@weekly`.
    ///
    /// # Errors
    /// The expression does not parse, or never comes due.
    pub fn parse(pattern: &str, zone: TimeZone) -> Result<Schedule, InvalidSchedule> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser
            .parse(pattern)
            .map_err(|error| InvalidSchedule::Syntax { pattern: pattern.to_owned(), reason: error.to_string() })?;
        let schedule = Schedule {
            pattern: pattern.to_owned(),
            cron,
            all_day: runs_all_day(pattern),
            zone,
            delay: SignedDuration::ZERO,
        };
        if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(InvalidSchedule::Never(pattern.to_owned()));
        }
        Ok(schedule)
    }

    /// Spreads starts over `jitter`: the delay follows from `key`, so it is the same after every restart.
    #[must_use]
    pub fn with_jitter(mut self, jitter: SignedDuration, key: &str) -> Schedule {
        let digest = Sha256::digest(key.as_bytes());
        let spread = digest.iter().take(8).fold(0_u64, |spread, byte| spread << 8 | u64::from(*byte));
        let jitter_s = u64::try_from(jitter.as_secs()).unwrap_or(0);
        let delay_s = spread.checked_rem(jitter_s).unwrap_or(0);
        self.delay = SignedDuration::from_secs(i64::try_from(delay_s).unwrap_or(0));
        self
    }

    /// How long after its slot a run starts.
    #[must_use]
    pub fn delay(&self) -> SignedDuration {
        self.delay
    }

    /// The zone in which the expression is read.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The zone's name, such as `Europe/London`.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The latest slot whose start (slot and jitter) is not after `now`; `None` if there was none in nine years.
    #[must_use]
    pub fn latest_due(&self, now: Timestamp) -> Option<Slot> {
        let until = now.saturating_sub(self.delay).ok()?;
        if !self.all_day {
            return self.civil_slots_back_from(until).find(|slot| slot.instant() <= until);
        }
        LOOK_BACK.iter().find_map(|back| {
            let from = self.calm_instant_before(until.saturating_sub(*back).ok()?);
            self.slots_from(from).take_while(|slot| slot.instant() <= until).last()
        })
    }

    /// The last `count` slots that are not after `instant`, the oldest first; jitter is left aside. Fewer where the
    /// expression has been due less often in nine years.
    #[must_use]
    pub fn slots_until(&self, instant: Timestamp, count: usize) -> Vec<Slot> {
        let not_after = |slot: &Slot| slot.instant() <= instant;
        if !self.all_day {
            let mut slots: Vec<Slot> = self.civil_slots_back_from(instant).filter(not_after).take(count).collect();
            slots.reverse();
            slots.dedup();
            return slots;
        }
        let mut latest = Vec::new();
        for back in LOOK_BACK {
            let Ok(from) = instant.saturating_sub(back) else { break };
            latest = self.slots_from(self.calm_instant_before(from)).take_while(not_after).collect();
            if latest.len() >= count {
                break;
            }
        }
        latest.split_off(latest.len().saturating_sub(count))
    }

    /// The first slot after `instant`; `None` if the expression never comes due again.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Slot> {
        self.upcoming(instant).next()
    }

    /// All slots after `instant`, in order.
    pub fn upcoming(&self, instant: Timestamp) -> impl Iterator<Item = Slot> {
        self.slots_from(self.calm_instant_before(instant)).skip_while(move |slot| slot.instant() <= instant)
    }

    /// When the run for a slot starts.
    #[must_use]
    pub fn start_of(&self, slot: Slot) -> Timestamp {
        slot.instant().saturating_add(self.delay).unwrap_or(Timestamp::MAX)
    }

    /// Slots after `from`, which must be a calm instant.
    fn slots_from(&self, from: Timestamp) -> Box<dyn Iterator<Item = Slot> + '_> {
        if self.all_day { Box::new(self.elapsed_slots_from(from)) } else { Box::new(self.civil_slots_from(from)) }
    }

    /// The scheduler's own reading, which repeats the hours of an overlap.
    fn elapsed_slots_from(&self, from: Timestamp) -> impl Iterator<Item = Slot> + '_ {
        let step = |from: Timestamp| {
            let next = self.cron.find_next_occurrence(&from.to_zoned(self.zone.clone()), false).ok()?;
            // Not `successors` on the found value alone: a search that does not advance would never end.
            (next.timestamp() > from).then(|| next.timestamp())
        };
        std::iter::successors(step(from), move |slot| step(*slot)).map(Slot::at)
    }

    /// Times on the wall's calendar, each taken to one instant. The calendar of UTC has no gaps, so the expression is read
    /// on it; what the zone does to each time is decided here.
    fn civil_slots_from(&self, from: Timestamp) -> impl Iterator<Item = Slot> + '_ {
        let step = |from: Timestamp| {
            let next = self.cron.find_next_occurrence(&from.to_zoned(TimeZone::UTC), false).ok()?;
            (next.timestamp() > from).then(|| next.timestamp())
        };
        let times = std::iter::successors(step(self.wall_of(from)), move |time| step(*time));
        let instants = times.filter_map(|time| self.instant_of(TimeZone::UTC.to_datetime(time)));
        // Several times in one gap fall on one instant, and are one slot.
        let mut last = None;
        instants.filter(move |instant| last.replace(*instant) != Some(*instant)).map(Slot::at)
    }

    /// The other way, and from a little later than `until`: a wall that has been put back shows what came before `until` as
    /// later.
    fn civil_slots_back_from(&self, until: Timestamp) -> impl Iterator<Item = Slot> + '_ {
        const PUT_BACK_MAX: SignedDuration = SignedDuration::from_hours(3);
        let step = |from: Timestamp| {
            let before = self.cron.find_previous_occurrence(&from.to_zoned(TimeZone::UTC), false).ok()?;
            (before.timestamp() < from).then(|| before.timestamp())
        };
        let wall = self.wall_of(until).saturating_add(PUT_BACK_MAX).unwrap_or(Timestamp::MAX);
        let times = std::iter::successors(step(wall), move |time| step(*time));
        times.filter_map(|time| self.instant_of(TimeZone::UTC.to_datetime(time))).map(Slot::at)
    }

    /// The wall's time at an instant, as the instant at which a wall in UTC shows it.
    fn wall_of(&self, instant: Timestamp) -> Timestamp {
        self.zone.to_datetime(instant).to_zoned(TimeZone::UTC).map_or(instant, |wall| wall.timestamp())
    }

    /// The instant of a time on the wall: the first one in an overlap, the end of a gap.
    fn instant_of(&self, time: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            AmbiguousOffset::Gap { .. } => {
                // Read with the offset from after the gap, the time lies before it.
                let before = ambiguous.earlier().ok()?;
                self.zone.following(before).next().map(|change| change.timestamp())
            }
        }
    }

    /// An instant not after `instant`, with no change of the zone's offset within half a day of it.
    ///
    /// A search that starts inside an overlap would find the second of two local times, and one that started before it
    /// the first. Searches that all start in calm hours and walk from slot to slot agree.
    fn calm_instant_before(&self, instant: Timestamp) -> Timestamp {
        const HALF_DAY: SignedDuration = SignedDuration::from_hours(12);
        let mut calm = instant;
        // Offsets change at most a few times a year; four steps of half a day leave any change behind.
        for _ in 0..4 {
            let (Ok(before), Ok(after)) = (calm.saturating_sub(HALF_DAY), calm.saturating_add(HALF_DAY)) else {
                return calm;
            };
            if self.zone.to_offset(before) == self.zone.to_offset(after) {
                return calm;
            }
            calm = before;
        }
        calm
    }
}

/// Whether an expression runs in every hour, or in hours counted by steps, instead of at named ones.
fn runs_all_day(pattern: &str) -> bool {
    match pattern.trim().strip_prefix('@') {
        Some(nickname) => nickname.eq_ignore_ascii_case("hourly"),
        None => pattern.split_whitespace().nth(1).is_some_and(|hours| hours.contains('*')),
    }
}

/// A time zone by its IANA name.
///
/// # Errors
/// There is no such zone in the bundled database.
pub fn parse_zone(name: &str) -> Result<TimeZone, jiff::Error> {
    TimeZone::get(name)
}

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    /// A schedule in UTC without jitter.
    fn from_str(pattern: &str) -> Result<Schedule, InvalidSchedule> {
        Schedule::parse(pattern, TimeZone::UTC)
    }
}

#[cfg(test)]
mod tests;
