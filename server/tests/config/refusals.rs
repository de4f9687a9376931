//! What is refused, and in which words.

use crate::parse;

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
        ("--allowed-origins a.example", "without a path, or *"),
        ("--allowed-origins https://a.example/", "without a path"),
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
