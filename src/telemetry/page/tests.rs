use jiff::SignedDuration;
use rstest::rstest;

use super::*;
use crate::domain::inventory::{Complete, Endpoint, Inventory, Unseen};
use crate::domain::recovery_point::{Plane, PointState};
use crate::plan::plan;
use crate::policy::Policy;
use crate::policy::finding::{Check, Finding, Severity};
use crate::testing::{dump, inventory, now, passed_drill, policy as promises, store, with_drills};

/// Everything of these sources is backed up.
fn seen(policy: &Policy) -> Inventory {
    let mut inventory = inventory(policy);
    for (source, seen) in &mut inventory.stores {
        let dump = dump(source.as_str(), "2026-11-01T04:00:00Z", 1_000_000_000, PointState::Good);
        *seen = Ok(store(vec![dump], Vec::new(), Vec::new()));
    }
    let mut instances: Vec<_> = inventory.instances.as_ref().unwrap().iter().cloned().collect();
    for instance in &mut instances {
        instance.status = "available".to_owned();
        instance.endpoint = Some(Endpoint { host: "db".to_owned(), port: 5432 });
    }
    inventory.instances = Ok(Complete::after_last_page(instances));
    inventory
}

fn status(policy: &Policy, inventory: &Inventory) -> Status {
    Status::of(policy, inventory, &plan(policy, inventory, now()))
}

/// One source with drills, and nothing that needs a person.
fn well() -> Status {
    let policy = with_drills(promises(&[("accounts", &["accounts"])]));
    let mut inventory = seen(&policy);
    for store in inventory.stores.values_mut().flatten() {
        store.drills = Complete::after_last_page(vec![passed_drill("accounts")]);
    }
    status(&policy, &inventory)
}

/// As many sources, the last of which has no snapshot.
fn fleet_of(number: usize) -> Status {
    let names: Vec<String> = (0..number).map(|index| format!("source-{index:04}")).collect();
    let databases: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let sources: Vec<(&str, &[&str])> =
        names.iter().zip(&databases).map(|(name, own)| (name.as_str(), &own[..])).collect();
    let policy = promises(&sources);
    let mut inventory = seen(&policy);
    let snapshots: Vec<_> = inventory.snapshots.as_ref().unwrap().iter().cloned().collect();
    let kept = snapshots.into_iter().take(number.saturating_sub(1)).collect();
    inventory.snapshots = Ok(Complete::after_last_page(kept));
    status(&policy, &inventory)
}

#[test]
fn a_page_of_one_that_stands_by_says_so_and_looks_no_less_well() {
    let stands_by = Status { stands_by: true, ..well() };
    let (acts, waits) = (fleet(&well(), now()), fleet(&stands_by, now()));
    assert!(!text(&acts).contains("stands by"), "{acts}");
    assert!(text(&waits).contains("This daemon stands by: it looks, and acts only once it leads."), "{waits}");
    assert!(acts.contains("verdict well") && waits.contains("verdict well"));
}

