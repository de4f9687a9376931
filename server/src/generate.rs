//! `foretoken generate`: one prompt answered on the terminal, its guesses shown if asked for.

use std::io::Write;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use foretoken_model::chat_template::Message;

use crate::admission::Frontend;
use crate::config::{GenerateConfig, LogFormat};
use crate::generation::Chunk;
use crate::launch::{Grants, Pricing, launch};
use crate::log;
use crate::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};
use crate::request::Stats;

/// Tokens that are decoded before anything is timed.
const NUM_WARM_TOKENS: u32 = 4;

/// Prints the answer as it comes. With `--show-drafts`, tokens are coloured by who guessed them, and the same request
/// is decoded plainly afterwards for comparison.
pub fn generate(config: GenerateConfig) -> Result<()> {
    log::init(&config.log, LogFormat::Text, None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let grants = Grants {
        max_num_queued: 1,
        ..Grants::default()
    };
    let launched = launch(&config.engine, grants, Pricing::Guessed)?;
    runtime.block_on(async {
        answer(&config, &launched.frontend).await?;
        launched.end().await.context("the engine has failed")
    })
}

async fn answer(config: &GenerateConfig, frontend: &Arc<Frontend>) -> Result<()> {
    let mut request = request(config);
    if config.show_drafts {
        warm_up(frontend, &request).await?;
    }
    let mut generation = frontend.admit(request.clone()).await?;
    request.sampling.seed = Some(generation.seed);
    let mut out = anstream::stdout().lock();
    let mut text = String::new();
    let mut num_tokens = 0;
    let mut stats = Stats::default();
    while let Some(chunk) = generation.next().await {
        let chunk = chunk?;
        match config.show_drafts {
            true => write_coloured(&mut out, &chunk)?,
            false => write!(out, "{}", chunk.text)?,
        }
        out.flush()?;
        text.push_str(&chunk.text);
        num_tokens += chunk.tokens.len();
        stats = chunk.stats;
    }
    writeln!(out)?;
    if config.show_drafts {
        request.speculation.drafter = Some("none".to_owned());
        let plain = frontend
            .admit(request)
            .await?
            .collect()
            .await
            .context("plain decoding")?;
        writeln!(out)?;
        write_summary(&mut out, num_tokens, &stats, &plain.stats)?;
        let same = if plain.text == text {
            "the same text"
        } else {
            "ANOTHER TEXT, which is a bug"
        };
        writeln!(out, "seed {}: plain decoding says {same}", generation.seed)?;
    }
    Ok(())
}

/// Touches what the first answer would be slow for, since it is compared with the second.
async fn warm_up(frontend: &Arc<Frontend>, request: &RawRequest) -> Result<()> {
    let mut request = request.clone();
    request.max_tokens = Some(NUM_WARM_TOKENS);
    request.speculation.drafter = Some("none".to_owned());
    let answer = frontend.admit(request).await?.collect().await;
    answer.context("the first tokens").map(drop)
}

fn request(config: &GenerateConfig) -> RawRequest {
    let prompt = match config.raw {
        true => Prompt::Text(config.prompt.clone()),
        false => Prompt::Chat(vec![Message::new("user", &config.prompt)]),
    };
    RawRequest {
        prompt,
        sampling: RawSampling {
            temperature: config.temperature,
            top_k: config.top_k,
            top_p: config.top_p,
            min_p: config.min_p,
            seed: config.seed,
            ..RawSampling::default()
        },
        max_tokens: Some(config.max_tokens),
        speculation: RawSpeculation::default(),
        ..RawRequest::default()
    }
}

/// Each drafter has its colour; what the model had to say itself has none.
fn style(source: Option<&str>) -> Style {
    match source {
        None => Style::new(),
        Some("trigram") => AnsiColor::Green.on_default(),
        Some("lookup") => AnsiColor::Cyan.on_default(),
        Some("infini") => AnsiColor::Yellow.on_default(),
        Some("chimera") => AnsiColor::Red.on_default(),
        Some("model") => AnsiColor::Blue.on_default(),
        Some(_) => AnsiColor::Magenta.on_default(),
    }
}

fn write_coloured(out: &mut impl Write, chunk: &Chunk) -> std::io::Result<()> {
    let mut text = chunk.text.as_str();
    for (emitted, place) in chunk.tokens.iter().zip(&chunk.places) {
        let (piece, rest) = text.split_at(place.num_bytes);
        let style = style(emitted.source);
        write!(out, "{style}{piece}{style:#}")?;
        text = rest;
    }
    Ok(())
}

fn write_summary(
    out: &mut impl Write,
    num_tokens: usize,
    stats: &Stats,
    plain: &Stats,
) -> std::io::Result<()> {
    for (name, meaning) in [
        ("trigram", "guessed by trigram"),
        ("lookup", "guessed by lookup"),
        ("infini", "guessed by infini"),
        ("chimera", "guessed by chimera"),
        ("model", "guessed by model"),
    ] {
        let style = style(Some(name));
        write!(out, "{style}{meaning}{style:#}   ")?;
    }
    writeln!(out, "said by the model alone\n")?;
    writeln!(
        out,
        "{num_tokens} tokens in {} steps, plain decoding took {}",
        stats.num_steps, plain.num_steps
    )?;
    writeln!(
        out,
        "{} of {} guesses were right, {:.2} tokens per step",
        stats.num_accepted_tokens,
        stats.num_draft_tokens,
        num_tokens as f64 / stats.num_steps.max(1) as f64
    )?;
    if let (Some(drafted), Some(undrafted)) = (stats.decode_speed(), plain.decode_speed()) {
        let ratio = drafted / undrafted;
        writeln!(
            out,
            "{drafted:.0} tokens/s, plain decoding {undrafted:.0}: {ratio:.2} times as fast"
        )?;
    }
    Ok(())
}
