use std::path::PathBuf;

use rstest::rstest;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests").join(name)).unwrap()
}

fn dump() -> DumpId {
    DumpId {
        source: "accounts".parse().unwrap(),
        database: "accounts".parse().unwrap(),
        slot: "20261123t064106z".parse().unwrap(),
    }
}

/// Golden files are never edited: a manifest that was written once must read for ever, and say the same.
#[test]
fn every_manifest_ever_written_still_reads() {
    let golden = fixture("v1-pg_dump.json");
    let manifest = Manifest::read(&golden, &dump()).unwrap();
    assert_eq!(manifest.rows, 304_976);
    let again: serde_json::Value = serde_json::from_slice(&manifest.to_json().unwrap()).unwrap();
    assert_eq!(again, serde_json::from_slice::<serde_json::Value>(&golden).unwrap());
}

/// For auditors and for tools in other languages; it changes only together with a decision about the version.
#[test]
fn the_published_schema_is_the_one_that_is_written() {
    let published: serde_json::Value = serde_json::from_slice(&fixture("v1.schema.json")).unwrap();
    let written = serde_json::to_value(schemars::schema_for!(Manifest)).unwrap();
    assert!(
        written == published,
        "write this to tests/fixtures/manifests/v1.schema.json if it was meant:\n{written:#}"
    );
}

#[test]
fn a_manifest_of_a_later_version_is_refused_by_name() {
    let later = String::from_utf8(fixture("v1-pg_dump.json")).unwrap().replace("\"version\": 1,", "\"version\": 2,");
    let error = Manifest::read(later.as_bytes(), &dump()).unwrap_err();
    assert!(error.to_string().contains("upgrade strongroom"), "{error}");
}

#[test]
fn a_manifest_under_another_dumps_key_is_refused() {
    let elsewhere = DumpId { database: "cards".parse().unwrap(), ..dump() };
    let error = Manifest::read(&fixture("v1-pg_dump.json"), &elsewhere).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the manifest says that it is of accounts/accounts/20261123t064106z: it was moved or copied"
    );
}

#[test]
fn half_a_manifest_is_none() {
    let golden = fixture("v1-pg_dump.json");
    assert!(matches!(Manifest::read(&golden[..golden.len() / 2], &dump()), Err(InvalidManifest::Malformed(_))));
}

/// The golden manifest, with tables whose parts are these.
fn with_parts(parts: &[(u64, u64)]) -> Result<Manifest, InvalidManifest> {
    let mut manifest = Manifest::read(&fixture("v1-pg_dump.json"), &dump()).unwrap();
    let part = |(offset, size_bytes): &(u64, u64)| TablePart {
        offset: *offset,
        size_bytes: *size_bytes,
        rows: 1,
        hash: "0".repeat(32),
    };
    manifest.tables[0].parts = parts.iter().map(part).collect();
    Manifest::read(&manifest.to_json().unwrap(), &dump())
}

#[test]
fn parts_that_do_not_follow_each_other_are_refused() {
    assert!(with_parts(&[(0, 10), (10, 5)]).is_ok());
    for parts in [&[(0, 10), (11, 5)][..], &[(1, 10)], &[(0, 0)], &[(0, u64::MAX), (u64::MAX, 1)]] {
        let error = with_parts(parts).unwrap_err().to_string();
        assert!(error.contains("parts of table") && error.contains("do not follow each other"), "{error}");
    }
}

#[test]
fn sizes_that_no_number_holds_are_refused() {
    let mut manifest = Manifest::read(&fixture("v1-pg_dump.json"), &dump()).unwrap();
    manifest.tables[0].bytes = u64::MAX;
    manifest.large_objects.bytes = 1;
    let error = Manifest::read(&manifest.to_json().unwrap(), &dump()).unwrap_err();
    assert!(matches!(error, InvalidManifest::Impossible(_)), "{error}");
}

#[rstest]
#[case::rows(|manifest: &mut Manifest| {
    manifest.tables[0].rows = u64::MAX;
    manifest.tables[1].rows = 1;
})]
#[case::objects(|manifest: &mut Manifest| {
    manifest.objects[0].size_bytes = u64::MAX;
    manifest.objects[1].size_bytes = 1;
})]
fn each_sum_that_no_number_holds_is_refused(#[case] enlarge: fn(&mut Manifest)) {
    let mut manifest = Manifest::read(&fixture("v1-pg_dump.json"), &dump()).unwrap();
    enlarge(&mut manifest);
    let error = Manifest::read(&manifest.to_json().unwrap(), &dump()).unwrap_err();
    assert!(error.to_string().contains("add up to more than 64 bits hold"), "{error}");
}

