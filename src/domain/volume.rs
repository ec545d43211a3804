//! How much is in a dump.

/// How much is in a dump, as its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes before compression.
    pub uncompressed_bytes: u64,
    /// Bytes of all objects.
    pub stored_bytes: u64,
    /// How it is compressed: only dumps that are compressed alike can be compared by how well that went.
    pub compression: String,
}