/// What a person reads: the page without its tags, one line for each piece.
fn text(page: &str) -> String {
    let pieces = page.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text.trim());
    pieces.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_page_on_which_all_is_well_says_so_first() {
    let page = fleet(&well(), now() + SignedDuration::from_secs(30));
    assert!(page.contains(r#"<div class="verdict well">"#) && page.contains("/well.svg"), "{page}");
    insta::assert_snapshot!(text(&page));
}

/// The same document, told when it is old: nothing of it looks well any more.
#[rstest]
#[case::just_in_time(479, false)]
#[case::too_old(480, true)]
fn what_is_old_does_not_look_well(#[case] seconds: i64, #[case] is_stale: bool) {
    let (status, later) = (well(), now() + SignedDuration::from_secs(seconds));
    for page in [fleet(&status, later), source(&status, "accounts", later).unwrap()] {
        assert_eq!(page.contains("class=\"verdict stale\""), is_stale, "{page}");
        assert_eq!(page.contains("Not seen for 8 min"), is_stale, "{page}");
        assert_eq!(page.contains("/well.svg"), !is_stale, "{page}");
        assert_eq!(page.contains("class=\"verdict well\""), !is_stale, "{page}");
        assert_eq!(page.contains("do not rely on it"), is_stale, "{page}");
    }
}

#[test]
fn what_needs_a_person_is_told_with_the_commands_to_type_and_the_worst_first() {
    let policy = promises(&[("accounts", &["accounts", "it's"])]);
    let mut inventory = seen(&policy);
    inventory.buckets.insert(Plane::Primary, Err(Unseen("denied".to_owned())));
    let page = fleet(&status(&policy, &inventory), now());
    assert!(page.contains("class=\"verdict critical\"") && page.contains("/unwell.svg"), "{page}");
    let text = text(&page);
    let (todo, _) = text.split_once("\nFleet\n").unwrap();
    insta::assert_snapshot!(todo);
}

/// Whatever stands in a name or in what AWS says is text, and never a part of the page.
#[test]
fn nothing_that_comes_from_outside_becomes_a_part_of_the_page() {
    let hostile = "</title><script>alert(1)</script>\"onload='x'&<!--";
    let policy = promises(&[("accounts", &[hostile])]);
    let mut inventory = seen(&policy);
    let mut instances: Vec<_> = inventory.instances.as_ref().unwrap().iter().cloned().collect();
    instances[0].status = hostile.to_owned();
    inventory.instances = Ok(Complete::after_last_page(instances));
    inventory.buckets.insert(Plane::Primary, Err(Unseen(hostile.to_owned())));
    let mut status = status(&policy, &inventory);
    status.findings.push(Finding {
        severity: Severity::Critical,
        check: Check::DumpBad,
        source: None,
        text: hostile.to_owned(),
    });
    for page in [fleet(&status, now()), source(&status, "accounts", now()).unwrap()] {
        let escaped = "&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;onload='x'&amp;&lt;!--";
        assert!(page.matches(escaped).count() > 4, "{page}");
        assert!(!page.contains("<script>") && !page.contains("<!--") && !page.contains("\"onload"), "{page}");
    }
}

#[test]
fn a_few_sources_are_shown_in_full_and_of_many_those_that_need_a_person() {
    for (number, cards, rows, is_folded) in
        [(1, 1, 0, false), (3, 3, 0, false), (50, 1, 49, false), (150, 1, 149, true)]
    {
        let page = fleet(&fleet_of(number), now());
        assert_eq!(page.matches("<article").count(), cards, "{number}");
        assert_eq!(
            page.matches("<th scope=\"row\"><a href=\"/sources/").count(),
            rows + 20.min(2 * number),
            "{number}"
        );
        assert_eq!(page.contains("<details id=\"rows\">"), is_folded, "{number}");
        let last = format!("source-{:04}", number - 1);
        let (_, first) = page.split_once("<article").unwrap();
        assert!(first.contains(&format!("id=\"source-{last}\"")), "the one in trouble is the first of {number}");
        if number > 1 {
            assert!(page.contains(&format!("1 of {number} sources needs a person")), "{page}");
        }
    }
}

/// Everything is in trouble, and the page is still one that can be read.
#[test]
fn a_page_about_thousands_in_trouble_is_bounded() {
    let mut status = fleet_of(1);
    let one = status.sources[0].clone();
    status.sources = (0..3_000)
        .map(|index| crate::plan::status::SourceStatus { source: format!("s{index}").parse().unwrap(), ..one.clone() })
        .collect();
    let page = fleet(&status, now());
    assert_eq!(page.matches("<article").count(), 20);
    assert_eq!(page.matches("<th scope=\"row\"><a href=\"/sources/s").count(), 2_000 + status.upcoming.len());
    assert!(page.contains("And 980 more: each has a page"), "what is left out is counted");
    assert!(page.contains("And 2960 more, which"), "{}", text(&page).lines().take(400).collect::<String>());
    assert!(page.len() < 3 << 20, "{}", page.len());
}

/// Not to see a way back is not to have none: who cannot look must not be sent to make backups in the first place.
#[test]
fn where_not_everything_was_seen_nothing_is_said_to_be_lost() {
    let policy = promises(&[("accounts", &["accounts"])]);
    let mut inventory = inventory(&policy);
    let denied = || Unseen("AccessDenied".to_owned());
    (inventory.instances, inventory.snapshots) = (Err(denied()), Err(denied()));
    inventory.stores.values_mut().for_each(|seen| *seen = Err(denied()));
    let page = fleet(&status(&policy, &inventory), now());
    assert!(page.contains("class=\"verdict critical\""), "{page}");
    assert!(page.contains("Nothing to restore it from was seen; but not everything could be seen"), "{page}");
    assert!(page.contains("Could not be seen, so nothing is decided by it: store: AccessDenied"), "{page}");
    assert!(!page.contains("There is nothing to restore"), "{page}");
}

#[test]
fn a_fleet_without_sources_is_told_as_what_it_is() {
    let policy = promises(&[]);
    let page = fleet(&status(&policy, &inventory(&policy)), now());
    assert!(page.contains("None is configured."), "{page}");
}

#[test]
fn before_the_first_look_nothing_looks_well() {
    let page = not_seen_yet(&[Missing::Inventory], now());
    assert!(page.contains("class=\"verdict unknown\"") && page.contains("/unwell.svg"), "{page}");
    assert!(!page.contains("All is well"), "{page}");
}

/// A backup that takes longer than it may, in both its forms.
#[test]
fn a_drill_that_took_longer_than_is_wanted_is_told_so() {
    let mut status = well();
    status.sources[0].drills[0].recovery_seconds_max = Some(600);
    let page = fleet(&status, now());
    assert!(
        page.contains("RTO <b>15 min</b>, <strong class=\"missed\">more than the 10 min that are wanted</strong>"),
        "{page}"
    );
    let told = r#"role="img" aria-label="order taken 10 s, instance available 4 min, every row read 10 min""#;
    assert!(page.contains(told), "{page}");
}
