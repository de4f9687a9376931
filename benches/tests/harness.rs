//! The program from its command line to its report, against a server in this process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use clap::Parser;
use foretoken_benches::harness::report::Report;
use foretoken_benches::harness::server::LocalServer;
use foretoken_benches::harness::{self, Cli};
use foretoken_server::config::EngineOptions;

/// Runs `foretoken-bench` with `arguments`, words apart by spaces, and reads its report.
async fn bench(arguments: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().to_str().unwrap();
    let words = ["foretoken-bench", "--output", output]
        .into_iter()
        .chain(arguments.split(' '));
    harness::run(Cli::try_parse_from(words).unwrap())
        .await
        .unwrap();
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("<h2>"), "{page}");
    Report::read(&[folder.path().join("report.json")]).unwrap()
}

#[derive(Parser)]
struct Engine {
    #[command(flatten)]
    options: EngineOptions,
}

#[tokio::test(flavor = "multi_thread")]
async fn load_counts_every_request_on_every_wire() {
    let engine = Engine::parse_from(["", "--threads", "2"]).options;
    let server = LocalServer::start(&engine, 64).await.unwrap();
    let trace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace.csv");
    let lines = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                 2024-01-01 00:00:00.0,30,4\n2024-01-01 00:00:00.1,40,9\n2024-01-01 00:00:00.2,5000,1\n";
    std::fs::write(&trace, lines).unwrap();

    let (http, grpc) = (&server.http, &server.grpc);
    for (options, num_completed, num_rejected) in [
        (
            format!("--url {http} --request-rate 200 --num-prompts 12"),
            12,
            0,
        ),
        (
            format!("--url {http} --endpoint completions --max-concurrency 3 --num-prompts 7"),
            7,
            0,
        ),
        (
            format!(
                "--url {grpc} --request-rate 100 --ramp-up-end-rps 300 --burstiness 0.5 --num-prompts 9"
            ),
            9,
            0,
        ),
        (
            format!(
                "--url {grpc} --workload shared-prefix --prefix-len 60 --input-len 20 --num-prompts 6"
            ),
            6,
            0,
        ),
        // The third request of the trace does not fit the context.
        (
            format!("--url {http} --workload {} --speedup 2", trace.display()),
            2,
            1,
        ),
    ] {
        let report = bench(&format!(
            "load --output-len 8 --ignore-eos --goodput e2el:600000 {options}"
        ))
        .await;
        let [load] = &report.loads[..] else {
            panic!("{options}")
        };
        let summary = &load.summary;
        assert_eq!(
            summary.num_completed, num_completed,
            "{options}: {:?}",
            summary.failures
        );
        assert_eq!(
            summary
                .failures
                .values()
                .map(|failures| failures.count)
                .sum::<usize>(),
            num_rejected,
            "{options}"
        );
        assert_eq!(summary.ttft_ms.count, num_completed as u64, "{options}");
        assert_eq!(
            summary.request_goodput,
            Some(summary.request_throughput),
            "{options}"
        );
        if num_rejected == 0 {
            assert_eq!(summary.num_output_tokens, 8 * num_completed, "{options}");
        } else {
            assert_eq!(summary.num_output_tokens, 4 + 9, "{options}");
            assert_eq!(
                summary.failures["rejected"].count, num_rejected,
                "{options}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_say_the_same() {
    let report = bench(
        "ab --in-process --threads 2 --workload dialogue,copy --concurrency 1,3 --pairs 2 --block-seconds 0 \
         --output-len 6 --temperature 1",
    )
    .await;
    let cells: Vec<_> = report
        .comparisons
        .iter()
        .map(|cell| (cell.workload.as_str(), cell.concurrency))
        .collect();
    assert_eq!(
        cells,
        [("dialogue", 1), ("dialogue", 3), ("copy", 1), ("copy", 3)]
    );
    for cell in &report.comparisons {
        let num_requests = 2 * 2 * cell.concurrency as usize;
        assert_eq!(cell.lossless.num_compared, num_requests);
        assert_eq!(cell.lossless.num_different, 0, "{}", cell.lossless);
        assert_eq!(
            cell.summary_a.acceptance.total().num_draft_tokens,
            0,
            "A was to be plain decoding"
        );
        assert!(
            cell.throughput
                .is_some_and(|interval| interval.median > 0.0)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_soak_finds_nothing() {
    // How fast refusals are is not for a test on a busy machine to say.
    let report = bench(
        "soak --in-process --threads 2 --minutes 0.02 --distinct 8 --output-len 8 --max-num-seqs 2 \
         --max-num-queued-reqs 2 --max-refusal-ms 1000000",
    )
    .await;
    let [soak] = &report.soaks[..] else {
        panic!("one soak, one result")
    };
    assert_eq!(soak.violations, [""; 0]);
    assert!(soak.num_completed > 0 && soak.num_texts > 0, "{soak:?}");
}
