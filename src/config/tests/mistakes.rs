//! What people get wrong, and what they are told. The snapshot is the catalogue: read it when a message changes.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

#[test]
fn every_likely_mistake_is_told_with_its_place_and_what_to_do() {
    let mut catalogue = String::new();
    for path in files_of(&fixture("bad")) {
        let errors = match load(&path) {
            Ok(_) => panic!("{} is meant to be wrong", path.display()),
            Err(errors) => errors,
        };
        assert!(!errors.problems().is_empty(), "{} fails without saying why", path.display());
        writeln!(catalogue, "{errors}\n").unwrap();
    }
    insta::assert_snapshot!(catalogue);
}

#[test]
fn every_error_of_a_readable_file_has_a_line() {
    for path in files_of(&fixture("bad")) {
        for error in load(&path).unwrap_err().problems() {
            assert!(matches!(&error.place, Place::File { line: 1.., column: 1.., .. }), "{error}");
        }
    }
}

#[test]
fn a_literal_secret_in_the_configuration_is_impossible_and_never_repeated() {
    let mut tried = 0;
    for path in files_of(&fixture("bad")) {
        if !std::fs::read_to_string(&path).unwrap().contains("hunter2") {
            continue;
        }
        tried += 1;
        let errors = load(&path).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
    }
    assert_eq!(tried, 8);
}

#[test]
fn a_source_that_two_files_of_a_directory_define_is_told_and_one_that_a_layer_changes_is_meant() {
    let directory = fixture("one_source_in_two_files");
    insta::assert_snapshot!(
        load(&directory).unwrap_err(),
        @"tests/fixtures/config/one_source_in_two_files/20-cards.toml:2:12: sources.accounts.instance: tests/fixtures/config/one_source_in_two_files/20-accounts.toml has a source of this name already, with instance `bank-accounts`; give each source a name of its own, and put what changes one into a `--config` of its own"
    );
    let layers = Config::load(&files_of(&directory), Environment::default()).unwrap();
    let instances: Vec<&str> = layers.policy.sources.values().map(|source| source.instance.as_str()).collect();
    assert_eq!(instances, ["bank-cards"]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let paths = [fixture("absent.toml"), fixture("good/layers/notes.txt"), PathBuf::from("tests/fixtures/config")];
    insta::assert_snapshot!(Config::load(&paths, Environment::default()).unwrap_err(), @r#"
    cannot read `tests/fixtures/config/absent.toml`: No such file or directory (os error 2)
    cannot read `tests/fixtures/config`: the directory holds no `*.toml`
    tests/fixtures/config/good/layers/notes.txt:1:6: not TOML: key with no value, expected `=`; write `key = value`, or `#` before what is a comment
        Only `*.toml` is read.
             ^
    "#);
}

#[test]
fn no_path_at_all_is_told_how_to_give_one() {
    let errors = Config::load(&[], Environment::default()).unwrap_err();
    assert_eq!(errors.to_string(), "no configuration is given; name a file or directory with `--config`");
}

#[test]
fn problems_of_all_files_and_variables_are_told_at_once() {
    let paths = [fixture("bad/misspelt_key.toml"), fixture("bad/size_without_unit.toml")];
    let variables = [("STRONGROOM__DEAMON__GRACE", "1m")].into_iter().collect();
    insta::assert_snapshot!(Config::load(&paths, variables).unwrap_err(), @r#"
    tests/fixtures/config/bad/misspelt_key.toml:13:1: policies.critical.snapshot.shedule: unknown key; did you mean `schedule`?
    tests/fixtures/config/bad/size_without_unit.toml:8:13: destination.part_size: `16` is not a size; write for example "16MiB"
    STRONGROOM__DEAMON__GRACE: no key takes this variable; did you mean `STRONGROOM__DAEMON__GRACE`?
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_damaged_file_gives_a_configuration_or_reasons_and_never_a_panic(
        start in 0_usize..4000,
        length in 0_usize..60,
        inserted in "[\\[\\]={}\"'.,#0-9a-zé\n]{0,3}",
    ) {
        let mut text: Vec<char> = std::fs::read_to_string(fixture("good/every_key.toml")).unwrap().chars().collect();
        let start = start.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, inserted.chars());
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), text.into_iter().collect::<String>()).unwrap();
        if let Err(errors) = load_with(file.path(), &[("LEDGER_PASSWORD", "hunter2")]) {
            prop_assert!(!errors.problems().is_empty());
            prop_assert!(!errors.to_string().contains("fault in strongroom"), "{}", errors);
        }
    }
}

#[test]
fn every_raw_struct_refuses_unknown_keys() {
    for file in ["src/config/raw.rs", "src/config/raw/policies.rs"] {
        let source = std::fs::read_to_string(file).unwrap();
        let mut structs = 0;
        for (index, line) in source.lines().enumerate() {
            if line.contains("struct ") && line.ends_with('{') {
                structs += 1;
                let attribute = source.lines().nth(index - 1).unwrap();
                assert!(attribute.contains("deny_unknown_fields"), "{file}:{}: {line}", index + 1);
            }
        }
        assert!(structs >= 5, "{file} has no structs: it is read wrongly");
    }
}
