//! The configuration file: TOML whose keys are the options of `serve`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, Command};
use toml::{Table, Value};

use super::ServeConfig;

/// Arguments for what the file states and neither command line nor environment does.
///
/// They go through clap like typed ones, so that one definition checks a value wherever it stands.
pub(super) fn arguments(path: &Path, matches: &ArgMatches) -> Result<Vec<OsString>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let table: Table =
        toml::from_str(&text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let options = ServeConfig::augment_args(Command::new("serve"));
    let mut arguments = Vec::new();
    for (key, value) in table {
        let flag = key.replace('_', "-");
        let option = options
            .get_arguments()
            .find(|option| option.get_long() == Some(&flag) && flag != "config")
            .ok_or_else(|| format!("`{key}` is not an option that a file can set"))?;
        let rivals = ONE_THING
            .iter()
            .filter(|pair| pair.contains(&flag.as_str()));
        if is_set(matches, &flag) || rivals.flatten().any(|rival| is_set(matches, rival)) {
            continue;
        }
        let values = match value {
            Value::Array(values) if matches!(option.get_action(), ArgAction::Append) => values,
            value => vec![value],
        };
        for value in values {
            let text = text_of(&flag, value).map_err(|problem| format!("`{key}` {problem}"))?;
            arguments.push(format!("--{flag}={text}").into());
        }
    }
    Ok(arguments)
}

/// True if command line or environment state an option.
fn is_set(matches: &ArgMatches, flag: &str) -> bool {
    matches!(
        matches.value_source(&flag.replace('-', "_")),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// Options that are about one thing: whoever states one elsewhere does not want the file's word on any of them.
const ONE_THING: [[&str; 2]; 3] = [
    ["speculative-config", "drafter"],
    ["speculative-config", "max-draft-tokens"],
    ["enable-prefix-caching", "no-enable-prefix-caching"],
];

/// A value as it would be typed.
fn text_of(flag: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Table(table) if flag == "speculative-config" => {
            serde_json::to_string(&table).map_err(|error| error.to_string())
        }
        other => Err(format!(
            "is a TOML {}, expected a string, a number, true or false",
            other.type_str()
        )),
    }
}
