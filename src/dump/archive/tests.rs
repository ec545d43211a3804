use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::testing::archive::Writer;

/// Keeps what it takes.
#[derive(Default)]
struct Kept(Vec<u8>);

impl ArchiveSink for Kept {
    fn take(&mut self, bytes: &[u8], _rows: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// A reader that gives a few bytes at a time, so that every value falls on the bound of a read sooner or later.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (now, later) = self.0.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

fn two_tables(minor: u8) -> Vec<u8> {
    let mut writer = Writer::new(minor, 4);
    writer.entry(1, false, "t", "TABLE");
    writer.entry(2, true, "t", "TABLE DATA");
    writer.entry(3, true, "empty", "TABLE DATA");
    writer.entry(4, true, "BLOBS", "BLOBS");
    writer.table(2, &["1\tone\n", "2\ttwo\\\\n\n", "\\.\n\n\n"]);
    writer.table(3, &["\\.\n\n\n"]);
    writer.bytes.push(3);
    writer.int(4);
    writer.int(16400);
    writer.string(Some("large object"));
    writer.int(0);
    writer.int(0);
    writer.bytes
}

fn walk_bytes(bytes: &[u8]) -> Result<Walked, ArchiveError> {
    walk(bytes, &mut Kept::default())
}

#[rstest]
fn every_known_version_is_walked_and_passed_on_byte_for_byte(
    #[values(12, 13, 14, 15, 16)] minor: u8,
    #[values(1, 3, 7, 4096)] step: usize,
) {
    let archive = two_tables(minor);
    let mut kept = Kept::default();
    let walked = walk(Dribble(&archive, step), &mut kept).unwrap();
    assert_eq!(kept.0, archive);
    assert_eq!(walked.bytes, archive.len() as u64);
    assert_eq!(walked.toc.version, (1, minor));
    assert_eq!(walked.rows, 2);
    let counted: Vec<_> = walked.tables.iter().map(|table| (table.name.as_str(), table.rows, table.bytes)).collect();
    assert_eq!(counted, [("t", 2, 15), ("empty", 0, 0)]);
    assert_eq!(walked.large_objects, LargeObjects { count: 1, bytes: 12 });
}

#[test]
fn an_archive_cut_anywhere_is_never_whole() {
    let archive = two_tables(14);
    for cut in 0..archive.len() {
        let error = walk_bytes(&archive[..cut]).expect_err("a cut archive passed");
        let expected = matches!(
            error,
            ArchiveError::Truncated(_) | ArchiveError::DataMissing { .. } | ArchiveError::TableCutOff { .. }
        );
        assert!(expected, "cut at {cut}: {error}");
    }
}

#[test]
fn a_table_without_its_end_mark_is_named() {
    let mut writer = Writer::new(14, 1);
    writer.entry(2, true, "cards", "TABLE DATA");
    writer.table(2, &["1\n", "2\n"]);
    assert_eq!(walk_bytes(&writer.bytes).unwrap_err().to_string(), "the data of table public.cards has no end mark");
}

#[test]
fn an_end_mark_in_pieces_is_an_end_mark() {
    let mut writer = Writer::new(14, 1);
    writer.entry(2, true, "cards", "TABLE DATA");
    writer.table(2, &["1\n\\", ".", "\n\n", "\n"]);
    assert_eq!(walk_bytes(&writer.bytes).unwrap().rows, 1);
}

#[test]
fn data_that_the_contents_promise_and_that_never_came_is_named() {
    let mut writer = Writer::new(16, 2);
    writer.entry(2, true, "cards", "TABLE DATA");
    writer.entry(3, true, "loans", "TABLE DATA");
    writer.table(2, &["\\.\n\n\n"]);
    let error = walk_bytes(&writer.bytes).unwrap_err().to_string();
    assert!(error.contains("TABLE DATA public.loans"), "{error}");
}

#[rstest]
#[case::twice(&[2, 2])]
#[case::of_no_entry(&[2, 9])]
fn data_that_nobody_promised_is_refused(#[case] blocks: &[i32]) {
    let mut writer = Writer::new(14, 1);
    writer.entry(2, true, "cards", "TABLE DATA");
    for block in blocks {
        writer.table(*block, &["\\.\n\n\n"]);
    }
    assert!(matches!(walk_bytes(&writer.bytes).unwrap_err(), ArchiveError::UnexpectedData(_)));
}

#[rstest]
#[case::later(17)]
#[case::earlier(11)]
fn an_unknown_version_is_refused_by_name(#[case] minor: u8) {
    let error = walk_bytes(&Writer::new(minor, 0).bytes).unwrap_err().to_string();
    assert!(error.contains(&format!("1.{minor}")), "{error}");
}

#[test]
fn a_length_out_of_bounds_is_refused_before_anything_is_reserved() {
    let mut writer = Writer::new(14, 1);
    writer.int(2);
    writer.int(1);
    writer.int(i32::MAX);
    assert!(matches!(walk_bytes(&writer.bytes).unwrap_err(), ArchiveError::Length { .. }));
}

#[test]
fn what_is_no_archive_is_refused() {
    assert!(matches!(walk_bytes(b"-- PostgreSQL dump").unwrap_err(), ArchiveError::NotAnArchive(_)));
    assert!(matches!(walk_bytes(b"").unwrap_err(), ArchiveError::Truncated(_)));
}

#[test]
fn a_sink_that_refuses_ends_the_walk() {
    struct Full;
    impl ArchiveSink for Full {
        fn take(&mut self, _: &[u8], _: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            Err("no room".into())
        }
    }
    assert!(matches!(walk(two_tables(14).as_slice(), &mut Full), Err(ArchiveError::Consume(_))));
}

/// A real archive, whole and cut: `tests/fixtures/archives` has one of each pg_dump that wrote it.
#[test]
fn archives_that_pg_dump_wrote_are_walked_to_their_end() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/archives");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "zst") {
            continue;
        }
        let output = Command::new("zstd").args(["-dcq"]).arg(&path).output().unwrap();
        let walked = walk_bytes(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(walked.bytes, output.stdout.len() as u64);
        assert!(walked.rows > 0, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 1, "no archives in the fixtures");
}

proptest! {
    #[test]
    fn no_bytes_make_the_walk_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), minor in 12_u8..=16) {
        let mut archive = Writer::new(minor, 3).bytes;
        archive.append(&mut bytes);
        prop_assert!(walk_bytes(&archive).is_err() || walk_bytes(&archive).is_ok());
    }

    #[test]
    fn a_flipped_byte_never_panics(position in 0_usize..400, xor in 1_u8..) {
        let mut archive = two_tables(16);
        let position = position % archive.len();
        archive[position] ^= xor;
        prop_assert!(walk_bytes(&archive).is_err() || walk_bytes(&archive).is_ok());
    }
}
