//! Archives as nobody writes them: whatever the bytes, reading them ends soon, well or by name, and takes no more memory than
//! they do.

use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::testing::archive::Writer;
use crate::testing::fuzz;
use crate::testing::random::Random;

/// What is kept of an entry beside its bytes is at most this many times as much.
const GROWTH_MAX: usize = 40;

/// A small archive of any version, with every kind of entry.
fn small(random: &mut Random) -> Vec<u8> {
    let minor = *random.pick(&[12, 13, 14, 15, 16]);
    let mut writer = Writer::new(minor, 4);
    writer.entry(1, false, "t", "TABLE");
    writer.entry(2, true, "t", "TABLE DATA");
    writer.entry(3, true, "empty", "TABLE DATA");
    writer.entry(4, true, "BLOBS", "BLOBS");
    writer.table(2, &["1\tone\n", "2\ttwo\\\\n\n", "\\.\n\n\n"]);
    writer.table(3, &["\\.\n\n\n"]);
    writer.bytes.push(3);
    for number in [4, 16400] {
        writer.int(number);
    }
    writer.string(Some("large object"));
    for number in [0, 0] {
        writer.int(number);
    }
    writer.bytes
}

/// The head of the archive in the fixtures, and what follows it.
fn golden() -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/archives/pg_dump-15.18.dump.zst");
    Command::new("zstd").args(["-dcq"]).arg(path).output().unwrap().stdout
}

fn weight(toc: &Toc) -> usize {
    let of = |entry: &TocEntry| {
        let texts = [&entry.oid, &entry.tag, &entry.description, &entry.namespace, &entry.copy_statement];
        let texts: usize = texts.iter().map(|text| text.capacity()).sum();
        texts + entry.definition.capacity() + 4 * entry.dependencies.capacity() + size_of::<TocEntry>()
    };
    toc.entries.iter().map(of).sum()
}

/// Reads the bytes in every way that there is.
fn read_all(bytes: &[u8]) {
    if let Ok(head) = read_head(bytes) {
        assert!(head.toc_dat.len() <= GROWTH_MAX * bytes.len());
        assert!(weight(&head.toc) <= GROWTH_MAX * bytes.len());
        let again = read_toc_dat(&head.toc_dat).expect("what we write we read");
        assert_eq!(again, head.toc);
    }
    if let Ok(walked) = walk(bytes, &mut Nowhere) {
        assert_eq!(walked.bytes, bytes.len() as u64, "a good archive is read to its end");
    }
    if let Ok(toc) = read_toc_dat(bytes) {
        assert!(weight(&toc) <= GROWTH_MAX * bytes.len());
    }
}

#[test]
fn mutations_of_small_archives_end_well_or_by_name() {
    fuzz::cases("small", 4_000, |random| {
        let mut bytes = small(random);
        fuzz::mutate(random, &mut bytes);
        read_all(&bytes);
    });
}

#[test]
fn mutations_of_a_real_archive_end_well_or_by_name() {
    let golden = golden();
    let head = read_head(golden.as_slice()).unwrap();
    let contents = golden.get(..head.toc_dat.len() + 4096).unwrap();
    fuzz::cases("golden", 60, |random| {
        let mut bytes = contents.to_vec();
        fuzz::mutate(random, &mut bytes);
        read_all(&bytes);
        let mut bytes = head.toc_dat.clone();
        fuzz::mutate(random, &mut bytes);
        read_all(&bytes);
    });
}

#[test]
fn noise_behind_a_good_beginning_ends_well_or_by_name() {
    fuzz::cases("noise", 4_000, |random| {
        let mut bytes = small(random);
        let kept = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        bytes.truncate(kept);
        bytes.extend(fuzz::bytes(random, 400));
        read_all(&bytes);
    });
}

/// Rows, and parts of them, out of uncompressed data.
#[test]
fn whatever_a_file_of_rows_holds_its_rows_are_counted_or_it_has_no_end() {
    fuzz::cases("rows", 4_000, |random| {
        let rows = random.below(20);
        let mut plain: Vec<u8> = (0..rows).flat_map(|row| format!("{row}\tx\n").into_bytes()).collect();
        plain.extend_from_slice(COPY_END);
        fuzz::mutate(random, &mut plain);
        let counted = crate::dump::rows::Rows::of(plain.as_slice()).count_all();
        if let Ok(count) = counted {
            let text = plain.strip_suffix(COPY_END).expect("only with the end mark");
            assert_eq!(count.bytes, text.len() as u64);
            assert_eq!(count.rows, memchr::memchr_iter(b'\n', text).count() as u64);
        }
    });
}
