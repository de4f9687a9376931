//! Who runs first, who makes room, and that nobody waits for ever.

use std::collections::VecDeque;

use crate::support::{Answer, Ask, Setup, answer, answers, finish, stories};
use foretoken_model::{Dtype, SamplingParams, Token};
use foretoken_server::engine::Engine;
use foretoken_server::request::Event;
use tokio::sync::mpsc::Receiver;

fn setup() -> Setup {
    Setup::new(stories(), Dtype::Float32)
}

fn ask(which: usize, len: usize, num_tokens: usize, priority: i32) -> Ask {
    let prompt = (0..len).map(|index| ((which * 100 + index * 37) % 500) as Token);
    Ask {
        priority,
        ..Ask::new(prompt.collect(), SamplingParams::greedy(), num_tokens)
    }
}

/// Steps until all have ended; gives the order in which they did, and what they said.
fn endings(engine: &mut Engine, mut receivers: Vec<Receiver<Event>>) -> Vec<usize> {
    let mut order = Vec::new();
    while !engine.is_idle() {
        engine.step().unwrap();
        for (index, receiver) in receivers.iter_mut().enumerate() {
            let is_new = !order.contains(&index);
            if is_new && std::iter::from_fn(|| receiver.try_recv().ok()).any(|e| e.finish.is_some())
            {
                order.push(index);
            }
        }
    }
    finish(engine);
    order
}

#[test]
fn the_lower_priority_goes_first_and_within_one_the_older() {
    for (priorities, want) in [
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([3, 2, 1, 0], [3, 2, 1, 0]),
        ([1, 0, 1, 0], [1, 3, 0, 2]),
        ([0, i32::MAX, i32::MIN, -1], [2, 3, 0, 1]),
    ] {
        let setup = Setup {
            max_num_seqs: 1,
            ..setup()
        };
        let mut engine = setup.engine(Vec::new());
        let receivers = (0..4).map(|which| ask(which, 9, 5, priorities[which]).send(&mut engine));
        let receivers = receivers.collect();
        assert_eq!(endings(&mut engine, receivers), want, "{priorities:?}");
    }
}

#[test]
fn a_stream_of_earlier_priorities_does_not_starve_a_later_one() {
    for (priority, num_passing) in [(0, 0), (1, 999), (2, 1999)] {
        let setup = Setup {
            max_num_seqs: 1,
            ..setup()
        };
        let mut engine = setup.engine(Vec::new());
        let mut late = ask(0, 1, 1, priority).send(&mut engine);
        let mut stream = VecDeque::new();
        let mut num_passed = 0;
        while late.try_recv().is_err() {
            // One runs and one waits, always.
            while stream.len() < 2 {
                stream.push_back(ask(1, 1, 1, 0).send(&mut engine));
            }
            engine.step().unwrap();
            let has_ended = |event: &mut Receiver<Event>| event.try_recv().is_ok();
            if stream.front_mut().is_some_and(has_ended) {
                stream.pop_front();
                num_passed += 1;
            }
            assert!(num_passed <= num_passing, "{priority} starves");
        }
        assert_eq!(num_passed, num_passing, "{priority}");
        finish(&mut engine);
    }
}

#[test]
fn a_running_request_makes_room_for_an_earlier_priority_only() {
    let want: Vec<Answer> = (0..2)
        .map(|which| {
            answers(&mut setup().engine(Vec::new()), vec![ask(which, 40, 30, 0)]).remove(0)
        })
        .collect();
    // Places are lacking, or blocks: one sequence wants 7 or 8.
    for (max_num_seqs, num_blocks) in [(1, 256), (4, 10)] {
        for (priority, order) in [(0, [0, 1]), (1, [0, 1]), (-1, [1, 0])] {
            let setup = Setup {
                max_num_seqs,
                num_blocks,
                ..setup()
            };
            let mut engine = setup.engine(Vec::new());
            let first = ask(0, 40, 30, 0).send(&mut engine);
            for _ in 0..10 {
                engine.step().unwrap();
            }
            let second = ask(1, 40, 30, priority).send(&mut engine);
            let (mut ended, mut receivers) = (Vec::new(), [Some(first), Some(second)]);
            while ended.len() < 2 {
                engine.step().unwrap();
                for index in 0..2 {
                    let has_ended = receivers[index]
                        .as_ref()
                        .is_some_and(|r| r.len() == 30 || r.is_closed());
                    if has_ended {
                        ended.push(index);
                        let got = answer(receivers[index].take().unwrap());
                        assert_eq!(got.tokens, want[index].tokens);
                    }
                }
            }
            finish(&mut engine);
            assert_eq!(ended, order, "{max_num_seqs} {num_blocks} {priority}");
        }
    }
}

#[test]
fn a_long_prompt_neither_stalls_decodes_nor_waits_for_them() {
    let setup = Setup {
        max_num_batched_tokens: 20,
        max_prefill_chunk: 20,
        ..setup()
    };
    let mut engine = setup.engine(Vec::new());
    let mut decodes: Vec<_> = (0..4)
        .map(|which| ask(which, 5, 60, 0).send(&mut engine))
        .collect();
    engine.step().unwrap();
    let mut long = ask(5, 160, 1, 0).send(&mut engine);
    let mut num_steps = 0;
    decodes
        .iter_mut()
        .for_each(|decode| while decode.try_recv().is_ok() {});
    while long.try_recv().is_err() {
        engine.step().unwrap();
        num_steps += 1;
        for decode in &mut decodes {
            assert!(decode.try_recv().is_ok(), "a token every step");
        }
    }
    // 16 rows a step are left of 20.
    assert_eq!(num_steps, 10);
}
