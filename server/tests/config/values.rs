//! What options come to.

use foretoken_server::config::{
    ChimeraTree, DeviceChoice, DtypeChoice, LogFormat, QuantizationChoice, TrigramSearch,
};

use crate::{generate, parse, serve};

#[test]
fn defaults() {
    let config = serve("");
    assert_eq!(config.host, "127.0.0.1");
    assert_eq!((config.port, config.grpc_port), (8080, 50051));
    assert_eq!((config.served_model_name, config.api_key), (vec![], None));
    assert!(config.allowed_origins.is_empty());
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
    assert!(!engine.enforce_eager);
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
        (
            "--allowed-origins http://a:1 *",
            "--allowed-origins http://a:1,*",
        ),
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
