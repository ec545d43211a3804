use std::path::PathBuf;

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
