//! The prefix cache: what is computed already is not computed again, and nobody can tell by the text.

use crate::support::{Answer, Ask, Setup, answer, answers, demo, finish};
use foretoken_draft::{Drafter, Lookup, Trigram};
use foretoken_model::{Dtype, SamplingParams, Token};

fn setup() -> Setup {
    Setup::new(demo(), Dtype::Float32)
}

fn drafters() -> Vec<Box<dyn Drafter>> {
    vec![Box::new(Trigram::new(None)), Box::new(Lookup::default())]
}

/// A long text, then an end of its own.
fn ask(prefix: usize, end: &[Token]) -> Ask {
    let prefix = (0..prefix).map(|index| 300 + (index * index % 211) as Token);
    let prompt = prefix.chain(end.iter().copied()).collect();
    let sampling = SamplingParams {
        temperature: 0.7,
        seed: 5,
        ..SamplingParams::greedy()
    };
    Ask::new(prompt, sampling, 20)
}

fn salted(salt: &'static str) -> Ask {
    Ask {
        cache_salt: Some(salt),
        ..ask(100, &[5])
    }
}

/// What an engine without the cache says.
fn computed(ask: &Ask) -> Answer {
    let setup = Setup {
        enable_prefix_caching: false,
        ..setup()
    };
    let mut engine = setup.engine(drafters());
    answers(&mut engine, vec![ask.clone(); 2]).remove(1)
}

/// What does not depend on time or cache.
fn text(answer: &Answer) -> (&[Token], usize, usize) {
    let stats = &answer.stats;
    (
        &answer.tokens,
        stats.num_draft_tokens,
        stats.num_accepted_tokens,
    )
}

#[test]
fn of_a_prompt_that_begins_alike_only_the_rest_is_computed() {
    for (drafter, budget) in [(None, 0), (Some("lookup"), 4), (Some("trigram"), 16)] {
        let mut engine = setup().engine(drafters());
        let mut ask_it = |ask: Ask| {
            let ask = ask.drafted(drafter, budget);
            let before = engine.num_rows();
            let got = answers(&mut engine, vec![ask.clone()]).remove(0);
            // The same tokens, and the same drafts: drafters learn the whole prompt, computed here or not.
            assert_eq!(text(&got), text(&computed(&ask)), "{drafter:?}");
            let num_prompt_rows = (engine.num_rows() - before) as usize
                - (got.stats.num_steps - 1)
                - got.stats.num_draft_tokens;
            (num_prompt_rows, got.stats.num_cached_tokens)
        };
        // 1000 tokens are 62 blocks and a half.
        assert_eq!(ask_it(ask(1000, &[5, 6])), (1002, 0), "{drafter:?}");
        assert_eq!(ask_it(ask(1000, &[7, 8, 9])), (11, 992), "{drafter:?}");
        // All of it is known; the last token is computed for what follows.
        assert_eq!(ask_it(ask(992, &[])), (16, 976), "{drafter:?}");
        assert_eq!(ask_it(ask(992, &[1])), (1, 992), "{drafter:?}");
    }
}

#[test]
fn an_answer_is_found_again_by_the_question_that_follows_it() {
    for (drafter, budget) in [(None, 0), (Some("trigram"), 8)] {
        let mut engine = setup().engine(drafters());
        let first = ask(30, &[]).drafted(drafter, budget);
        let answer = answers(&mut engine, vec![first.clone()]).remove(0);
        // 50 tokens, the last of which was never an input.
        let next = Ask {
            prompt: [&first.prompt[..], &answer.tokens, &[5, 6]].concat(),
            ..first
        };
        let got = answers(&mut engine, vec![next.clone()]).remove(0);
        assert_eq!(got.stats.num_cached_tokens, 48, "{drafter:?}");
        assert_eq!(text(&got), text(&computed(&next)), "{drafter:?}");
    }
}

#[test]
fn blocks_are_shared_within_a_salt_only() {
    let mut engine = setup().engine(Vec::new());
    let want = computed(&ask(100, &[5])).tokens;
    for (asked, num_cached_tokens) in [
        (ask(100, &[5]), 0),
        (salted("a"), 0),
        (salted("b"), 0),
        (salted("a"), 96),
        (ask(100, &[5]), 96),
    ] {
        let salt = asked.cache_salt;
        let got = answers(&mut engine, vec![asked]).remove(0);
        assert_eq!(got.stats.num_cached_tokens, num_cached_tokens, "{salt:?}");
        assert_eq!(got.tokens, want, "{salt:?}");
    }
}

#[test]
fn a_running_request_shares_what_it_has_and_a_leaver_leaves_it() {
    let want = computed(&ask(100, &[5])).tokens;
    // How many steps the first has made when the second comes, and whether it leaves before.
    for (num_steps, leaves, num_cached_tokens) in
        [(0, false, 0), (2, false, 32), (8, false, 96), (8, true, 96)]
    {
        let setup = Setup {
            max_prefill_chunk: 16,
            ..setup()
        };
        let mut engine = setup.engine(Vec::new());
        let mut first = Some(ask(100, &[5]).send(&mut engine));
        for _ in 0..num_steps {
            engine.step().unwrap();
        }
        if leaves {
            first = None;
        }
        let second = ask(100, &[5]).send(&mut engine);
        finish(&mut engine);
        let second = answer(second);
        assert_eq!(second.stats.num_cached_tokens, num_cached_tokens);
        assert_eq!(second.tokens, want);
        if let Some(first) = first {
            assert_eq!(answer(first).tokens, want);
        }
    }
}

#[test]
fn where_blocks_are_few_the_oldest_prefixes_give_way() {
    let setup = Setup {
        num_blocks: 30,
        ..setup()
    };
    let mut engine = setup.engine(drafters());
    let asks: Vec<Ask> = (0..6)
        .map(|which| {
            let mut ask = ask(100, &[5]);
            ask.prompt[0] = which;
            ask.drafted(Some("lookup"), 4)
        })
        .collect();
    let want: Vec<Answer> = asks.iter().map(computed).collect();
    // Each takes 12 blocks and leaves 7 in the cache: of the last ones there are some, of the first ones none.
    for round in 0..2 {
        for (ask, want) in asks.iter().zip(&want) {
            let got = answers(&mut engine, vec![ask.clone()]).remove(0);
            assert_eq!(text(&got), text(want), "round {round}");
            assert_eq!(got.stats.num_cached_tokens, 0, "round {round}");
        }
    }
    let again = answers(&mut engine, vec![asks[5].clone()]).remove(0);
    assert_eq!(again.stats.num_cached_tokens, 96);
    assert_eq!(text(&again), text(&want[5]));
}

#[test]
fn without_the_cache_nothing_is_reused() {
    let setup = Setup {
        enable_prefix_caching: false,
        ..setup()
    };
    let mut engine = setup.engine(Vec::new());
    for _ in 0..2 {
        let got = answers(&mut engine, vec![ask(100, &[5])]).remove(0);
        assert_eq!(got.stats.num_cached_tokens, 0);
    }
}
