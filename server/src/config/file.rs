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
        if matches!(
            matches.value_source(option.get_id().as_str()),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        ) {
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

/// A value as it would be typed.
fn text_of(flag: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Table(table) if flag == "speculative-config" => {
            serde_json::to_string(&table).map_err(|error| error.to_string())
        }
        other => Err(format!(
            "is a TOML {}, expected a string or a whole number",
            other.type_str()
        )),
    }
}
