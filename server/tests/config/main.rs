//! Command line, environment and file, as the binary reads them.

#![cfg(test)]

mod documents;
mod environment;
mod refusals;
mod values;

use std::ffi::OsString;
use std::io::Write;

use foretoken_server::config::{self, Command, GenerateConfig, ServeConfig};
use tempfile::NamedTempFile;

/// Parses a line, split at spaces, and a file if `toml` holds anything.
pub(crate) fn parse(line: &str, toml: &str) -> Result<Command, String> {
    let file = file(toml);
    let mut args = vec![OsString::from("foretoken")];
    args.extend(line.split_whitespace().map(OsString::from));
    if !toml.is_empty() {
        args.extend(["--config".into(), file.path().into()]);
    }
    let mut command = config::parse(args).map_err(|error| error.to_string())?;
    if let Command::Serve(serve) = &mut command {
        serve.config = None;
    }
    Ok(command)
}

pub(crate) fn file(toml: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(toml.as_bytes()).expect("room for it");
    file
}

pub(crate) fn serve(line: &str) -> ServeConfig {
    match parse(line, "") {
        Ok(Command::Serve(config)) => config,
        other => panic!("`{line}`: {other:?}"),
    }
}

pub(crate) fn generate(line: &str) -> GenerateConfig {
    match parse(line, "") {
        Ok(Command::Generate(config)) => config,
        other => panic!("`{line}`: {other:?}"),
    }
}
