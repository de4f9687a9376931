//! The target's own answers, which is what a drafter has to guess: asked for once, kept beside the drafter.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use foretoken_model::chat_template::Message;
use futures_util::{StreamExt, stream};
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::admission::Frontend;
use crate::config::TrainChimeraConfig;
use crate::launch::{Grants, Pricing, launch};
use crate::raw_request::{Prompt, RawRequest, RawSampling};
use crate::table::corpus::{Corpus, Record};
use crate::table::tokens::Tokens;

/// Characters of a plain text that the target goes on from.
const OPENING: usize = 200;

/// Writes `num_answers` answers of the target to prompts out of the data, unless they are there already.
pub(super) fn answer(config: &TrainChimeraConfig, num_answers: usize, path: &Path) -> Result<()> {
    if path.exists() {
        eprintln!("{} is there already and stays", path.display());
        return Ok(());
    }
    let prompts = prompts(config, num_answers)?;
    let grants = Grants {
        max_num_queued: config.engine.max_num_seqs,
        ..Grants::default()
    };
    let frontend = launch(&config.engine, grants, Pricing::Measured)?.frontend;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Whole or not at all.
    let unfinished = path.with_extension("unfinished");
    runtime.block_on(write(config, &frontend, prompts, &unfinished))?;
    Ok(fs::rename(unfinished, path)?)
}

async fn write(
    config: &TrainChimeraConfig,
    frontend: &Arc<Frontend>,
    prompts: Vec<Prompt>,
    path: &Path,
) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    let progress = ProgressBar::new(prompts.len() as u64);
    let answers = prompts.into_iter().enumerate().map(|(index, prompt)| {
        let request = request(config, prompt.clone(), index);
        async move {
            let generation = frontend.admit(request).await?;
            Ok::<_, anyhow::Error>(record(prompt, generation.collect().await?.text))
        }
    });
    // In order, so that the same seed writes the same file.
    let mut answers = stream::iter(answers).buffered(config.engine.max_num_seqs);
    while let Some(answer) = answers.next().await {
        writeln!(file, "{}", answer?)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(file.flush()?)
}

fn request(config: &TrainChimeraConfig, prompt: Prompt, index: usize) -> RawRequest {
    RawRequest {
        prompt,
        sampling: RawSampling {
            temperature: Some(config.answer_temperature),
            seed: Some(config.seed.wrapping_add(index as u64)),
            ..RawSampling::default()
        },
        max_tokens: Some(config.answer_tokens),
        ..RawRequest::default()
    }
}

/// Prompt and answer as a record of the data would have them.
fn record(prompt: Prompt, answer: String) -> Value {
    match prompt {
        Prompt::Chat(mut messages) => {
            messages.push(Message::new(ASSISTANT, answer));
            json!({ "messages": messages })
        }
        Prompt::Text(text) => json!({ "text": text + &answer }),
        Prompt::Tokens(_) => json!({ "text": answer }),
    }
}

const ASSISTANT: &str = "assistant";

/// Prompts spread over all records: chats up to one of the assistant's turns, and the beginnings of texts.
fn prompts(config: &TrainChimeraConfig, num_answers: usize) -> Result<Vec<Prompt>> {
    let tokens = Tokens::open(config.engine.model.as_deref())?;
    let is_chat = tokens.is_chat();
    let corpus = Corpus::open(&config.data, &config.texts, tokens)?;
    let mut random = StdRng::seed_from_u64(config.seed);
    let mut chosen = Vec::new();
    let mut num_seen = 0;
    corpus.each_record(|record| {
        let Some(prompt) = prompt(record, is_chat, &mut random) else {
            return;
        };
        num_seen += 1;
        // Every record is as likely to be chosen (Vitter's reservoir sampling).
        match random.random_range(0..num_seen) {
            _ if chosen.len() < num_answers => chosen.push(prompt),
            place if place < num_answers => chosen[place] = prompt,
            _ => {}
        }
    })?;
    if chosen.is_empty() {
        bail!("no record of the data has a prompt in it");
    }
    Ok(chosen)
}

fn prompt(record: Record, is_chat: bool, random: &mut StdRng) -> Option<Prompt> {
    match record {
        Record::Chat(mut messages) if is_chat => {
            let turns: Vec<usize> = (1..messages.len())
                .filter(|&turn| messages[turn].role == ASSISTANT)
                .collect();
            messages.truncate(*turns.get(random.random_range(0..turns.len().max(1)))?);
            Some(Prompt::Chat(messages))
        }
        Record::Chat(_) => None,
        Record::Text(text) => {
            let end = text.char_indices().nth(OPENING);
            let end = end.map_or(text.len(), |(end, _)| end);
            (end > 0).then(|| Prompt::Text(text[..end].to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_ends_where_the_assistant_would_speak() {
        let said = |role: &str| Message::new(role, role);
        let random = &mut StdRng::seed_from_u64(0);
        let chat = || Record::Chat(vec![said("system"), said("user"), said(ASSISTANT)]);
        match prompt(chat(), true, random) {
            Some(Prompt::Chat(messages)) => assert_eq!(messages, [said("system"), said("user")]),
            other => panic!("{other:?}"),
        }
        assert!(prompt(chat(), false, random).is_none());
        assert!(prompt(Record::Chat(vec![said("user")]), true, random).is_none());
        match prompt(Record::Text("ü".repeat(300)), true, random) {
            Some(Prompt::Text(text)) => assert_eq!(text, "ü".repeat(OPENING)),
            other => panic!("{other:?}"),
        }
    }
}
