//! The table that the carried model brings along.

#![cfg(test)]

use foretoken_draft::trigram::StaticTable;
use foretoken_draft::{Context, Costs, Drafter, Hints, Trigram};
use foretoken_model::{BlockTable, Config, ModelSource, SamplingParams, SeqId, Tokenizer};

#[test]
fn the_carried_table_is_the_carried_models() {
    let model = ModelSource::demo();
    let config = Config::from_json(&model.read("config.json").unwrap()).unwrap();
    let tokenizer = Tokenizer::from_bytes(&model.read("tokenizer.json").unwrap()).unwrap();
    let bytes = model.read("trigram.ftt").unwrap();
    assert!(bytes.len() <= 4_000_000, "{} bytes", bytes.len());
    let table = StaticTable::new(bytes, config.vocab_size, tokenizer.fingerprint()).unwrap();
    assert!(table.num_rows() > 0);

    let mut trigram = Trigram::new(Some(table));
    let prompt = "<|endoftext|><|im_start|>user\nI want to make a reservation";
    let prompt = tokenizer.encode(prompt, false).unwrap();
    let context = Context {
        seq: SeqId(0),
        tokens: &prompt,
        table: BlockTable::EMPTY,
        sampling: &SamplingParams::greedy(),
        max_draft_tokens: 8,
        max_draft_depth: 8,
        costs: Costs::default(),
        hints: Hints::default(),
    };
    let tree = trigram.propose(&[context]).unwrap().remove(0);
    let guesses = tokenizer.decode(&tree.tokens()[1..], false).unwrap();
    assert!(guesses.contains(" at"), "{guesses}");
}
