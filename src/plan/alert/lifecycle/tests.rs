//! Each transition; restarts and second daemons are the same function with the same ledger.

use rstest::rstest;

use super::*;
use crate::domain::alert::Severity;
use crate::plan::alert::Unsure;
use crate::testing::now;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn alert(name: &str) -> Alert {
    Alert {
        key: key(name),
        severity: Severity::Critical,
        what: vec!["a fact".to_owned()],
        meaning: String::new(),
        action: String::new(),
    }
}

fn key(name: &str) -> AlertKey {
    AlertKey { name: name.to_owned(), source: None, detail: None, database: None }
}

fn route(name: &str) -> RouteName {
    name.parse().unwrap()
}

fn policy(routes: &[&str]) -> AlertPolicy {
    let all = RoutePolicy { severities: Severity::ALL.into(), sources: None, repeats: true };
    AlertPolicy {
        pending_for: MINUTE * 5,
        repeat_every: Some(DAY),
        storm_max: 3,
        routes: routes.iter().map(|name| (route(name), all.clone())).collect(),
    }
}

/// A ledger that is looked at minute by minute.
struct Bench {
    policy: AlertPolicy,
    ledger: AlertLedger,
    now: Timestamp,
}

impl Bench {
    fn new(routes: &[&str]) -> Bench {
        Bench { policy: policy(routes), ledger: AlertLedger::default(), now: now() }
    }

    fn look_at(&mut self, alerts: Vec<Alert>, unsure: &[&str]) -> Vec<String> {
        let unsure = Unsure { keys: unsure.iter().map(|name| key(name)).collect(), kinds: Default::default() };
        let mut alerts = alerts;
        alerts.sort_by(|a, b| a.key.cmp(&b.key));
        let holding = Holding { at: self.now, alerts, promises_hold: false, unsure };
        let before = self.ledger.outbox.len();
        let (next, _) = advance(&self.ledger, &holding, &self.policy, &"bank".parse().unwrap(), self.now);
        self.ledger = next;
        let new = self.ledger.outbox.iter().skip(before.min(self.ledger.outbox.len()));
        new.map(said).collect()
    }

    fn look(&mut self, names: &[&str]) -> Vec<String> {
        self.look_at(names.iter().map(|name| alert(name)).collect(), &[])
    }

    /// A look some time later.
    fn after(&mut self, time: SignedDuration, names: &[&str]) -> Vec<String> {
        self.now += time;
        self.look(names)
    }

    /// Every channel takes what waits for it.
    fn deliver(&mut self) -> Vec<String> {
        let said_now = self.ledger.outbox.iter().map(said).collect();
        self.ledger.outbox.clear();
        said_now
    }

    fn firing(names: &[&str], routes: &[&str]) -> Bench {
        let mut bench = Bench::new(routes);
        bench.look(names);
        bench.after(MINUTE * 5, names);
        bench.deliver();
        bench
    }
}

