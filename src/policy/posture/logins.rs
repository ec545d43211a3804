//! Logins that dumps are made with: whether the next dump could be.

use jiff::{SignedDuration, Timestamp};

use super::super::SourcePolicy;
use super::super::finding::{Check, Finding, Severity};
use crate::domain::dump_login::{DumpLogin, Hidden};
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
    let tell = |findings: &mut Vec<Finding>, severity, check, text: String| {
        let finding = Finding { severity, check, source: Some(source.id.clone()), text };
        // The login is the same in all of its databases.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    for (database, facts) in tried {
        let DumpLogin { valid_until, hidden } = match facts {
            Ok(facts) => facts,
            Err(Unseen(why)) => {
                let text = format!("nobody can log in to database {database} as dumps do: {why}");
                tell(&mut findings, Severity::Warning, Check::DumpLogin, text);
                continue;
            }
        };
        if let Some(until) = valid_until.filter(|until| until.duration_since(now) <= ENDS_SOON) {
            let severity = if until.duration_since(now) <= ENDS_NOW { Severity::Critical } else { Severity::Warning };
            let text = format!(
                "the password of the login that dumps are made with is valid until {until}: no dump can be made after that"
            );
            tell(&mut findings, severity, Check::LoginExpiry, text);
        }
        let Hidden { forbidden, rows_of, large_objects } = match hidden {
            Ok(hidden) => hidden,
            Err(Unseen(why)) => {
                let text =
                    format!("source {}: what database {database} hides from its dumps is not seen: {why}", source.id);
                let check = Check::ProtectionUnseen;
                findings.push(Finding { severity: Severity::Info, check, source: None, text });
                continue;
            }
        };
        if !forbidden.is_empty() {
            let text = format!(
                "the login that dumps are made with may not read {} of database {database}: its dump will be refused; make the role \
                 a member of pg_read_all_data",
                forbidden.join(", ")
            );
            tell(&mut findings, Severity::Warning, Check::DumpRights, text);
        }
        if !rows_of.is_empty() {
            let text = format!(
                "row-level security hides rows of database {database} from the login that dumps are made with, in {}: its dump \
                 will be refused; give the role BYPASSRLS, or make it a member of their owner",
                rows_of.join(", ")
            );
            tell(&mut findings, Severity::Warning, Check::DumpRights, text);
        }
        if *large_objects {
            let text = format!(
                "the login that dumps are made with may not read all large objects of database {database}: its dump will be \
                 refused; GRANT SELECT ON LARGE OBJECT, or make the role a member of their owner"
            );
            tell(&mut findings, Severity::Warning, Check::DumpRights, text);
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

    fn valid(days: i64) -> Observed<DumpLogin> {
        Ok(DumpLogin { valid_until: in_days(days), hidden: Ok(Hidden::default()) })
    }

    fn hides(hidden: Hidden) -> Observed<DumpLogin> {
        Ok(DumpLogin { valid_until: None, hidden: Ok(hidden) })
    }

    #[rstest]
    #[case::nothing_is_wrong(hides(Hidden::default()), None)]
    #[case::for_long(valid(15), None)]
    #[case::ends_soon(valid(14), Some((Severity::Warning, Check::LoginExpiry, "valid until 2026-12-07T12:00:00Z")))]
    #[case::ends_now(valid(3), Some((Severity::Critical, Check::LoginExpiry, "valid until 2026-11-26T12:00:00Z")))]
    #[case::has_ended(valid(-1), Some((Severity::Critical, Check::LoginExpiry, "no dump can be made")))]
    #[case::forbidden(
        hides(Hidden { forbidden: tables(), ..Hidden::default() }),
        Some((Severity::Warning, Check::DumpRights, "may not read bank.salaries, bank.notes of database accounts"))
    )]
    #[case::hidden_rows(
        hides(Hidden { rows_of: tables(), ..Hidden::default() }),
        Some((Severity::Warning, Check::DumpRights, "in bank.salaries, bank.notes: its dump"))
    )]
    #[case::hidden_objects(
        hides(Hidden { large_objects: true, ..Hidden::default() }),
        Some((Severity::Warning, Check::DumpRights, "may not read all large objects of database accounts"))
    )]
    #[case::not_told(
        Ok(DumpLogin { valid_until: None, hidden: Err(Unseen("canceling statement".to_owned())) }),
        Some((Severity::Info, Check::ProtectionUnseen, "canceling statement"))
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
