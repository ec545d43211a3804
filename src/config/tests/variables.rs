//! The overlay of environment variables.

use rstest::rstest;
use secrecy::ExposeSecret;

use super::*;

fn minimal_with(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load_with(fixture("good/minimal.toml"), variables)
}

#[test]
fn variables_win_over_files_and_take_the_type_of_their_key() {
    let config = minimal_with(&[
        ("STRONGROOM__DESTINATION__BUCKET", "other-bucket"),
        ("STRONGROOM__DESTINATION__PARTS_IN_FLIGHT", "2"),
        ("STRONGROOM__POLICIES__WEEKLY__SNAPSHOT__SUSPEND", "true"),
        ("STRONGROOM__DESTINATION__EXPECTED_OWNER", "111122223333"),
    ])
    .unwrap();
    assert_eq!(config.destination.bucket, "other-bucket");
    assert_eq!(config.destination.parts_in_flight, 2);
    assert_eq!(config.destination.expected_owner.as_deref(), Some("111122223333"));
    assert!(config.policy.obligations().all(|(_, obligation)| obligation.suspended));
}

#[test]
fn names_match_without_case_and_with_underscores_for_hyphens() {
    let variables = [("strongroom__sources__accounts_staging__suspend", "true")];
    let config = load_with("config/fleet.toml", &variables).unwrap();
    let source = &config.policy.sources[&"accounts-staging".parse().unwrap()];
    assert!(source.obligations[0].suspended);
}

#[test]
fn other_variables_are_none_of_our_business() {
    // Kubernetes makes the first for a service of our name; the second is an option of the command line.
    let config = minimal_with(&[
        ("STRONGROOM_PORT", "tcp://10.0.0.1:9187"),
        ("STRONGROOM_CONFIG", "/etc/strongroom"),
        ("PATH", "/usr/bin"),
        ("", ""),
        ("ÄÖÜÄÖÜÄÖÜ", ""),
    ]);
    assert!(config.is_ok());
}

#[test]
fn a_variable_that_lacks_underscores_is_noted() {
    let config =
        minimal_with(&[("STRONGROOM_DAEMON_LISTEN", "0.0.0.0:9187"), ("STRONGROOM_DAEMON_PORT", "1")]).unwrap();
    let notes: Vec<String> = config.notes.iter().map(ToString::to_string).collect();
    let expected = "daemon.listen: `STRONGROOM_DAEMON_LISTEN` is not read; did you mean `STRONGROOM__DAEMON__LISTEN`?";
    assert_eq!(notes, [expected]);
}

#[rstest]
#[case(
    "STRONGROOM__DEAMON__LISTEN",
    "0.0.0.0:1",
    "no key takes this variable; did you mean `STRONGROOM__DAEMON__LISTEN`?"
)]
#[case(
    "STRONGROOM__DAEMON__LISTN",
    "0.0.0.0:1",
    "no key takes this variable; did you mean `STRONGROOM__DAEMON__LISTEN`?"
)]
#[case(
    "STRONGROOM__POSTGRES__PORT",
    "5432",
    "no key takes this variable; in place of `PORT` there may be `BIN_DIR`, `CA_FILE`, `CONNECT_TIMEOUT`"
)]
#[case(
    "STRONGROOM__SOURCES__CARDS__INSTANCE",
    "x",
    "no key takes this variable; a variable changes what files define, and they define no `sources.cards`"
)]
#[case("STRONGROOM__DAEMON__LISTEN__PORT", "1", "no key takes this variable; `daemon.listen` takes a string")]
#[case("STRONGROOM__DAEMON", "x", "a table cannot be set by a variable; append `__` and the name of a key in it")]
#[case("STRONGROOM__", "x", "in place of `` there may be")]
#[case("STRONGROOM__SOURCES__ACCOUNTS__DATABASES", "a,b", "a list cannot be set by a variable; write it in a file")]
#[case("STRONGROOM__SOURCES__ACCOUNTS__DATABASES__0", "a", "a list cannot be set by a variable; write it in a file")]
#[case("STRONGROOM__LIMITS__CONCURRENT_RUNS", "many", "expected an integer from 1 to 1000")]
#[case("STRONGROOM__LIMITS__CONCURRENT_RUNS", "0", "expected an integer from 1 to 1000")]
#[case("STRONGROOM__POLICIES__WEEKLY__SNAPSHOT__KEEP_LAST", "off", "expected an integer from 1 on")]
#[case("STRONGROOM__POLICIES__WEEKLY__SNAPSHOT__SUSPEND", "yes", "expected true or false")]
#[case("STRONGROOM__DESTINATION__REPLICA__MODE", "mirror", "expected one of `replicated`, `copied`")]
#[case(
    "STRONGROOM__DESTINATION__PART_SIZE",
    "16",
    "destination.part_size: `16` is not a size; write for example \"16MiB\""
)]
#[case("STRONGROOM__SOURCES__ACCOUNTS__CREDENTIALS__PASSWORD", "x", "no key takes this variable")]
fn a_variable_that_sets_nothing_is_an_error_that_names_it(#[case] name: &str, #[case] value: &str, #[case] told: &str) {
    let errors = minimal_with(&[(name, value)]).unwrap_err();
    let message = errors.problems().iter().map(ToString::to_string).find(|message| message.starts_with(name)).unwrap();
    assert!(message.contains(told), "{message}");
}

#[test]
fn values_of_variables_are_not_repeated() {
    let variables = [
        ("STRONGROOM__SOURCES__ACCOUNTS__CREDENTIALS__PASSWORD", "hunter2"),
        ("STRONGROOM__LIMITS__CONCURRENT_RUNS", "hunter2"),
    ];
    let environment: Environment = variables.into_iter().collect();
    assert!(!format!("{environment:?}").contains("hunter2"));
    let errors = minimal_with(&variables).unwrap_err();
    assert_eq!(errors.problems().len(), 2);
    assert!(!format!("{errors}{errors:?}").contains("hunter2"));
}

#[test]
fn a_password_from_the_environment_is_kept_and_not_shown() {
    let config = load_with(fixture("good/every_key.toml"), &[("LEDGER_PASSWORD", "hunter2")]).unwrap();
    let LoginRef::Password { user, password } = &config.logins[&"ledger".parse().unwrap()] else {
        panic!("{:?}", config.logins)
    };
    assert_eq!((user.as_str(), password.expose_secret()), ("backup", "hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!config.effective_toml().unwrap().contains("hunter2"));
}

#[rstest]
#[case(&[])]
#[case(&[("LEDGER_PASSWORD", "")])]
fn a_password_variable_that_is_not_set_is_an_error(#[case] variables: &[(&str, &str)]) {
    let errors = load_with(fixture("good/every_key.toml"), variables).unwrap_err();
    assert_eq!(errors.problems().len(), 1, "{errors}");
    assert_eq!(errors.problems()[0].key, "sources.ledger.credentials.password_env");
}
