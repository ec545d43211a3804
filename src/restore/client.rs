//! What the stock client says: which of its errors do no harm.

use crate::ports::postgres::Exit;

/// Begins each error in what the client writes.
const ERROR: &str = "pg_restore: error: ";
/// What the client says of statements that failed; other errors are about the archive or the connection.
const OF_STATEMENT: &str = "could not execute query: ERROR:";
/// Errors shown at most.
const SHOWN_MAX: usize = 3;

/// What every database has already, and nobody but a superuser may change: `public` and PL/pgSQL. Managed servers give no
/// superuser. And a setting that clients of version 17 make, and older servers do not know.
const BENIGN: [&str; 5] = [
    UNKNOWN_SETTING,
    "schema \"public\" already exists",
    "language \"plpgsql\" already exists",
    "must be owner of extension plpgsql",
    "must be owner of language plpgsql",
];

/// Each connection of the client makes its settings, and not every connection's errors are in the count at its end.
const UNKNOWN_SETTING: &str = "unrecognized configuration parameter \"transaction_timeout\"";

/// The errors of a restore that went well all the same; otherwise those that did harm.
///
/// Only the first line of each error is looked at and shown: what follows it can hold values of rows.
pub(super) fn benign(exit: &Exit) -> Result<Vec<String>, String> {
    if exit.success {
        return Ok(Vec::new());
    }
    // Its connections write without regard for each other: the beginnings of two lines can be one.
    let errors: Vec<&str> = exit.stderr.lines().filter_map(|line| Some(line.trim().split_once(ERROR)?.1)).collect();
    let is_benign =
        |error: &&str| error.starts_with(OF_STATEMENT) && BENIGN.iter().any(|benign| error.ends_with(benign));
    let harmful: Vec<&str> = errors.iter().copied().filter(|error| !is_benign(error)).collect();
    // A client that was killed, or that says nothing that is understood, has not restored everything.
    let counted: Option<usize> =
        exit.stderr.lines().find_map(|line| line.trim().rsplit_once("errors ignored on restore: ")?.1.parse().ok());
    let sure_to_count = errors.iter().filter(|error| !error.ends_with(UNKNOWN_SETTING)).count();
    let all_seen = counted.is_some_and(|counted| (sure_to_count..=errors.len()).contains(&counted));
    if harmful.is_empty() && !errors.is_empty() && all_seen {
        return Ok(errors.into_iter().map(str::to_owned).collect());
    }
    let mut shown: Vec<String> = harmful.iter().take(SHOWN_MAX).map(|error| without_values(error).to_owned()).collect();
    if harmful.len() > SHOWN_MAX {
        shown.push(format!("and {} more errors", harmful.len() - SHOWN_MAX));
    }
    if shown.is_empty() {
        shown.push(format!("it ended with {}", exit.status));
    }
    Err(shown.join("; "))
}

/// An error of COPY quotes the value that it stumbles over in its first line.
fn without_values(error: &str) -> &str {
    match error.split_once(": ERROR:") {
        Some((what, _)) if what.starts_with("COPY failed") => what,
        Some(_) | None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(stderr: &str) -> Exit {
        Exit { success: false, status: "exit status: 1".to_owned(), stderr: stderr.to_owned() }
    }

    #[test]
    fn what_every_database_has_already_does_no_harm() {
        let said = "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 5; 2615 2200 SCHEMA public owner\n\
                    pg_restore: error: could not execute query: ERROR:  schema \"public\" already exists\n\
                    Command was: CREATE SCHEMA public;\npg_restore: warning: errors ignored on restore: 1\n";
        assert_eq!(benign(&exit(said)).unwrap().len(), 1);
        let cut = said.replace("pg_restore: warning: errors ignored on restore: 1\n", "");
        assert!(benign(&exit(&cut)).is_err(), "it did not come to its end");
    }

    #[test]
    fn settings_that_each_connection_makes_need_not_all_be_counted() {
        let unknown = format!("pg_restore: error: {OF_STATEMENT}  {UNKNOWN_SETTING}\n");
        let other = format!("pg_restore: error: {OF_STATEMENT}  schema \"public\" already exists\n");
        let counted = |count: usize| format!("pg_restore: warning: errors ignored on restore: {count}\n");
        assert_eq!(benign(&exit(&format!("{unknown}{unknown}{unknown}{}", counted(1)))).unwrap().len(), 3);
        let torn = format!("pg_restore:{unknown} error: {OF_STATEMENT}  {UNKNOWN_SETTING}\n");
        assert_eq!(benign(&exit(&format!("{torn}{}", counted(1)))).unwrap().len(), 1);
        assert!(benign(&exit(&format!("{unknown}{}", counted(2)))).is_err(), "one was not seen");
        assert!(benign(&exit(&format!("{other}{other}{}", counted(1)))).is_err(), "each of these counts");
    }

    #[test]
    fn whatever_else_does_and_its_details_are_not_shown() {
        let said = "pg_restore: error: could not execute query: ERROR:  could not create unique index \"a_pkey\"\n\
                    DETAIL:  Key (iban)=(DE02) is duplicated.\npg_restore: warning: errors ignored on restore: 1\n";
        let told = benign(&exit(said)).unwrap_err();
        assert_eq!(told, "could not execute query: ERROR:  could not create unique index \"a_pkey\"");
        let of_copy =
            "pg_restore: error: COPY failed for table \"a\": ERROR:  invalid input syntax for type numeric: \"DE02\"\n";
        assert_eq!(benign(&exit(of_copy)).unwrap_err(), "COPY failed for table \"a\"");
        assert_eq!(benign(&exit("")).unwrap_err(), "it ended with exit status: 1");
    }
}
