//! What is said of the options: help, and the documented file.

use clap::{Arg, Args};
use foretoken_server::config::ServeConfig;

use crate::parse;

/// The server's options as they are defined.
fn options() -> Vec<Arg> {
    let command = ServeConfig::augment_args(clap::Command::new("serve"));
    command.get_arguments().cloned().collect()
}

#[test]
fn every_option_has_help_and_an_environment_variable() {
    let help = parse("--help", "").unwrap_err();
    for option in options() {
        let flag = option.get_long().unwrap();
        let variable = format!("FORETOKEN_{}", flag.replace('-', "_").to_uppercase());
        assert_eq!(option.get_env(), Some(variable.as_ref()), "{flag}");
        assert!(option.get_help_heading().is_some(), "{flag}");
        let shown = [" ", "[=<BOOL>]"].map(|end| format!("--{flag}{end}"));
        assert!(
            shown.iter().any(|shown| help.contains(shown)),
            "{flag}: {help}"
        );
    }
}

#[test]
fn the_documented_file_states_every_option_and_its_default() {
    let documented = include_str!("../../../deploy/foretoken.toml");
    assert_eq!(parse("", documented), parse("", ""));

    // `#key = value` is an option, `# text` is prose.
    let settings: Vec<(&str, &str)> = (documented.lines())
        .filter(|line| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1)
        .map(|line| (line[1..].split_once(" = ").unwrap().0, &line[1..]))
        .collect();
    for &(key, setting) in &settings {
        let config = parse("", setting).unwrap_or_else(|error| panic!("{setting}: {error}"));
        let options = options();
        let option = options
            .iter()
            .find(|option| option.get_long() == Some(key))
            .unwrap();
        let is_default = config == parse("", "").unwrap();
        assert_eq!(
            is_default,
            !option.get_default_values().is_empty(),
            "{setting}"
        );
    }
    let mut documented: Vec<&str> = settings.iter().map(|&(key, _)| key).collect();
    let options = options();
    let mut defined: Vec<&str> = options.iter().filter_map(Arg::get_long).collect();
    defined.retain(|&flag| flag != "config");
    documented.sort_unstable();
    defined.sort_unstable();
    assert_eq!(documented, defined);
}