/// The manifest of a dump of the parallel engine, where each table has an object of its own, with the hashes of its parts.
fn with_tables(tables: usize) -> Manifest {
    let mut manifest = Manifest::read(&fixture("v1-pg_dump.json"), &dump()).unwrap();
    let part = TablePart { offset: 0, size_bytes: 9_304_537, rows: 304_976, hash: "0".repeat(32) };
    let table = Table { hash: Some("0".repeat(32)), parts: vec![part], ..manifest.tables[1].clone() };
    let object = manifest.objects[0].clone();
    (manifest.tables, manifest.objects) = (vec![table; tables], vec![object; tables]);
    manifest
}

#[test]
fn the_manifest_of_a_hundred_thousand_tables_can_be_read() {
    let each_bytes = with_tables(3_000).to_json().unwrap().len() as u64 / 3_000;
    assert!(100_000 * each_bytes < MANIFEST_BYTES_MAX, "{each_bytes} for each table");
}

#[test]
fn a_manifest_that_nobody_would_read_is_not_written() {
    let mut manifest = with_tables(70);
    manifest.tables.iter_mut().for_each(|table| table.name = "n".repeat(1 << 20));
    let error = manifest.to_json().unwrap_err().to_string();
    assert!(error.starts_with("a manifest of 70 tables would have"), "{error}");
}

#[test]
fn a_manifest_has_line_breaks_where_a_person_may_read_it() {
    let lines = |tables| with_tables(tables).to_json().unwrap().iter().filter(|byte| **byte == b'\n').count();
    assert!(lines(100) > 1_000);
    assert_eq!(lines(3_000), 1);
}

/// A table of the parallel engine, of which three rows of ten bytes were dumped.
fn table() -> Table {
    Table {
        dump_id: 3837,
        schema: "bank".to_owned(),
        name: "accounts".to_owned(),
        rows: 3,
        bytes: 30,
        hash: Some("aa".to_owned()),
        parts: Vec::new(),
    }
}

const OTHER_ROWS: &str = "table bank.accounts has other rows than were dumped: their hash differs";

#[rstest]
#[case::none((3, 30), Some("aa"), None)]
#[case::a_row_less((2, 30), Some("aa"), Some("table bank.accounts has 2 rows and 30 bytes instead of 3 and 30"))]
#[case::a_byte_more((3, 31), Some("aa"), Some("table bank.accounts has 3 rows and 31 bytes instead of 3 and 30"))]
#[case::other_rows((3, 30), Some("ab"), Some(OTHER_ROWS))]
#[case::rows_that_nobody_hashed((3, 30), None, Some(OTHER_ROWS))]
fn what_differs_from_what_was_dumped_is_told(
    #[case] (rows, bytes): (u64, u64),
    #[case] hash: Option<&str>,
    #[case] expected: Option<&str>,
) {
    assert_eq!(table().difference(rows, bytes, hash).as_deref(), expected);
}

#[test]
fn of_a_dump_without_hashes_rows_and_bytes_are_all_that_is_compared() {
    assert_eq!(Table { hash: None, ..table() }.difference(3, 30, None), None);
}

/// A dump by one `pg_dump` names its tables too, but has no object for each.
#[rstest]
#[case::of_a_table("20261123t064106z-dump-accounts-1/3837.dat.zst", true)]
#[case::of_another_table("20261123t064106z-dump-accounts-1/3838.dat.zst", false)]
#[case::of_none("20261123t064106z-dump-accounts-1/toc.dat", false)]
#[case::that_only_looks_like_it("20261123t064106z-dump-accounts-1/x3837.dat.zst", false)]
fn an_object_is_named_with_the_table_in_it(#[case] key: &str, #[case] has_table: bool) {
    let mut manifest = Manifest::read(&fixture("v1-pg_dump.json"), &dump()).unwrap();
    let object = StoredObject { key: ObjectKey::listed(key), ..manifest.objects[0].clone() };
    manifest.tables = vec![Table { dump_id: 3838, hash: None, ..table() }, table()];
    let name = if has_table { format!("{key} (table bank.accounts)") } else { key.to_owned() };
    assert_eq!(manifest.named(&object), name);
    assert_eq!(manifest.table_of(&object), has_table.then(|| &manifest.tables[1]));
}

#[test]
fn an_engine_has_one_word_wherever_it_is_written() {
    for engine in [Engine::PgDump, Engine::Parallel] {
        assert_eq!(serde_json::to_value(engine).unwrap(), engine.as_str());
    }
}

#[test]
fn mutations_of_a_manifest_are_refused_or_have_possible_numbers() {
    let golden = fixture("v1-pg_dump.json");
    crate::testing::fuzz::cases("manifest", 3_000, |random| {
        let mut bytes = golden.clone();
        crate::testing::fuzz::mutate(random, &mut bytes);
        if let Ok(manifest) = Manifest::read(&bytes, &dump()) {
            assert_eq!(manifest.impossible(), None);
            assert!(manifest.to_json().unwrap().len() < 2 * golden.len() + 10_000);
        }
    });
}
