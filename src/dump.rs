//! The dump pipeline: from the archive that `pg_dump` writes into a pipe to one checked object in the store.
//!
//! ```text
//! pg_dump -Fc -Z0 ──pipe──▶ archive::walk ──▶ zstd ──▶ SHA-256, CRC64NVME ──▶ parts ──▶ multipart upload
//!                            one thread that may block                 bounded     async
//! ```
//! The archive is read as it flows: every table's end is seen, and its rows are counted. Nothing is visible in the store
//! before the process has ended well, the archive has come to its end, and the store has been asked what it has.

pub mod archive;
pub mod bandwidth;
mod check_stored;
mod compress;
pub mod governor;
pub mod memory;
pub mod parallel;
pub mod parts;
pub mod quoting;
pub mod read_back;
pub mod replica;
pub mod row_meter;
pub mod rows;
mod stream;

pub use check_stored::{Sent, check_stored, put_new};
pub use stream::{Archive, ArchiveRequest, DumpError, stream_archive};

/// Name of the archive of the engine `pg_dump` in a run's directory.
pub const ARCHIVE: &str = "archive.dump.zst";
/// Name of the roles and settings in a run's directory.
pub const GLOBALS: &str = "globals.sql";

/// Bytes in hex, as manifests have them.
#[must_use]
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
