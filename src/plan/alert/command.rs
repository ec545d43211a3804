//! The commands that a person types, as a shell takes them.

use crate::domain::alert::AlertKey;
use crate::domain::id::Kind;

/// How commands begin that are shown to be copied; the last one stands for [`backup_command`].
const BEGINNINGS: [&str; 3] = ["strongroom ", "aws ", "{backup}"];

/// The commands that stand between backticks in a text.
pub(super) fn commands_in(text: &str) -> Vec<&str> {
    // What stands between two backticks is every second part.
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|part| BEGINNINGS.iter().any(|beginning| part.starts_with(beginning))).collect()
}

/// The command that makes now what a key is about.
pub(super) fn backup_command(key: &AlertKey) -> String {
    let source = key.source.as_ref().map_or_else(|| "SOURCE".to_owned(), ToString::to_string);
    let is_dump = key.detail.as_deref() == Some(Kind::Dump.as_str());
    match (&key.database, is_dump) {
        (Some(database), _) => {
            format!("strongroom backup dump {source} --database {}", shell_word(database.as_str()))
        }
        (None, true) => format!("strongroom backup dump {source}"),
        (None, false) => format!("strongroom backup snapshot {source}"),
    }
}

/// A text as a shell takes it for one word, whatever is in it.
fn shell_word(text: &str) -> String {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if is_plain && !text.starts_with('-') { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("accounts", "accounts")]
    #[case::with_a_space("my books", "'my books'")]
    #[case::an_option("-f", "'-f'")]
    #[case::a_quote("it's", r"'it'\''s'")]
    #[case::a_command("x; rm -rf ~", "'x; rm -rf ~'")]
    fn what_is_copied_into_a_shell_is_one_word(#[case] name: &str, #[case] word: &str) {
        assert_eq!(shell_word(name), word);
    }

    #[test]
    fn only_commands_are_taken_out_of_a_text() {
        let text = "set `rds.force_ssl`, then `strongroom status`, or `aws s3api get-bucket-versioning`";
        assert_eq!(commands_in(text), ["strongroom status", "aws s3api get-bucket-versioning"]);
    }
}
