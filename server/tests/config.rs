//! Command line, environment and file, as the binary reads them.

use std::ffi::OsString;
use std::io::Write;

use clap::{Arg, Args};
use foretoken_server::config::{
    self, ChimeraTree, Command, DeviceChoice, DtypeChoice, GenerateConfig, LogFormat,
    QuantizationChoice, ServeConfig, TrigramSearch,
};
use tempfile::NamedTempFile;

/// Parses a line, split at spaces, and a file if `toml` holds anything.
fn parse(line: &str, toml: &str) -> Result<Command, String> {
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

fn file(toml: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(toml.as_bytes()).expect("room for it");
    file
}

fn serve(line: &str) -> ServeConfig {
    match parse(line, "") {
        Ok(Command::Serve(config)) => config,
        other => panic!("`{line}`: {other:?}"),
    }
}

fn generate(line: &str) -> GenerateConfig {
    match parse(line, "") {
        Ok(Command::Generate(config)) => config,
        other => panic!("`{line}`: {other:?}"),
    }
}

#[test]
fn defaults() {
    let config = serve("");
    assert_eq!(config.host, "127.0.0.1");
    assert_eq!((config.port, config.grpc_port), (8080, 50051));
    assert_eq!((config.served_model_name, config.api_key), (vec![], None));
    assert_eq!(config.max_num_queued_reqs, 256);
    assert_eq!(
        (config.request_timeout, config.shutdown_timeout),
        (None, 30)
    );
    assert_eq!(config.log.to_string(), "info");
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.otlp_traces_endpoint, None);
    let engine = config.engine;
    assert_eq!((engine.model, engine.dtype), (None, DtypeChoice::Auto));
    assert_eq!(engine.device, DeviceChoice::Auto);
    assert_eq!(engine.gpu_memory_utilization, 0.9);
    assert_eq!((engine.max_model_len, engine.threads), (None, None));
    assert_eq!(engine.max_num_seqs, 16);
    assert_eq!(engine.max_num_batched_tokens, 512);
    assert_eq!(engine.kv_cache_memory_bytes, None);
    assert!(engine.enable_prefix_caching);
    let drafts = engine.speculation;
    assert_eq!(drafts.drafter, "auto");
    assert_eq!((drafts.trigram_table, drafts.infini_corpus), (None, None));
    assert_eq!(drafts.draft_model, None);
    assert_eq!(drafts.trigram_search, TrigramSearch::BestFirst);
    assert_eq!(
        (drafts.chimera, drafts.chimera_tree),
        (None, ChimeraTree::Dynamic)
    );
    assert_eq!((drafts.max_draft_tokens, drafts.min_draft_tokens), (16, 0));
    assert_eq!(drafts.max_draft_depth, 63);
}

#[test]
fn generate_takes_sampling_and_engine_options() {
    let config = generate("generate -p hi");
    assert_eq!((config.prompt.as_str(), config.max_tokens), ("hi", 256));
    assert_eq!((config.raw, config.show_drafts), (false, false));
    assert_eq!((config.temperature, config.seed), (None, None));

    let config = generate(
        "generate --prompt hi --raw --show-drafts --max-tokens 5 --temperature 0.5 --top-p 0.9 \
         --top-k -1 --min-p 0.1 --seed 7 --dtype float32 --quantization int8 --drafter lookup",
    );
    assert_eq!((config.raw, config.show_drafts), (true, true));
    assert_eq!((config.max_tokens, config.seed), (5, Some(7)));
    assert_eq!((config.temperature, config.top_p), (Some(0.5), Some(0.9)));
    assert_eq!((config.top_k, config.min_p), (Some(-1), Some(0.1)));
    assert_eq!(config.engine.dtype, DtypeChoice::Float32);
    assert_eq!(config.engine.quantization, Some(QuantizationChoice::Int8));
    assert_eq!(config.engine.speculation.drafter, "lookup");
}

