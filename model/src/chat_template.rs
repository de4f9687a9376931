//! A model's chat template, rendered as `transformers` renders it.

use std::fmt::Write;

use chrono::Local;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use thiserror::Error;

/// One turn of a chat.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`; templates may know others.
    pub role: String,
    /// The turn's text.
    pub content: String,
    /// What was thought before it was said; only templates of models that think aloud read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

impl Message {
    /// A turn that only says something.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            reasoning_content: None,
        }
    }
}

/// A compiled chat template with the special tokens that it may name.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

/// Why a template does not compile or a chat does not render.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// `tokenizer_config.json` does not hold what it should.
    #[error("tokenizer_config.json: {0}")]
    Config(String),
    /// The template's own `raise_exception`, or a mistake in it.
    #[error("chat template: {0}")]
    Render(String),
}

impl ChatTemplate {
    /// Reads `chat_template` and the special tokens out of the contents of a `tokenizer_config.json`.
    /// None if it holds no template.
    pub fn from_tokenizer_config(json: &[u8]) -> Result<Option<Self>, TemplateError> {
        let config: TokenizerConfig = serde_json::from_slice(json)
            .map_err(|error| TemplateError::Config(error.to_string()))?;
        let Some(source) = config.template()? else {
            return Ok(None);
        };
        let mut environment = environment()?;
        for (name, token) in config.special_tokens() {
            environment.add_global(name, token);
        }
        environment.add_template_owned(NAME, source)?;
        Ok(Some(Self { environment }))
    }

    /// The text that asks the model for the next turn.
    /// It holds its special tokens, BOS included: tokenise it without adding any.
    pub fn render(&self, messages: &[Message]) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME)?;
        Ok(template.render(context! { messages => Serde(messages) })?)
    }
}

impl From<minijinja::Error> for TemplateError {
    /// `raise_exception` speaks to the user in the template's own words, so its place in the template is left out.
    fn from(error: minijinja::Error) -> Self {
        let first: &dyn std::error::Error = &error;
        let raised = std::iter::successors(Some(first), |error| error.source())
            .find_map(|cause| cause.downcast_ref::<Raised>());
        Self::Render(raised.map_or_else(|| error.to_string(), Raised::to_string))
    }
}

/// The template's name in its environment, which errors show before a line number.
const NAME: &str = "chat_template";

/// The part of a `tokenizer_config.json` that templates need.
#[derive(Deserialize)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`chat_template` is neither a string nor a list of {name, template}"
)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a special token is neither a string nor an object with `content`"
)]
enum SpecialToken {
    Text(String),
    Added { content: String },
}

impl TokenizerConfig {
    /// The template for plain chats.
    fn template(&self) -> Result<Option<String>, TemplateError> {
        let named = match &self.chat_template {
            None => return Ok(None),
            Some(Templates::One(source)) => return Ok(Some(source.clone())),
            Some(Templates::Named(named)) => named,
        };
        let default = named.iter().find(|entry| entry.name == "default");
        let default = default.ok_or_else(|| {
            let names: Vec<&str> = named.iter().map(|entry| entry.name.as_str()).collect();
            TemplateError::Config(format!(
                "`chat_template` has no entry named `default`, only [{}]",
                names.join(", ")
            ))
        })?;
        Ok(Some(default.template.clone()))
    }

    /// Names and texts of the tokens that the model has; the others stay undefined in the template.
    fn special_tokens(&self) -> impl Iterator<Item = (&'static str, String)> {
        [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
            ("unk_token", &self.unk_token),
            ("pad_token", &self.pad_token),
        ]
        .into_iter()
        .filter_map(|(name, token)| match token.as_ref()? {
            SpecialToken::Text(text) | SpecialToken::Added { content: text } => {
                Some((name, text.clone()))
            }
        })
    }
}

/// Jinja as `transformers` sets it up, except that no tool and no document is ever given.
fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    let mut environment = Environment::new();
    environment.set_syntax(syntax.build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    environment.add_global("tools", ());
    environment.add_global("documents", ());
    environment.add_global("add_generation_prompt", true);
    Ok(environment)
}

/// A template's own complaint about its messages.
#[derive(Debug, Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(
        minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception")
            .with_source(Raised(message)),
    )
}

fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let mut text = String::new();
    // `to_string` would panic on a format that chrono does not know.
    write!(text, "{}", Local::now().format(format)).map_err(|_| {
        let problem = format!("strftime_now: unknown format `{format}`");
        minijinja::Error::new(ErrorKind::InvalidOperation, problem)
    })?;
    Ok(text)
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`; the filter built in escapes for HTML.
fn tojson(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<u8> = options.get("indent")?;
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if ensure_ascii == Some(true) {
        let problem = "tojson: ensure_ascii=true is not supported";
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, problem));
    }
    match indent {
        None => write_json(value, Spaced),
        Some(width) => write_json(
            value,
            PrettyFormatter::with_indent(" ".repeat(width.into()).as_bytes()),
        ),
    }
}

fn write_json(value: &Value, formatter: impl Formatter) -> Result<String, minijinja::Error> {
    let fail = |problem: String| minijinja::Error::new(ErrorKind::BadSerialization, problem);
    let mut json = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut json, formatter))
        .map_err(|error| fail(error.to_string()))?;
    String::from_utf8(json).map_err(|error| fail(error.to_string()))
}

/// One line, with Python's spaces after `,` and `:`.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.begin_array_value(out, first)
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
    ) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}
