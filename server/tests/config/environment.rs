//! Where values are from, as a process sees it.

use crate::{file, serve};

#[test]
fn environment_stands_between_command_line_and_file() {
    // The complaint about 63 guesses at least says how many may be made at most, and ends every run.
    let cases = [
        // environment, line, file, what the complaint says
        ("", "", "", "which is 16"),
        ("MAX_DRAFT_TOKENS=3", "", "", "which is 3"),
        ("MAX_DRAFT_TOKENS=3", "serve", "", "which is 3"),
        ("MAX_DRAFT_TOKENS=3", "generate -p x", "", "which is 3"),
        (
            "MAX_DRAFT_TOKENS=3",
            "--max-draft-tokens 2",
            "",
            "which is 2",
        ),
        (
            "MAX_DRAFT_TOKENS=3",
            "",
            "max-draft-tokens = 4",
            "which is 3",
        ),
        (
            "PORT=1",
            "",
            "port = 'x'\nmax-draft-tokens = 4",
            "which is 4",
        ),
        (
            r#"SPECULATIVE_CONFIG={"num_speculative_tokens":5}"#,
            "",
            "",
            "which is 5",
        ),
        ("SERVED_MODEL_NAME=a,b API_KEY=x", "", "", "which is 16"),
        ("MAX_NUM_SEQS=many", "", "", "'many' for '--max-num-seqs"),
        ("API_KEY=", "", "", "--api-key"),
    ];
    for (environment, line, toml, complaint) in cases {
        let file = file(toml);
        let mut command = foretoken();
        for (name, value) in environment
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
        {
            command.env(format!("FORETOKEN_{name}"), value);
        }
        if !toml.is_empty() {
            command.env("FORETOKEN_CONFIG", file.path());
        }
        command
            .args(line.split_whitespace())
            .args(["--min-draft-tokens", "63"]);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{environment} `{line}`: {stderr}"
        );
        assert!(
            stderr.contains(complaint),
            "{environment} `{line}`: {stderr}"
        );
    }
}

/// The binary with nothing in its environment.
fn foretoken() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_foretoken"));
    command.env_clear();
    command
}

#[test]
fn the_api_key_stays_secret() {
    let config = serve("--api-key hush");
    let key = config.api_key.as_ref().unwrap();
    assert!(key.accepts(Some(b"Bearer hush")));
    assert!(!format!("{config:?}").contains("hush"));

    let help = foretoken()
        .arg("--help")
        .env("FORETOKEN_API_KEY", "hush")
        .output()
        .unwrap();
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(
        help.contains("--api-key") && !help.contains("hush"),
        "{help}"
    );
}
