//! Archives as `pg_dump -Fc -Z0` writes them, small and without a server.

/// Writes archives as pg_dump does.
pub(crate) struct Writer {
    minor: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(minor: u8, entries: i32) -> Writer {
        let mut writer = Writer { minor, bytes: b"PGDMP".to_vec() };
        writer.bytes.extend([1, minor, 0, 4, 8, 1]);
        if minor >= 15 {
            writer.bytes.push(0);
        } else {
            writer.int(0);
        }
        for field in [0, 0, 4, 1, 10, 126, 0] {
            writer.int(field);
        }
        for text in ["bank", "15.18", "15.18"] {
            writer.string(Some(text));
        }
        writer.int(entries);
        writer
    }

    pub(crate) fn int(&mut self, value: i32) {
        self.bytes.push(u8::from(value < 0));
        self.bytes.extend(value.unsigned_abs().to_le_bytes());
    }

    pub(crate) fn string(&mut self, text: Option<&str>) {
        match text {
            None => self.int(-1),
            Some(text) => {
                self.int(i32::try_from(text.len()).unwrap());
                self.bytes.extend(text.as_bytes());
            }
        }
    }

    pub(crate) fn entry(&mut self, dump_id: i32, has_data: bool, tag: &str, description: &str) {
        self.int(dump_id);
        self.int(i32::from(has_data));
        for text in ["1259", "16385", tag, description] {
            self.string(Some(text));
        }
        self.int(3);
        for text in [Some(""), Some(""), Some("COPY public.t FROM stdin;\n"), Some("public"), None] {
            self.string(text);
        }
        if self.minor >= 14 {
            self.string(None);
        }
        if self.minor >= 16 {
            self.int(0);
        }
        for text in [Some("owner"), Some("false"), Some("7"), None] {
            self.string(text);
        }
        self.bytes.push(1);
        self.bytes.extend([0; 8]);
    }

    pub(crate) fn table(&mut self, dump_id: i32, chunks: &[&str]) {
        self.bytes.push(1);
        self.int(dump_id);
        for chunk in chunks {
            self.string(Some(chunk));
        }
        self.int(0);
    }
}

/// What zstd frames hold.
pub(crate) fn decompressed(bytes: &[u8]) -> Vec<u8> {
    use async_compression::tokio::bufread::ZstdDecoder;
    use futures_util::FutureExt;
    use tokio::io::AsyncReadExt;
    let mut decoder = ZstdDecoder::new(bytes);
    decoder.multiple_members(true);
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).now_or_never().unwrap().unwrap();
    plain
}

/// A row of such an archive, like no other.
pub(crate) fn row(number: u64) -> String {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{number}\t{noise:016x}{:016x}\n", noise.rotate_left(17).wrapping_mul(noise))
}

/// An archive of one table with so many rows, none like the other.
pub(crate) fn archive_of_rows(rows: u64) -> Vec<u8> {
    let mut writer = Writer::new(14, 1);
    writer.entry(2, true, "t", "TABLE DATA");
    writer.bytes.push(1);
    writer.int(2);
    (0..rows).for_each(|number| writer.string(Some(&row(number))));
    writer.string(Some("\\.\n\n\n"));
    writer.int(0);
    writer.bytes
}
