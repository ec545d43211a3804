//! Query strings and percent signs, as far as AWS clients use them.

/// Decoded name and value pairs, in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(raw: &str) -> Self {
        Self::pairs(raw, decode)
    }

    /// The body of a query-protocol request, where a plus sign is a space.
    pub(crate) fn parse_form(raw: &str) -> Self {
        Self::pairs(raw, |part| decode(&part.replace('+', " ")))
    }

    fn pairs(raw: &str, decode: impl Fn(&str) -> String) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        };
        Self(raw.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Values whose names start with `prefix`: how the query protocol writes a list.
    pub(crate) fn list(&self, prefix: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, value)| value.as_str()).collect()
    }
}

pub(crate) fn decode(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match escaped {
            Some(byte) => (&after[2..], bytes.push(byte)),
            None => (after, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As `encoding-type=url` wants keys in listings.
pub(crate) fn encode(raw: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    raw.bytes().map(one).collect()
}
