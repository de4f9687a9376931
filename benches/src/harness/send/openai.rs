//! Any server with OpenAI's API, by server-sent events.

use anyhow::{Context, Result};
use clap::ValueEnum;
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::{StreamExt, future, stream};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Drafted, Failure, FailureKind, Piece, Usage};
use crate::harness::request::Request;

/// Which of OpenAI's two ways to ask.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Endpoint {
    /// /v1/chat/completions
    Chat,
    /// /v1/completions
    Completions,
}

/// A client of one server.
#[derive(Debug)]
pub struct OpenAi {
    http: reqwest::Client,
    base: String,
    endpoint: Endpoint,
    model: String,
    api_key: Option<String>,
    continuous_usage: bool,
}

impl OpenAi {
    /// A client of the server at `base`; without a model's name, the first that it serves is asked for. With
    /// `continuous_usage`, every chunk is to say how many tokens there are so far, as vLLM's can.
    pub async fn connect(
        base: &str,
        endpoint: Endpoint,
        model: Option<String>,
        api_key: Option<String>,
        continuous_usage: bool,
    ) -> Result<Self> {
        let mut client = Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            base: base.trim_end_matches('/').to_owned(),
            endpoint,
            model: String::new(),
            api_key,
            continuous_usage,
        };
        client.model = match model {
            Some(model) => model,
            None => client.first_model().await?,
        };
        Ok(client)
    }

    async fn first_model(&self) -> Result<String> {
        let url = format!("{}/v1/models", self.base);
        let request = self.authorized(self.http.get(&url)).send();
        let models = request
            .await
            .with_context(|| format!("cannot reach {url}"))?;
        let models: Value = models.error_for_status()?.json().await?;
        let name = models["data"][0]["id"].as_str();
        Ok(name
            .with_context(|| format!("{url} names no model: {models}"))?
            .to_owned())
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Posts a body to this client's endpoint.
    pub(crate) fn post(&self) -> RequestBuilder {
        let path = match self.endpoint {
            Endpoint::Chat => "chat/completions",
            Endpoint::Completions => "completions",
        };
        let request = self.http.post(format!("{}/v1/{path}", self.base));
        self.authorized(request.header("content-type", "application/json"))
    }

    pub(super) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        let response = self
            .post()
            .body(self.body(request).to_string())
            .send()
            .await;
        let response =
            response.map_err(|error| Failure::new(FailureKind::Disconnected, chain(&error)))?;
        if response.status().is_success() {
            Ok(pieces(response))
        } else {
            Err(refusal(response).await)
        }
    }

    /// Fields that not every server knows are sent only where they are asked for.
    pub(crate) fn body(&self, request: &Request) -> Value {
        let mut body = json!({
            "model": self.model,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        match self.endpoint {
            Endpoint::Chat => {
                body["messages"] = json!([{"role": "user", "content": request.prompt}])
            }
            Endpoint::Completions => body["prompt"] = json!(request.prompt),
        }
        if let Some(temperature) = request.temperature {
            body["temperature"] = json!(temperature);
        }
        if request.ignore_eos {
            body["ignore_eos"] = json!(true);
        }
        if let Some(drafter) = &request.drafting.drafter {
            body["speculative.drafter"] = json!(drafter);
        }
        if let Some(max_draft_tokens) = request.drafting.max_draft_tokens {
            body["speculative.n_max"] = json!(max_draft_tokens);
        }
        if self.continuous_usage {
            body["stream_options"]["continuous_usage_stats"] = json!(true);
        }
        body
    }
}

async fn refusal(response: Response) -> Failure {
    let kind = match response.status() {
        StatusCode::TOO_MANY_REQUESTS => FailureKind::Refused,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => FailureKind::Timeout,
        status if status.is_server_error() => FailureKind::ServerError,
        _ => FailureKind::Rejected,
    };
    Failure::new(kind, response.text().await.unwrap_or_default())
}

/// The events of a response, up to `[DONE]`; without that the answer has broken off.
fn pieces(response: Response) -> Answer {
    let events = response.bytes_stream().eventsource();
    let data = events.map(|event| match event {
        Ok(event) => Ok(event.data),
        Err(EventStreamError::Transport(error)) => {
            Err(Failure::new(FailureKind::Disconnected, chain(&error)))
        }
        Err(error) => Err(Failure::new(FailureKind::Malformed, error)),
    });
    let broken = Failure::new(FailureKind::Disconnected, "the stream ended without [DONE]");
    let mut counted = Counted::default();
    data.chain(stream::iter([Err(broken)]))
        .take_while(|data| future::ready(!matches!(data, Ok(data) if data == "[DONE]")))
        .map(move |data| read(&data?, &mut counted))
        .boxed()
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<EventUsage>,
    timings: Option<Timings>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    delta: Option<Delta>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct EventUsage {
    prompt_tokens: usize,
    completion_tokens: usize,
}

/// llama.cpp's, where a server has them.
#[derive(Deserialize)]
struct Timings {
    draft_n: Option<usize>,
    draft_n_accepted: Option<usize>,
}

/// Tokens so far; none once a piece has not said how many there are.
#[derive(Debug, PartialEq)]
struct Counted(Option<usize>);

impl Default for Counted {
    fn default() -> Self {
        Self(Some(0))
    }
}

impl Counted {
    /// How many of them a piece of text brought, by which there are `total`.
    fn count(&mut self, total: Option<usize>) -> Option<usize> {
        let before = self.0;
        self.0 = before.and(total);
        Some(total?.saturating_sub(before?))
    }
}

/// What one event brings.
fn read(data: &str, counted: &mut Counted) -> Result<Piece, Failure> {
    let event: Event = serde_json::from_str(data)
        .map_err(|error| Failure::new(FailureKind::Malformed, format!("{error} in {data}")))?;
    if let Some(error) = event.error {
        return Err(Failure::new(FailureKind::ServerError, error));
    }
    let choice = event.choices.into_iter().next();
    let total = event.usage.as_ref().map(|usage| usage.completion_tokens);
    // Usage of the whole answer brings nothing by itself.
    let num_tokens = choice.as_ref().and_then(|_| counted.count(total));
    let text =
        choice.and_then(|choice| choice.text.or(choice.delta.and_then(|delta| delta.content)));
    Ok(Piece {
        text: text.unwrap_or_default(),
        num_tokens,
        usage: event.usage.map(|counts| usage(counts, event.timings)),
    })
}

fn usage(usage: EventUsage, timings: Option<Timings>) -> Usage {
    let drafted = timings.and_then(|timings| {
        Some(Drafted {
            num_draft_tokens: timings.draft_n?,
            num_accepted_tokens: timings.draft_n_accepted?,
            ..Drafted::default()
        })
    });
    Usage {
        num_prompt_tokens: usage.prompt_tokens,
        num_output_tokens: usage.completion_tokens,
        drafted,
    }
}

/// An error with its causes: reqwest's own words stop at "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What pieces with these choices and usages bring.
    fn tokens(events: &[(&str, &str)]) -> Vec<Option<usize>> {
        let mut counted = Counted::default();
        let tokens = |&(choices, usage): &(&str, &str)| {
            let usage = format!(r#"{{"prompt_tokens": 9, "completion_tokens": {usage}}}"#);
            let usage = if usage.contains('?') { "null" } else { &usage };
            let data = format!(r#"{{"choices": [{choices}], "usage": {usage}}}"#);
            read(&data, &mut counted).unwrap().num_tokens
        };
        events.iter().map(tokens).collect()
    }

    #[test]
    fn pieces_bring_what_the_usage_grows_by() {
        let (text, end) = (r#"{"text": "a"}"#, "");
        let counted = [
            (text, "0"),
            (text, "1"),
            (text, "4"),
            (text, "4"),
            (end, "4"),
        ];
        let expected = [Some(0), Some(1), Some(3), Some(0), None];
        assert_eq!(tokens(&counted), expected);
        // Told at the end alone, in a piece of its own or in the last.
        assert_eq!(tokens(&[(text, "?"), (text, "?"), (end, "4")]), [None; 3]);
        assert_eq!(tokens(&[(text, "?"), (text, "4"), (text, "5")]), [None; 3]);
    }
}