fn said(outgoing: &Outgoing) -> String {
    let keys: Vec<String> = outgoing.message.items.iter().map(|item| item.alert.key.to_string()).collect();
    format!("{} {}: {}", outgoing.route, outgoing.message.event.as_str(), keys.join(" "))
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_holds_for_long_enough_is_told_once() {
    let mut bench = Bench::new(&["team"]);
    assert_eq!(bench.look(&["overdue"]), NOTHING);
    assert_eq!(bench.after(MINUTE * 4, &["overdue"]), NOTHING);
    assert_eq!(bench.after(MINUTE, &["overdue"]), ["team fired: overdue"]);
    assert_eq!(bench.after(MINUTE, &["overdue"]), NOTHING);
    bench.deliver();
    assert_eq!(bench.after(MINUTE, &["overdue"]), NOTHING, "a restart reads this ledger, and so does a second daemon");
}

#[test]
fn what_passes_before_it_is_told_is_never_told() {
    let mut bench = Bench::new(&["team"]);
    bench.look(&["overdue"]);
    assert_eq!(bench.after(MINUTE * 4, &[]), NOTHING);
    assert_eq!(bench.after(MINUTE, &["overdue"]), NOTHING, "it is pending anew");
    assert_eq!(bench.ledger.entries.len(), 1);
}

#[test]
fn the_end_of_what_was_told_is_told_on_the_same_routes() {
    let mut bench = Bench::firing(&["overdue"], &["team", "pager"]);
    assert_eq!(bench.after(MINUTE, &[]), ["pager resolved: overdue", "team resolved: overdue"]);
    assert_eq!(bench.ledger.entries, []);
    assert_eq!(bench.after(MINUTE, &[]), NOTHING);
}

#[test]
fn not_knowing_is_no_good_news() {
    let mut bench = Bench::firing(&["overdue"], &["team"]);
    bench.now += DAY;
    assert_eq!(bench.look_at(Vec::new(), &["overdue"]), ["team repeated: overdue"], "and no silence either");
    bench.deliver();
    assert_eq!(bench.after(MINUTE, &[]), ["team resolved: overdue"]);
}

#[test]
fn what_is_pending_is_neither_told_nor_forgotten_while_nobody_can_see_it() {
    let mut bench = Bench::new(&["team"]);
    bench.look(&["overdue"]);
    bench.now += MINUTE * 6;
    assert_eq!(bench.look_at(Vec::new(), &["overdue"]), NOTHING);
    assert_eq!(bench.after(MINUTE, &["overdue"]), ["team fired: overdue"]);
}

#[test]
fn what_holds_still_is_told_again_once_a_day_and_to_those_who_are_not_reminded_by_themselves() {
    let mut bench = Bench::firing(&["overdue"], &["team", "machine"]);
    bench.policy.routes.get_mut(&route("machine")).unwrap().repeats = false;
    assert_eq!(bench.after(DAY - MINUTE, &["overdue"]), NOTHING);
    assert_eq!(bench.after(MINUTE, &["overdue"]), ["team repeated: overdue"]);
    assert_eq!(wake_at(&bench.ledger, &bench.policy), Some(bench.now), "the message waits to be sent");
    bench.deliver();
    assert_eq!(wake_at(&bench.ledger, &bench.policy), Some(bench.now + DAY));
    bench.policy.repeat_every = None;
    assert_eq!(bench.after(DAY * 9, &["overdue"]), NOTHING);
    assert_eq!(wake_at(&bench.ledger, &bench.policy), None);
}

#[test]
fn more_of_the_same_is_news_but_not_at_each_step() {
    let mut bench = Bench::firing(&["dump_bad"], &["team"]);
    let mut two = alert("dump_bad");
    two.what.push("another one".to_owned());
    bench.now += MINUTE * 59;
    assert_eq!(bench.look_at(vec![two.clone()], &[]), NOTHING);
    bench.now += MINUTE;
    assert_eq!(bench.look_at(vec![two.clone()], &[]), ["team repeated: dump_bad"], "a second bad dump is news");
    bench.deliver();
    bench.now += MINUTE;
    assert_eq!(bench.look_at(vec![two], &[]), NOTHING);
    assert_eq!(bench.look(&["dump_bad"]), NOTHING, "fewer of them are none");
}

#[test]
fn a_route_hears_of_what_fires_as_soon_as_it_is_meant_for_it() {
    let mut bench = Bench::new(&["team", "pager"]);
    bench.policy.routes.get_mut(&route("pager")).unwrap().severities = [Severity::Critical].into();
    let warning = Alert { severity: Severity::Warning, ..alert("replication") };
    bench.look_at(vec![warning.clone()], &[]);
    bench.now += MINUTE * 5;
    assert_eq!(bench.look_at(vec![warning], &[]), ["team fired: replication"]);
    bench.deliver();
    assert_eq!(bench.after(MINUTE, &["replication"]), ["pager fired: replication", "team repeated: replication"]);
    bench.deliver();
    bench.policy.routes.insert(route("new"), policy(&["new"]).routes.remove(&route("new")).unwrap());
    assert_eq!(bench.after(MINUTE, &["replication"]), ["new fired: replication"]);
    bench.deliver();
    assert_eq!(bench.after(MINUTE, &[]).len(), 3, "each that was told hears of the end");
}

#[test]
fn a_storm_is_one_message_to_each_route_and_one_thread() {
    let four = ["a", "b", "c", "d"];
    let mut bench = Bench::new(&["team"]);
    bench.look(&four);
    assert_eq!(bench.after(MINUTE * 5, &four), ["team fired: a b c d"]);
    let thread = bench.ledger.outbox[0].message.items[0].thread.clone();
    assert!(bench.ledger.outbox[0].message.items.iter().all(|item| item.thread == thread), "{thread}");
    bench.deliver();
    assert_eq!(bench.after(MINUTE, &["b", "c", "d"]), ["team resolved: a"]);
    assert!(!bench.ledger.outbox[0].message.items[0].thread_ends, "three of the storm go on");
    bench.deliver();
    assert_eq!(bench.after(MINUTE, &[]).len(), 3);
    assert!(
        bench.ledger.outbox.iter().all(|own| own.message.items[0].thread_ends && own.message.items[0].thread == thread)
    );
}

#[test]
fn as_many_as_are_allowed_are_no_storm() {
    let mut bench = Bench::new(&["team"]);
    bench.look(&["a", "b", "c"]);
    assert_eq!(bench.after(MINUTE * 5, &["a", "b", "c"]), ["team fired: a", "team fired: b", "team fired: c"]);
    let ids: std::collections::BTreeSet<_> = bench.ledger.outbox.iter().map(|own| own.message.id.clone()).collect();
    assert_eq!(ids.len(), 3, "each has an id of its own");
}

#[test]
fn while_a_channel_is_down_its_queue_holds_the_beginning_and_the_end_and_no_more() {
    let mut bench = Bench::new(&["team"]);
    bench.look(&["overdue"]);
    bench.after(MINUTE * 5, &["overdue"]);
    for _ in 0..48 {
        bench.after(DAY, &["overdue"]);
    }
    assert_eq!(bench.ledger.outbox.len(), 1, "reminders of what has not arrived help nobody");
    bench.after(MINUTE, &[]);
    assert_eq!(bench.deliver(), ["team fired: overdue", "team resolved: overdue"]);
}

#[test]
fn what_comes_back_before_its_end_was_heard_has_never_ended_for_that_channel() {
    let mut bench = Bench::firing(&["overdue"], &["team"]);
    for _ in 0..5 {
        bench.after(MINUTE, &[]);
        bench.after(MINUTE, &["overdue"]);
        bench.after(MINUTE * 5, &["overdue"]);
    }
    assert_eq!(bench.deliver(), NOTHING);
    assert_eq!(bench.after(MINUTE, &[]), ["team resolved: overdue"]);
}

#[test]
fn a_look_that_another_daemon_has_overtaken_changes_nothing() {
    let mut bench = Bench::firing(&["overdue"], &["team"]);
    bench.policy.pending_for = SignedDuration::ZERO;
    bench.after(MINUTE, &[]);
    bench.deliver();
    assert_eq!(bench.after(-SignedDuration::from_secs(2), &["overdue"]), NOTHING, "it saw what has ended since");
    assert_eq!(bench.after(SignedDuration::from_secs(3), &["overdue"]), ["team fired: overdue"]);
}

#[test]
fn that_a_text_has_changed_is_worth_no_write() {
    let mut bench = Bench::firing(&["overdue"], &["team"]);
    let before = bench.ledger.clone();
    let other = Alert { what: vec!["40 % are done".to_owned()], ..alert("overdue") };
    bench.now += MINUTE;
    bench.look_at(vec![other.clone()], &[]);
    assert_eq!(bench.ledger, before);
    bench.now += DAY;
    bench.look_at(vec![other], &[]);
    assert_eq!(bench.ledger.outbox[0].message.items[0].alert.what, ["40 % are done"], "what is told is what is true");
}

#[rstest]
#[case::back(-SignedDuration::from_hours(5))]
#[case::far_back(-SignedDuration::from_hours(24 * 400))]
fn a_clock_that_is_set_back_delays_an_alert_by_its_own_patience_and_no_longer(#[case] step: SignedDuration) {
    let mut bench = Bench::new(&["team"]);
    bench.look(&["overdue"]);
    bench.after(step, &["overdue"]);
    assert_eq!(bench.after(MINUTE * 5, &["overdue"]), ["team fired: overdue"]);
}
