//! The command line as a script meets it: help, exit codes, and what goes to which stream.

use std::process::{Command, Output};

use clap::CommandFactory;
use rstest::rstest;
use strongroom::cli::Cli;

use crate::source::{files, root};

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
#[case::first("strongroom.toml", 0)]
#[case::demo("demo.toml", 0)]
#[case::with_keys_for_later("fleet.toml", 3)]
fn the_sample_configurations_load(#[case] name: &str, #[case] code: i32) {
    let path = root().join("config").join(name);
    let output = strongroom(&["--config", &path.to_string_lossy(), "check"]);
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn no_sample_configuration_is_forgotten() {
    let files = files(&["config"], &["toml"]);
    let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["config/demo.toml", "config/fleet.toml", "config/strongroom.toml"], "add it to the test above");
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
