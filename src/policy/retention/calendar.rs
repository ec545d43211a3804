//! Rules that keep the newest of each hour, day, week, month and year.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, ISOWeekDate};
use jiff::tz::{Offset, TimeZone};

use super::{KeepRule, RetentionPolicy};

/// A span of the calendar of which the newest point is kept.
#[derive(Debug, Clone, Copy)]
enum Span {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// One span in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bucket {
    /// With its offset, as the hour that a clock change repeats is another hour: schedules run in both.
    Hour(DateTime, Offset),
    Day(Date),
    /// Year of the week and number, as the days around New Year may belong to the neighbouring year's week.
    Week(i16, i8),
    Month(i16, i8),
    Year(i16),
}

impl Span {
    fn bucket(self, local: DateTime, offset: Offset) -> Bucket {
        let date = local.date();
        match self {
            Span::Hour => Bucket::Hour(date.at(local.hour(), 0, 0, 0), offset),
            Span::Day => Bucket::Day(date),
            Span::Week => {
                let week = ISOWeekDate::from(date);
                Bucket::Week(week.year(), week.week())
            }
            Span::Month => Bucket::Month(date.year(), date.month()),
            Span::Year => Bucket::Year(date.year()),
        }
    }

    fn rule(self) -> KeepRule {
        match self {
            Span::Hour => KeepRule::Hourly,
            Span::Day => KeepRule::Daily,
            Span::Week => KeepRule::Weekly,
            Span::Month => KeepRule::Monthly,
            Span::Year => KeepRule::Yearly,
        }
    }
}

/// A rule while it is being filled.
#[derive(Debug)]
struct Count {
    span: Span,
    left: u32,
    seen: BTreeSet<Bucket>,
}

/// The calendar rules of one group, which is shown to them from its newest point to its oldest.
#[derive(Debug)]
pub(super) struct Calendar<'a> {
    zone: &'a TimeZone,
    /// Those that are not full.
    counts: Vec<Count>,
}

impl<'a> Calendar<'a> {
    pub(super) fn new(policy: &'a RetentionPolicy) -> Calendar<'a> {
        let rules = [
            (Span::Hour, policy.keep_hourly),
            (Span::Day, policy.keep_daily),
            (Span::Week, policy.keep_weekly),
            (Span::Month, policy.keep_monthly),
            (Span::Year, policy.keep_yearly),
        ];
        let count =
            |(span, left): (Span, Option<_>)| Some(Count { span, left: u32::from(left?), seen: BTreeSet::new() });
        Calendar { zone: &policy.zone, counts: rules.into_iter().filter_map(count).collect() }
    }

    /// Adds the rules that keep the next older point, which is filed under the span of a moment: mostly that of its data.
    pub(super) fn keep(&mut self, filed_at: Timestamp, is_oldest: bool, rules: &mut Vec<KeepRule>) {
        if self.counts.is_empty() {
            return;
        }
        let offset = self.zone.to_offset(filed_at);
        let local = offset.to_datetime(filed_at);
        let mut ends_early = false;
        for count in &mut self.counts {
            if count.seen.insert(count.span.bucket(local, offset)) {
                count.left -= 1;
                rules.push(count.span.rule());
            } else if is_oldest {
                ends_early = true;
            }
        }
        // As in restic: while history is shorter than what a rule asks for, it is kept to its beginning.
        if ends_early {
            rules.push(KeepRule::Oldest);
        }
        self.counts.retain(|count| count.left > 0);
    }
}
