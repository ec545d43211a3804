//! Logins that dumps are made with: whether the next dump could be.

use jiff::{SignedDuration, Timestamp};

use super::super::SourcePolicy;
use super::super::finding::{Check, Finding, Severity};
use crate::domain::dump_login::DumpLogin;
use crate::domain::id::DatabaseName;
use crate::domain::inventory::{Observed, Unseen};

/// A password that ends within this time has to be seen to.
const ENDS_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// And within this one now.
const ENDS_NOW: SignedDuration = SignedDuration::from_hours(3 * 24);

/// Findings about the login of a source in the databases in which it was tried.
#[must_use]
pub fn login_findings<'a>(
    source: &SourcePolicy,
    tried: impl Iterator<Item = (&'a DatabaseName, &'a Observed<DumpLogin>)>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut tell = |severity, check, text: String| {
        let finding = Finding { severity, check, source: Some(source.id.clone()), text };
        // The login is the same in all of its databases.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    for (database, facts) in tried {
        let DumpLogin { valid_until, hidden_tables, hidden_large_objects } = match facts {
            Ok(facts) => facts,
            Err(Unseen(why)) => {
                let text = format!("nobody can log in to database {database} as dumps do: {why}");
                tell(Severity::Warning, Check::DumpLogin, text);
                continue;
            }
        };
        if let Some(until) = valid_until.filter(|until| until.duration_since(now) <= ENDS_SOON) {
            let severity = if until.duration_since(now) <= ENDS_NOW { Severity::Critical } else { Severity::Warning };
            let text = format!(
                "the password of the login that dumps are made with is valid until {until}: no dump can be made after that"
            );
            tell(severity, Check::LoginExpiry, text);
        }
        if !hidden_tables.is_empty() {
            let text = format!(
                "row-level security hides rows of database {database} from the login that dumps are made with, in {}: its dump \
                 will be refused; give the role BYPASSRLS",
                hidden_tables.join(", ")
            );
            tell(Severity::Warning, Check::DumpRights, text);
        }
        if *hidden_large_objects > 0 {
            let text = format!(
                "the login that dumps are made with may not read {hidden_large_objects} large objects of database {database}: its \
                 dump will be refused; GRANT SELECT ON LARGE OBJECT, or make the role a member of their owner"
            );
            tell(Severity::Warning, Check::DumpRights, text);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::{now, policy};

    fn in_days(days: i64) -> Option<Timestamp> {
        Some(now() + SignedDuration::from_hours(24 * days))
    }

    fn tables() -> Vec<String> {
        vec!["bank.salaries".to_owned(), "bank.notes".to_owned()]
    }

    #[rstest]
    #[case::for_ever(Ok(DumpLogin::default()), None)]
    #[case::for_long(Ok(DumpLogin { valid_until: in_days(15), ..DumpLogin::default() }), None)]
    #[case::ends_soon(
        Ok(DumpLogin { valid_until: in_days(14), ..DumpLogin::default() }),
        Some((Severity::Warning, Check::LoginExpiry, "valid until 2026-12-07T12:00:00Z"))
    )]
    #[case::ends_now(
        Ok(DumpLogin { valid_until: in_days(3), ..DumpLogin::default() }),
        Some((Severity::Critical, Check::LoginExpiry, "valid until 2026-11-26T12:00:00Z"))
    )]
    #[case::has_ended(
        Ok(DumpLogin { valid_until: in_days(-1), ..DumpLogin::default() }),
        Some((Severity::Critical, Check::LoginExpiry, "no dump can be made"))
    )]
    #[case::hidden_rows(
        Ok(DumpLogin { hidden_tables: tables(), ..DumpLogin::default() }),
        Some((Severity::Warning, Check::DumpRights, "in bank.salaries, bank.notes: its dump"))
    )]
    #[case::hidden_objects(
        Ok(DumpLogin { hidden_large_objects: 7, ..DumpLogin::default() }),
        Some((Severity::Warning, Check::DumpRights, "may not read 7 large objects of database accounts"))
    )]
    #[case::refused(
        Err(Unseen("password authentication failed".to_owned())),
        Some((Severity::Warning, Check::DumpLogin, "database accounts as dumps do: password authentication failed"))
    )]
    fn whatever_would_make_the_next_dump_fail_is_told_before(
        #[case] facts: Observed<DumpLogin>,
        #[case] expected: Option<(Severity, Check, &str)>,
    ) {
        let policy = policy(&[("accounts", &["accounts"])]);
        let source = policy.sources.values().next().unwrap();
        let found = login_findings(source, std::iter::once((&source.databases[0], &facts)), now());
        let told = found.iter().map(|finding| (finding.severity, finding.check)).collect::<Vec<_>>();
        assert_eq!(told, expected.map(|(severity, check, _)| (severity, check)).into_iter().collect::<Vec<_>>());
        if let (Some(finding), Some((_, _, text))) = (found.first(), expected) {
            assert!(finding.text.contains(text), "{}", finding.text);
        }
    }
}
