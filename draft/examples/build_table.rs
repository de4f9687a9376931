//! Builds the static table of the drafter `trigram` for a model, out of texts.
//!
//! ```text
//! cargo run --release -p foretoken-draft --example build_table -- \
//!     --model model/demo --output model/demo/trigram.ftt dialogues.jsonl questions.jsonl stories.txt
//! ```
//!
//! A `.jsonl` file holds one document per line: `{"messages": [{"role", "content"}]}`, `{"question", "answer"}`,
//! `{"instruction", "input", "output"}` or `{"text"}`. The first three are rendered by the model's chat template; it
//! asks for a next turn at the end, which adds the beginning of a turn that no table is asked about. Any other file is
//! plain text, one document or several with lines of `<|endoftext|>` between. A text starts with the model's BOS token.
//!
//! The table serves the model with exactly this `tokenizer.json`. Build it from texts like those that the model writes:
//! its own answers, what it was trained on, or what its users ask about. All counts are held in memory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use foretoken_draft::trigram::{Pruning, StaticTable, TableBuilder};
use foretoken_model::chat_template::{ChatTemplate, Message};
use foretoken_model::{Config, ModelSource, Token, Tokenizer};
use serde::Deserialize;

/// What stands between the documents of a plain text.
const SEPARATOR: &str = "<|endoftext|>";

/// Builds the static table of the drafter `trigram`.
#[derive(Parser)]
struct Args {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// The file to write.
    #[arg(long)]
    output: PathBuf,
    /// How often a successor of two tokens must have been seen.
    #[arg(long, default_value_t = 2)]
    min_pair_count: u32,
    /// How often a successor of one token must have been seen.
    #[arg(long, default_value_t = 2)]
    min_other_count: u32,
    /// Characters that are read of a text: a few books would outweigh many pages.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    max_chars: usize,
    /// Texts, `.jsonl` or plain.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// One line of a `.jsonl` file.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a line has `messages`, `question` and `answer`, `instruction` and `output`, or `text`"
)]
enum Document {
    Chat {
        messages: Vec<Message>,
    },
    Question {
        question: String,
        answer: String,
    },
    Instruction {
        instruction: String,
        #[serde(default)]
        input: String,
        output: String,
    },
    Text {
        text: String,
    },
}

/// What turns documents into tokens.
struct Reader {
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
    bos: Option<Token>,
    max_chars: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let model = ModelSource::Directory(args.model);
    let vocab_size = Config::from_json(&model.read("config.json")?)?.vocab_size;
    let reader = Reader::new(&model, args.max_chars)?;
    let fingerprint = reader.tokenizer.fingerprint();
    let mut builder = TableBuilder::new(vocab_size, fingerprint)?;
    for path in &args.files {
        let mut num_tokens = 0;
        let mut num_documents = 0;
        reader.each_document(path, |tokens| {
            num_documents += 1;
            num_tokens += tokens.len();
            Ok(builder.learn(tokens)?)
        })?;
        println!(
            "{}: {num_documents} documents, {num_tokens} tokens",
            path.display()
        );
    }
    let bytes = builder.build(Pruning {
        min_pair_count: args.min_pair_count,
        min_other_count: args.min_other_count,
    })?;
    std::fs::write(&args.output, &bytes).with_context(|| args.output.display().to_string())?;
    let num_bytes = bytes.len();
    let table = StaticTable::new(bytes, vocab_size, fingerprint)?;
    println!(
        "{}: {} rows, {} successors, {num_bytes} bytes",
        args.output.display(),
        table.num_rows(),
        table.num_successors()
    );
    Ok(())
}

impl Reader {
    fn new(model: &ModelSource, max_chars: usize) -> Result<Self> {
        #[derive(Deserialize)]
        struct Special {
            bos_token_id: Option<Token>,
        }
        let special: Special = serde_json::from_slice(&model.read("config.json")?)?;
        let chat_template = match model.find("tokenizer_config.json")? {
            Some(json) => ChatTemplate::from_tokenizer_config(&json)?,
            None => None,
        };
        Ok(Self {
            tokenizer: Tokenizer::from_bytes(&model.read("tokenizer.json")?)?,
            chat_template,
            bos: special.bos_token_id,
            max_chars,
        })
    }

    /// Hands on the tokens of each document of a file.
    fn each_document(
        &self,
        path: &Path,
        mut learn: impl FnMut(&[Token]) -> Result<()>,
    ) -> Result<()> {
        if path.extension() != Some(OsStr::new("jsonl")) {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            for document in text.split(SEPARATOR) {
                learn(&self.text(document.trim())?)?;
            }
            return Ok(());
        }
        let file = File::open(path).with_context(|| path.display().to_string())?;
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let place = || format!("{}, line {}", path.display(), index + 1);
            let document = serde_json::from_str(&line?).with_context(place)?;
            learn(&self.document(document).with_context(place)?)?;
        }
        Ok(())
    }

    fn document(&self, document: Document) -> Result<Vec<Token>> {
        match document {
            Document::Text { text } => self.text(&text),
            Document::Chat { messages } => self.chat(&messages),
            Document::Question { question, answer } => self.exchange(question, answer),
            Document::Instruction {
                instruction,
                input,
                output,
            } if input.is_empty() => self.exchange(instruction, output),
            Document::Instruction {
                instruction,
                input,
                output,
            } => self.exchange(format!("{instruction}\n\n{input}"), output),
        }
    }

    fn text(&self, text: &str) -> Result<Vec<Token>> {
        let end = text.char_indices().nth(self.max_chars);
        let text = end.map_or(text, |(end, _)| &text[..end]);
        let tokens = self.tokenizer.encode(text, false)?;
        Ok(self.bos.into_iter().chain(tokens).collect())
    }

    fn exchange(&self, user: String, assistant: String) -> Result<Vec<Token>> {
        let turns = [("user", user), ("assistant", assistant)];
        self.chat(&turns.map(|(role, content)| Message {
            role: role.to_owned(),
            content,
        }))
    }

    fn chat(&self, messages: &[Message]) -> Result<Vec<Token>> {
        let template = self.chat_template.as_ref();
        let template = template.context("a chat, but the model has no chat template")?;
        Ok(self.tokenizer.encode(&template.render(messages)?, false)?)
    }
}