#[test]
fn lines_and_files_that_mean_the_same() {
    let ngram = r#"{"method":"ngram","num_speculative_tokens":5}"#;
    let draft_model = r#"{"method":"draft_model","model":"a/b","num_speculative_tokens":5}"#;
    let lines = [
        ("serve --port 9", "--port 9"),
        ("--served-model-name a b", "--served-model-name a,b"),
        (&format!("--speculative-config {ngram}"), LOOKUP_5),
        (&format!("--speculative-config {draft_model}"), MODEL_5),
        ("--speculative-config {}", ""),
        ("--enable-prefix-caching", ""),
        ("--enable-prefix-caching=false", NO_CACHE),
        ("--no-enable-prefix-caching=false", ""),
        (
            "--enable-prefix-caching --no-enable-prefix-caching",
            NO_CACHE,
        ),
        ("--no-enable-prefix-caching --enable-prefix-caching", ""),
        ("--share-outputs=false", ""),
        ("--share-outputs", "--share-outputs=true"),
        ("--device cuda", "--device cuda:0"),
        ("--kv-cache-memory-bytes 4GiB", MEMORY_4G),
        ("--kv-cache-memory-bytes=4G", MEMORY_4G),
    ];
    let files = [
        ("# nothing", ""),
        ("port = 9\nthreads = 4", "--port 9 --threads 4"),
        ("port = '9'", "--port 9"),
        ("max_num_seqs = 4", "--max-num-seqs 4"),
        ("served-model-name = 'a'", "--served-model-name a"),
        ("served-model-name = ['a', 'b']", "--served-model-name a b"),
        (&format!("speculative-config = '{ngram}'"), LOOKUP_5),
        (NGRAM_TABLE, LOOKUP_5),
        ("enable-prefix-caching = false", NO_CACHE),
        ("no-enable-prefix-caching = true", NO_CACHE),
        ("kv-cache-memory-bytes = 4294967296", MEMORY_4G),
        ("kv-cache-memory-bytes = '4 GiB'", MEMORY_4G),
    ];
    let both = [
        ("--port 1", "port = 9\nthreads = 2", "--port 1 --threads 2"),
        ("serve", "host = '::'", "--host ::"),
        ("--port 8080", "port = 9", ""),
        ("--port 1", "port = 'overridden'", "--port 1"),
        (
            "--served-model-name c",
            "served-model-name = ['a']",
            "--served-model-name c",
        ),
        (
            "--max-draft-tokens 2",
            "drafter = 'none'",
            "--drafter none --max-draft-tokens 2",
        ),
        ("--drafter lookup", NGRAM_TABLE, "--drafter lookup"),
        ("--max-draft-tokens 2", NGRAM_TABLE, "--max-draft-tokens 2"),
        (
            &format!("--speculative-config {ngram}"),
            "drafter = 'none'\nmax-draft-tokens = 9",
            LOOKUP_5,
        ),
        (NO_CACHE, "enable-prefix-caching = true", NO_CACHE),
        (
            "--enable-prefix-caching",
            "no-enable-prefix-caching = true",
            "",
        ),
    ];
    let lines = lines.map(|(line, same)| (line, "", same));
    let files = files.map(|(toml, same)| ("", toml, same));
    for (line, toml, same) in lines.into_iter().chain(files).chain(both) {
        assert_eq!(parse(line, toml), parse(same, ""), "`{line}` with `{toml}`");
        assert!(parse(same, "").is_ok(), "`{same}`");
    }
}

const NO_CACHE: &str = "--no-enable-prefix-caching";
const MEMORY_4G: &str = "--kv-cache-memory-bytes 4294967296";
const MODEL_5: &str = "--drafter model --draft-model a/b --max-draft-tokens 5";
const LOOKUP_5: &str = "--drafter lookup --max-draft-tokens 5";
const NGRAM_TABLE: &str = "[speculative-config]\nmethod = 'ngram'\nnum_speculative_tokens = 5";

