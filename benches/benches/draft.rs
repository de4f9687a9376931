//! What a tree of 32 guesses costs, by drafter, by length of the context, and by what happens beside.
//!
//! `cargo bench -p foretoken-benches --bench draft [-- --tokens N]`
//!
//! Contexts are the workloads' text, one token longer at each call, as in a request that decodes. The corpus of `infini`
//! is pieces of the same text, each copied from a random place where the last token of the one before stands: long
//! matches occur, and all that goes on in more than one way goes on in many.
//!
//! The last table is of requests that are drafted for once: the whole prompt is learnt, and forgotten again.
//!
//! In the second table caches are cold: before each call all threads read as much as the carried model weighs, and then
//! one of them alone works for a while, as a step does that samples and commits.

use std::fs::File;
use std::hint::{black_box, spin_loop};
use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use foretoken_draft::infini::{Corpus, SuffixArrayBuilder};
use foretoken_draft::trigram::StaticTable;
use foretoken_draft::{Auto, Context, Costs, Drafter, Finished, Hints, Infini, Lookup, Trigram};
use foretoken_model::{
    BlockTable, Config, MappedFile, ModelSource, SamplingParams, SeqId, Token, Tokenizer,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

const CONTEXTS: [usize; 3] = [512, 2_048, 8_192];
const TEMPERATURES: [f32; 2] = [0.0, 1.0];
const WORKLOADS: [&str; 4] = [
    "novels.txt",
    "spec_bench.jsonl",
    "copy.jsonl",
    "gsm8k.jsonl",
];
const CALLS: usize = 256;
const REPETITIONS: usize = 3;
const DRAFT_TOKENS: usize = 32;
const DOCUMENT: usize = 2_000;
const SHARED_TOKENS: usize = 1 << 18;
const SEQUENCES: [usize; 4] = [1, 2, 4, 16];
const LENGTH: usize = 2_048;
const PROMPTS: [usize; 3] = [16, 64, 256];
/// Tokens between the beginnings of two sequences' texts.
const APART: usize = 400;
const WEIGHTS: usize = 16 << 20;
const PAUSE: Duration = Duration::from_micros(20);

/// Measures the drafters that use no model.
#[derive(Parser)]
struct Options {
    /// Tokens of the corpus
    #[arg(long, default_value_t = 50_000_000)]
    tokens: usize,
    /// Drafters to measure; by default all
    #[arg(long, value_delimiter = ',')]
    drafters: Vec<String>,
    /// Threads that share out sequences; by default as many as there are cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What tokens are tokens of.
struct Vocabulary {
    source: ModelSource,
    tokenizer: Tokenizer,
    size: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let source = ModelSource::demo();
    let vocabulary = Vocabulary {
        tokenizer: Tokenizer::from_bytes(&source.read("tokenizer.json")?)?,
        size: Config::from_json(&source.read("config.json")?)?.vocab_size,
        source,
    };
    let text = vocabulary.text()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("corpus.fts");
    build(&vocabulary, &text, options.tokens, &file)?;

    let infini = || anyhow::Ok(Infini::new(vocabulary.corpus(&file)?));
    let auto = |infini| {
        let trigram = Trigram::new(Some(vocabulary.table()?));
        anyhow::Ok(Auto::new(trigram, Lookup::new(), infini))
    };
    let mut drafters: Vec<(&str, Box<dyn Drafter>)> = vec![
        ("lookup", Box::new(Lookup::new())),
        ("lookup, outputs shared", Box::new(sharing(&text))),
        ("trigram", Box::new(Trigram::new(Some(vocabulary.table()?)))),
        ("infini", Box::new(infini()?)),
        ("auto", Box::new(auto(None)?)),
        ("auto with a corpus", Box::new(auto(Some(infini()?))?)),
    ];
    let wanted = |name: &str| options.drafters.iter().any(|wanted| wanted == name);
    drafters.retain(|&(name, _)| options.drafters.is_empty() || wanted(name));
    let by_length = CONTEXTS.map(|context| Setting {
        context,
        num_sequences: 1,
        is_cold: false,
    });
    let by_sequences = SEQUENCES.map(|num_sequences| Setting {
        context: LENGTH,
        num_sequences,
        is_cold: true,
    });
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads);
    // On a thread of the pool, as the engine is.
    pool.build()?.install(|| {
        println!(
            "\nµs per tree of up to {DRAFT_TOKENS} nodes (mean of {CALLS} calls, best of {REPETITIONS} runs)\n"
        );
        let columns = CONTEXTS.map(|context| format!("{context} tokens"));
        print(&mut drafters, &text, &by_length, &columns)?;
        let num_threads = rayon::current_num_threads();
        println!("\nThe same with cold caches, by sequences that {num_threads} threads draft for, {LENGTH} tokens each\n");
        let columns = SEQUENCES.map(|num_sequences| format!("{num_sequences} sequences"));
        print(&mut drafters, &text, &by_sequences, &columns)?;
        print_first(&mut drafters, &text)
    })
}

/// What requests of several lengths cost that are drafted for once.
fn print_first(drafters: &mut [(&str, Box<dyn Drafter>)], text: &[Token]) -> Result<()> {
    println!("\nThe first tree of a request and its end, by its prompt, one thread\n");
    println!("| drafter | 16 tokens | 64 tokens | 256 tokens |\n| --- | --: | --: | --: |");
    let sampling = SamplingParams {
        temperature: 1.0,
        ..SamplingParams::greedy()
    };
    for (name, drafter) in drafters {
        let mut row = format!("| {name} |");
        for length in PROMPTS {
            let mut best = Duration::MAX;
            for _ in 0..REPETITIONS {
                let started = Instant::now();
                for call in 0..CALLS {
                    let context = context(call, &text[7 * call..][..length], &sampling);
                    drafter.propose(&[context])?;
                    drafter.forget(context.seq);
                }
                best = best.min(started.elapsed() / CALLS as u32);
            }
            row += &format!(" {:.1} |", best.as_secs_f64() * 1e6);
        }
        println!("{row}");
    }
    Ok(())
}

fn context<'a>(number: usize, tokens: &'a [Token], sampling: &'a SamplingParams) -> Context<'a> {
    Context {
        seq: SeqId(number as u64),
        tokens,
        table: BlockTable::EMPTY,
        sampling,
        max_draft_tokens: DRAFT_TOKENS,
        max_draft_depth: DRAFT_TOKENS,
        costs: Costs::default(),
        hints: Hints::default(),
    }
}

/// What is done again and again.
#[derive(Clone, Copy)]
struct Setting {
    /// Tokens of each sequence at first.
    context: usize,
    num_sequences: usize,
    is_cold: bool,
}

/// One row for each drafter and temperature, one column for each setting.
fn print(
    drafters: &mut [(&str, Box<dyn Drafter>)],
    text: &[Token],
    settings: &[Setting],
    columns: &[String],
) -> Result<()> {
    println!("| drafter | T | {} | nodes |", columns.join(" | "));
    println!("| --- | --: |{} --: |", " --: |".repeat(columns.len()));
    for (name, drafter) in drafters {
        for temperature in TEMPERATURES {
            let mut row = format!("| {name} | {temperature} |");
            let mut nodes = 0.0;
            for setting in settings {
                let (time, mean_nodes) = fastest(drafter.as_mut(), text, setting, temperature)?;
                row += &format!(" {:.1} |", time.as_secs_f64() * 1e6);
                nodes = mean_nodes;
            }
            println!("{row} {nodes:.1} |");
        }
    }
    Ok(())
}

/// A lookup that has as many outputs to share as it may keep.
fn sharing(text: &[Token]) -> Lookup {
    let mut lookup = Lookup::sharing(SHARED_TOKENS);
    let outputs = text.chunks(DOCUMENT).cycle();
    for output in outputs.take(SHARED_TOKENS / DOCUMENT) {
        lookup.finished(&Finished {
            tokens: output,
            num_prompt_tokens: 1,
            cache_salt: None,
        });
    }
    lookup
}

impl Vocabulary {
    /// Text to be continued.
    fn text(&self) -> Result<Vec<Token>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let mut text = Vec::new();
        for name in WORKLOADS {
            let content = std::fs::read_to_string(folder.join(name)).context(name)?;
            text.extend(self.tokenizer.encode(&content, false)?);
        }
        let longest = CONTEXTS[CONTEXTS.len() - 1];
        let needed = longest.max(LENGTH + APART * SEQUENCES[SEQUENCES.len() - 1]) + CALLS;
        ensure!(
            text.len() >= needed,
            "{} tokens of text, {needed} needed",
            text.len()
        );
        Ok(text)
    }

    fn table(&self) -> Result<StaticTable> {
        let bytes = self.source.read("trigram.ftt")?;
        Ok(StaticTable::new(
            bytes,
            self.size,
            self.tokenizer.fingerprint(),
        )?)
    }

    fn corpus(&self, path: &Path) -> Result<Corpus> {
        let started = Instant::now();
        let file = MappedFile::open(path)?;
        let corpus = Corpus::new(file, self.size, self.tokenizer.fingerprint())?;
        let opened = started.elapsed();
        corpus.verify()?;
        let (opened, verified) = (opened.as_secs_f64() * 1e3, started.elapsed().as_secs_f64());
        eprintln!("opened in {opened:.2} ms, verified in {verified:.2} s");
        Ok(corpus)
    }
}

