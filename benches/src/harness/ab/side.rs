//! The two ways.

use std::sync::Arc;

use anyhow::Result;

use super::options::AbOptions;
use crate::harness::request::Drafting;
use crate::harness::send::Client;

/// One of the two ways.
pub(super) struct Side {
    pub(super) name: String,
    pub(super) client: Arc<Client>,
    pub(super) drafting: Drafting,
}

/// A and B.
pub(super) async fn sides(options: &AbOptions) -> Result<[Side; 2]> {
    let mut server = options.server.clone();
    let most = options.concurrency.iter().copied().max().unwrap_or(1) as usize;
    server.engine.max_num_seqs = server.engine.max_num_seqs.max(most);
    let client_a = Arc::new(server.connect().await?);
    let client_b = match &options.url_b {
        Some(url) => Arc::new(server.connect_to(url).await?),
        None => Arc::clone(&client_a),
    };
    let plain = options.url_b.is_none().then(|| "none".to_owned());
    let drafting_a = Drafting {
        drafter: options.drafter_a.clone().or(plain),
        max_draft_tokens: None,
    };
    let drafting_b = Drafting {
        drafter: options.drafter_b.clone(),
        max_draft_tokens: options.max_draft_tokens_b,
    };
    let url_b = options.url_b.clone().unwrap_or_else(|| server.name());
    Ok([
        Side {
            name: name(&server.name(), &drafting_a),
            client: client_a,
            drafting: drafting_a,
        },
        Side {
            name: name(&url_b, &drafting_b),
            client: client_b,
            drafting: drafting_b,
        },
    ])
}

/// A side in words.
fn name(server: &str, drafting: &Drafting) -> String {
    let drafter = drafting.drafter.as_deref().unwrap_or("by default");
    let at_most = drafting
        .max_draft_tokens
        .map(|most| format!(", at most {most} draft tokens"));
    format!("{server}, drafter {drafter}{}", at_most.unwrap_or_default())
}
