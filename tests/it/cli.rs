//! The command line as a script meets it: help, exit codes, and what goes to which stream.

use std::process::{Command, Output};

use clap::CommandFactory;
use rstest::rstest;
use strongroom::cli::Cli;

use crate::source::root;

/// Runs the binary in an empty environment: a variable of the developer's would show up in the help.
pub(crate) fn strongroom(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom")).args(arguments).env_clear().output();
    output.expect("the binary was built together with this test")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("all output is UTF-8")
}

/// The sample configuration.
fn sample() -> String {
    root().join("config/strongroom.toml").to_string_lossy().into_owned()
}

#[test]
fn the_help_of_every_command_is_a_contract() {
    let mut help = String::new();
    for path in commands(&Cli::command(), &[]) {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = strongroom(&arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        help.push_str(&format!("$ strongroom {}\n{}\n", arguments.join(" "), text(&output.stdout)));
    }
    insta::assert_snapshot!(help);
}

/// Every command as the words that call it, the program itself first.
fn commands(command: &clap::Command, path: &[String]) -> Vec<Vec<String>> {
    let mut all = vec![path.to_vec()];
    for below in command.get_subcommands() {
        let path: Vec<String> = path.iter().cloned().chain([below.get_name().to_owned()]).collect();
        all.extend(commands(below, &path));
    }
    all
}

#[rstest]
#[case::no_command(&[])]
#[case::unknown_command(&["backups"])]
#[case::unknown_option(&["list", "--jsn"])]
#[case::backup_of_what(&["backup"])]
#[case::missing_file(&["--config", "/nowhere/strongroom.toml", "check"])]
#[case::unknown_log_format(&["--log-format", "xml", "check"])]
fn usage_errors_end_with_2_and_nothing_on_stdout(#[case] arguments: &[&str]) {
    let output = strongroom(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert_ne!(text(&output.stderr), "", "it must say what is wrong");
}

#[rstest]
#[case::list(&["list", "acounts"])]
#[case::backup(&["backup", "dump", "acounts"])]
fn a_source_that_does_not_exist_is_a_usage_error(#[case] command: &[&str]) {
    let sample = sample();
    let output = strongroom(&[&["--config", sample.as_str()], command].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("no source is called `acounts`"), "{}", text(&output.stderr));
}

#[rstest]
#[case::good("config/strongroom.toml", 0)]
#[case::with_a_finding("config/fleet.toml", 3)]
#[case::wrong("tests/fixtures/config/bad/misspelt_key.toml", 2)]
fn a_check_for_programs_is_one_document_on_stdout_and_nothing_else(#[case] path: &str, #[case] code: i32) {
    let path = root().join(path).to_string_lossy().into_owned();
    let output = strongroom(&["--config", &path, "check", "--format", "json"]);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("stdout is one document");
    let told = |list: &str| said[list].as_array().map(Vec::len);
    assert_eq!((told("problems"), told("findings")), (Some(usize::from(code == 2)), Some(usize::from(code == 3))));
}

#[test]
fn a_check_for_github_says_on_stdout_what_is_wrong_where() {
    let path = root().join("tests/fixtures/config/bad/misspelt_key.toml").to_string_lossy().into_owned();
    let output = strongroom(&["--config", &path, "check", "--format", "github"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let said = "policies.critical.snapshot.shedule: unknown key; did you mean `schedule`?";
    let expected = format!("::error file={path},line=13,col=1,title=strongroom check::{said}\n");
    assert_eq!(text(&output.stdout), expected, "the path of the working copy has no `:` and no `,`");
}

#[rstest]
#[case::version(&["--version"], concat!("strongroom ", env!("CARGO_PKG_VERSION")))]
#[case::completions(&["completions", "bash"], "_strongroom()")]
#[case::schema(&["config", "schema"], "\"installation\"")]
fn what_needs_no_configuration_works_without_one(#[case] arguments: &[&str], #[case] expected: &str) {
    let output = strongroom(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(expected), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
}