/// Writes a corpus of `num_tokens` made of `text`.
fn build(vocabulary: &Vocabulary, text: &[Token], num_tokens: usize, path: &Path) -> Result<()> {
    let mut builder = SuffixArrayBuilder::new(vocabulary.size, vocabulary.tokenizer.fingerprint())?;
    let mut places = vec![Vec::new(); vocabulary.size];
    for (place, &token) in text[..text.len() - 1].iter().enumerate() {
        places[token as usize].push(place);
    }
    let mut random = SmallRng::seed_from_u64(7);
    let mut document = vec![text[0]];
    while builder.num_tokens() < num_tokens {
        let mut place = random.random_range(0..text.len() - 1);
        while document.len() < DOCUMENT {
            document.push(text[place + 1]);
            place += 1;
            let ways = &places[text[place] as usize];
            if place + 1 == text.len() || ways.is_empty() {
                place = random.random_range(0..text.len() - 1);
            } else if random.random_ratio(1, 6) {
                place = ways[random.random_range(0..ways.len())];
            }
        }
        builder.push_document(&document)?;
        document.clear();
    }
    let started = Instant::now();
    let num_tokens = builder.num_tokens();
    builder.write(&mut BufWriter::new(File::create(path)?))?;
    let (seconds, bytes) = (started.elapsed().as_secs_f64(), path.metadata()?.len());
    eprintln!("{num_tokens} tokens sorted and written in {seconds:.1} s, {bytes} bytes");
    Ok(())
}