#[test]
fn refused_lines_name_the_option_and_what_is_wrong() {
    let cases = [
        // line, what the message holds
        ("nonsense", "nonsense"),
        ("--port 9 serve", "serve | --port"),
        ("generate", "--prompt"),
        ("generate -p x --max-tokens 0", "--max-tokens | 0"),
        ("table build --input a.txt", "--output"),
        ("table build --output t --input", "--input"),
        (
            "table build --output t --input a --memory-limit 1K",
            "--memory-limit | 1024 bytes | 1048576",
        ),
        (
            "table build --output t --input a --max-successors 0",
            "--max-successors | 0",
        ),
        ("table info t.ftt --tokenizer x", "--show"),
        ("--port 65536", "--port | 65536 | 65535"),
        ("--port tcp://10.0.0.1:80", "--port | enableServiceLinks"),
        ("--host=", "--host"),
        ("--api-key=", "--api-key"),
        ("--dtype int4", "int4 | bfloat16"),
        ("--quantization int4", "int4 | int8"),
        ("--device gpu", "gpu | cuda:N"),
        ("--device cuda:", "cuda:N"),
        ("--device cuda:-1", "cuda:-1"),
        ("--gpu-memory-utilization 0", "above 0"),
        ("--gpu-memory-utilization 1.5", "up to 1"),
        ("--gpu-memory-utilization NaN", "NaN"),
        (
            "--drafter magic",
            "magic | auto, trigram, lookup, infini, chimera, model, none",
        ),
        ("--drafter infini", "infini | --infini-corpus"),
        ("--drafter model", "model | --draft-model"),
        ("--max-num-seqs 0", "--max-num-seqs | 0"),
        ("--max-num-seqs 18446744073709551615", "--max-num-seqs"),
        ("--threads 0", "--threads"),
        ("--max-draft-tokens 64", "--max-draft-tokens | 0..=63"),
        ("--max-draft-depth 0", "--max-draft-depth | 1..=63"),
        ("--min-draft-tokens 17", "is 17 | which is 16"),
        (
            "--kv-cache-memory-bytes 4GB2",
            "--kv-cache-memory-bytes | 4GB2 | 4GiB",
        ),
        ("--kv-cache-memory-bytes 0.5G", "0.5G"),
        ("--kv-cache-memory-bytes GiB", "'GiB'"),
        ("--kv-cache-memory-bytes 99999999TiB", "99999999TiB"),
        ("--enable-prefix-caching=perhaps", "perhaps"),
        ("--request-timeout 0", "--request-timeout | 0"),
        ("--shutdown-timeout -1", "-1"),
        ("--log a=b=c", "--log"),
        ("--log-format xml", "xml | text, json"),
        ("--otlp-traces-endpoint localhost:4317", "http://HOST:PORT"),
        ("--otlp-traces-endpoint ftp://a:1", "https://HOST:PORT"),
        ("--config /not/there", "/not/there | No such file"),
    ];
    let json_cases = [
        ("{}x", "not a JSON object"),
        ("[]", "not a JSON object"),
        (
            r#"{"method":"eagle3"}"#,
            "eagle3 | auto, trigram, lookup, infini, chimera, model, none",
        ),
        (r#"{"num_speculative_tokens":64}"#, "64 | 0 to 63"),
        (r#"{"num_speculative_tokens":-1}"#, "-1 | 0 to 63"),
        (
            r#"{"prompt_lookup_max":4}"#,
            "`prompt_lookup_max` | longest",
        ),
        (r#"{"model":5}"#, "`model` | 5 | folder"),
        (
            r#"{"method":"draft_model"}"#,
            "the drafter model | --draft-model DIR",
        ),
        (
            r#"{"quantization":"int8"}"#,
            "`quantization` | as the model itself",
        ),
        ("{} --draft-model a", "--speculative-config | --draft-model"),
        (r#"{"metod":"ngram"}"#, "`metod` | unknown | `method`"),
        ("{} --drafter none", "--speculative-config | --drafter"),
        ("{} --max-draft-tokens 1", "--max-draft-tokens"),
    ];
    for (line, parts) in cases {
        assert_refused(line, "", parts);
    }
    for (json, parts) in json_cases {
        assert_refused(&format!("--speculative-config {json}"), "", parts);
    }
}

#[test]
fn refused_files_name_the_key_and_what_is_wrong() {
    let cases = [
        // file, what the message holds
        ("port 9", "line 1 | port 9"),
        ("prot = 9", "`prot` | not an option"),
        ("config = 'x'", "`config` | not an option"),
        ("help = 'x'", "`help` | not an option"),
        ("port = 2.5", "--port | '2.5' | see also"),
        ("port = true", "--port | 'true' | see also"),
        ("port = [1, 2]", "`port` | array"),
        (
            "served-model-name = ['a', [2]]",
            "`served-model-name` | array",
        ),
        ("model.path = 'x'", "`model` | table"),
        ("port = -1", "--port | -1 | see also"),
        ("threads = 4\n'threads' = 5", "duplicate key"),
        (
            "max-num-seqs = 4\nmax_num_seqs = 5",
            "--max-num-seqs | see also",
        ),
        (
            "drafter = 'none'\nspeculative-config = {}",
            "--drafter | see also",
        ),
    ];
    for (toml, parts) in cases {
        assert_refused("", toml, parts);
    }
}

fn assert_refused(line: &str, toml: &str, parts: &str) {
    let message = parse(line, toml).expect_err(&format!("`{line}` with `{toml}`"));
    for part in parts.split(" | ") {
        assert!(
            message.contains(part),
            "`{line}` with `{toml}`: no `{part}` in {message}"
        );
    }
}

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
    let documented = include_str!("../../deploy/foretoken.toml");
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
