use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case("accounts", true)]
#[case("a", true)]
#[case("accounts-2", true)]
#[case("", false)]
#[case("Accounts", false)]
#[case("2accounts", false)]
#[case("accounts-", false)]
#[case("acc--ounts", false)]
#[case("acc_ounts", false)]
#[case("a234567890123456789012345678901234567890", true)]
#[case("a2345678901234567890123456789012345678901", false)]
fn a_source_name_fits_keys_ids_and_labels(#[case] text: &str, #[case] valid: bool) {
    assert_eq!(text.parse::<SourceId>().is_ok(), valid);
}

#[test]
fn a_slot_prints_utc_basic_form_and_parses_back() {
    let slot = Slot::at("2026-11-22T03:00:00.9Z".parse().unwrap());
    assert_eq!(slot.to_string(), "20261122t030000z");
    assert_eq!("20261122t030000z".parse::<Slot>().unwrap(), slot);
}

#[rstest]
#[case("20261122T030000Z")]
#[case("20261122t030000")]
#[case("20261322t030000z")]
#[case("20270229t030000z")]
#[case("20261122t240000z")]
#[case("20261122t235960z")]
#[case("+2026112t030000z")]
#[case("2026-11-22t03:00z")]
#[case("")]
fn what_is_not_a_slot_is_refused(#[case] text: &str) {
    assert!(text.parse::<Slot>().is_err());
}

#[rstest]
#[case("20261122t030000z-snapshot-1")]
#[case("20261122t030000z-snapshot-999")]
#[case("20261122t030000z-dump-accounts-12")]
#[case("20261122t030000z-dump-my-db-7-1")]
#[case("20261122t030000z-dump-K%C3%B6nig%2F1-2")]
fn a_run_id_survives_a_round_trip(#[case] text: &str) {
    assert_eq!(text.parse::<RunId>().unwrap().to_string(), text);
}

#[rstest]
#[case("20261122t030000z-snapshot-0")]
#[case("20261122t030000z-snapshot-1000")]
#[case("20261122t030000z-snapshot-01")]
#[case("20261122t030000z-dump-%41-1")]
#[case("20261122t030000z-export-1")]
#[case("20261122t030000z")]
fn a_second_spelling_of_a_run_id_or_an_attempt_too_many_is_refused(#[case] text: &str) {
    assert!(text.parse::<RunId>().is_err());
}

#[test]
fn a_kind_has_one_word_wherever_it_is_written() {
    for kind in Kind::ALL {
        let word = kind.as_str();
        assert_eq!(word.parse::<Kind>().unwrap(), kind);
        assert_eq!(serde_json::to_value(kind).unwrap(), word);
        assert_eq!(format!("{kind:<9}|"), format!("{word:<9}|"), "tables have columns");
    }
    assert!("export".parse::<Kind>().is_err());
}

#[test]
fn attempts_at_one_slot_share_a_stem() {
    let slot = "20261122t030000z".parse().unwrap();
    let source = "accounts".parse().unwrap();
    let first = SnapshotId::for_slot("strongroom", &source, slot, 1);
    let second = SnapshotId::for_slot("strongroom", &source, slot, 2);
    assert_eq!(first.as_str(), "strongroom-accounts-20261122t030000z");
    assert_eq!(second.as_str(), "strongroom-accounts-20261122t030000z-2");
}

/// Prefix, slot and the room that is kept for the number of an attempt leave 31 of 63 characters. A snapshot is found
/// again by its id, also by a later version: ids never change.
#[rstest]
#[case::that_just_fits("a234567890123456789012345678901", "a234567890123456789012345678901")]
#[case::too_long_by_one("a2345678901234567890123456789012", "a234567890123456789012-8ec193a6")]
#[case::cut_at_a_hyphen("aaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb", "aaaaaaaaaaaaaaaaaaaaa-34c645f4")]
fn a_name_is_cut_for_a_snapshot_id_no_shorter_than_it_must_be(#[case] source: &str, #[case] name: &str) {
    let id = SnapshotId::for_slot("strongroom", &source.parse().unwrap(), "20261122t030000z".parse().unwrap(), 1);
    assert_eq!(id.as_str(), format!("strongroom-{name}-20261122t030000z"));
    assert!(is_hyphenated(id.as_str()), "{id}");
}

#[test]
fn long_names_with_one_beginning_get_different_ids() {
    let slot = "20261122t030000z".parse().unwrap();
    let one =
        SnapshotId::for_slot("strongroom", &"a-name-that-is-quite-long-for-a-source-1".parse().unwrap(), slot, 999);
    let two =
        SnapshotId::for_slot("strongroom", &"a-name-that-is-quite-long-for-a-source-2".parse().unwrap(), slot, 999);
    assert_ne!(one, two);
    assert!(one.as_str().len() <= 63, "{one}");
    assert!(is_hyphenated(one.as_str()), "{one}");
}

proptest! {
    #[test]
    fn any_database_name_survives_as_a_key_segment(name in "[^\0]{1,20}") {
        prop_assume!(name.len() <= 63);
        let name: DatabaseName = name.parse().unwrap();
        let segment = name.key_segment();
        prop_assert!(!segment.contains('/'));
        prop_assert_eq!(DatabaseName::from_key_segment(&segment).unwrap(), name);
    }

    #[test]
    fn every_slot_reads_as_it_prints(second in -62_167_219_200_i64..253_402_207_200) {
        let slot = Slot::at(jiff::Timestamp::from_second(second).unwrap());
        prop_assert_eq!(slot.to_string().parse::<Slot>().unwrap(), slot);
    }

    #[test]
    fn parsing_outside_text_never_panics(text in ".{0,40}") {
        let parsed = (text.parse::<RunId>(), text.parse::<Slot>(), DatabaseName::from_key_segment(&text));
        prop_assert!(parsed.0.is_err() || parsed.0.is_ok());
    }
}

#[test]
fn a_long_name_is_cut_where_nothing_is_lost_by_it() {
    let long: InstanceId = format!("a{}-b", "x".repeat(44)).parse().unwrap();
    let name = named_after(&long, "before-20261129t010000z");
    assert!(name.as_str().len() <= RDS_ID_MAX && name.as_str().ends_with("-before-20261129t010000z"), "{name}");
    assert!(name.as_str().parse::<InstanceId>().is_ok(), "{name}");
}
