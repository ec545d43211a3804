//! One question to a bucket policy: does it refuse whoever comes without TLS?

use serde_json::Value;

/// Whether a policy denies everybody every request for any object of the bucket that does not come over TLS. A statement
/// that is narrower in any way does not count.
pub(super) fn denies_plain_text(policy: &str, bucket: &str) -> bool {
    let policy = serde_json::from_str(policy).unwrap_or(Value::Null);
    several(&policy["Statement"]).iter().any(|statement| {
        statement["Effect"] == "Deny"
            && is_everybody(&statement["Principal"])
            && texts(&statement["Action"]).any(|action| action == "*" || action.eq_ignore_ascii_case("s3:*"))
            && texts(&statement["Resource"]).any(|resource| covers_objects(resource, bucket))
            && is_plain_text(&statement["Condition"])
    })
}

/// IAM takes a single item for a list of one.
fn several(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => std::slice::from_ref(value),
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    several(value).iter().filter_map(Value::as_str)
}

fn is_everybody(principal: &Value) -> bool {
    texts(principal).chain(texts(&principal["AWS"])).any(|who| who == "*")
}

/// An ARN with wildcards that every object of the bucket matches: its part after the colons is `*`, `bucket/*`, or wider.
fn covers_objects(resource: &str, bucket: &str) -> bool {
    let pattern = resource.rsplit(":::").next().unwrap_or(resource);
    // A key that nobody has thought of stands for every one.
    matches(pattern.as_bytes(), format!("{bucket}/\u{1}").as_bytes())
}

/// `*` for any bytes, `?` for any one. After a mismatch the last `*` takes one byte more: earlier ones need not be tried again.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read, mut star) = (0, 0, None);
    while let Some(byte) = text.get(read) {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, read));
                at += 1;
            }
            (Some(wanted), _) if wanted == byte || *wanted == b'?' => (at, read) = (at + 1, read + 1),
            (_, Some((star_at, taken))) => {
                star = Some((star_at, taken + 1));
                (at, read) = (star_at + 1, taken + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Exactly the condition that the connection is not encrypted: a second one would let some through.
fn is_plain_text(condition: &Value) -> bool {
    let Some((operator, keys)) = only_entry(condition) else { return false };
    let Some((key, wanted)) = only_entry(keys) else { return false };
    let is_false = |value: &Value| *value == Value::Bool(false) || value.as_str() == Some("false");
    ["Bool", "BoolIfExists"].contains(&operator)
        && key.eq_ignore_ascii_case("aws:SecureTransport")
        && matches!(several(wanted), [value] if is_false(value))
}

fn only_entry(value: &Value) -> Option<(&str, &Value)> {
    let mut entries = value.as_object()?.iter();
    let (key, value) = entries.next()?;
    entries.next().is_none().then_some((key.as_str(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statement() -> Value {
        json!({
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": ["arn:aws:s3:::bank", "arn:aws:s3:::bank/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        })
    }

    fn denies(statement: &Value) -> bool {
        denies_plain_text(&json!({"Version": "2012-10-17", "Statement": statement}).to_string(), "bank")
    }

    fn with(key: &str, value: Value) -> Value {
        let mut statement = statement();
        statement[key] = value;
        statement
    }

    #[test]
    fn the_statement_counts_in_all_its_spellings() {
        assert!(denies(&statement()));
        assert!(denies(&json!([{"Effect": "Allow"}, statement()])));
        assert!(denies(&with("Principal", json!({"AWS": ["*"]}))));
        assert!(denies(&with("Action", json!(["s3:GetObject", "s3:*"]))));
        assert!(denies(&with("Resource", json!("*"))));
        assert!(denies(&with("Resource", json!("arn:aws-cn:s3:::ban?/*"))));
        assert!(denies(&with("Condition", json!({"Bool": {"AWS:securetransport": [false]}}))));
    }

    #[test]
    fn a_narrower_statement_does_not_count() {
        assert!(!denies(&with("Effect", json!("Allow"))));
        assert!(!denies(&with("Principal", json!({"AWS": "arn:aws:iam::111122223333:root"}))));
        assert!(!denies(&with("Action", json!("s3:PutObject"))));
        assert!(!denies(&with("Resource", json!("arn:aws:s3:::bank"))));
        assert!(!denies(&with("Resource", json!("arn:aws:s3:::bank/strongroom/*"))));
        assert!(!denies(&with("Resource", json!("arn:aws:s3:::bank-other/*"))));
        assert!(!denies(&with("Condition", json!({"Bool": {"aws:SecureTransport": "true"}}))));
        let narrowed = json!({"Bool": {"aws:SecureTransport": "false"}, "StringEquals": {"aws:SourceVpc": "vpc-1"}});
        assert!(!denies(&with("Condition", narrowed)));
        assert!(!denies(&with("Condition", Value::Null)));
        assert!(!denies_plain_text("no JSON", "bank"));
    }
}