/// The time of a call and the size of a tree.
fn fastest(
    drafter: &mut dyn Drafter,
    text: &[Token],
    setting: &Setting,
    temperature: f32,
) -> Result<(Duration, f64)> {
    let mut best = (Duration::MAX, 0.0);
    for _ in 0..REPETITIONS {
        let run = measure(drafter, text, setting, temperature)?;
        if run.0 < best.0 {
            best = run;
        }
    }
    Ok(best)
}

/// Mean time of calls and nodes of trees at growing contexts, the prompts' own left out.
fn measure(
    drafter: &mut dyn Drafter,
    text: &[Token],
    setting: &Setting,
    temperature: f32,
) -> Result<(Duration, f64)> {
    let sampling = SamplingParams {
        temperature,
        seed: 7,
        ..SamplingParams::greedy()
    };
    let weights = vec![1_u64; if setting.is_cold { WEIGHTS / 8 } else { 0 }];
    let (mut time, mut nodes) = (Duration::ZERO, 0);
    for call in 0..=CALLS {
        let context = |number: usize| {
            let tokens = &text[number * APART..][..setting.context + call];
            context(number, tokens, &sampling)
        };
        let contexts: Vec<Context<'_>> = (0..setting.num_sequences).map(context).collect();
        if setting.is_cold {
            step(&weights);
        }
        let started = Instant::now();
        let trees = drafter.propose(&contexts)?;
        if call > 0 {
            time += started.elapsed();
            nodes += trees
                .iter()
                .map(|tree| tree.num_draft_tokens())
                .sum::<usize>();
        }
    }
    for number in 0..setting.num_sequences {
        drafter.forget(SeqId(number as u64));
    }
    let num_trees = CALLS * setting.num_sequences;
    Ok((time / CALLS as u32, nodes as f64 / num_trees as f64))
}

/// What a step does to caches and threads.
fn step(weights: &[u64]) {
    black_box(weights.par_iter().sum::<u64>());
    let started = Instant::now();
    while started.elapsed() < PAUSE {
        spin_loop();
    }
}
