//! Latencies of answers written by hand.

use super::*;

fn record(chunks: &[(u64, Option<usize>)], num_output_tokens: usize) -> Record {
    let ms = Duration::from_millis;
    let chunks = chunks.iter().map(|&(at, num_tokens)| Chunk {
        at: ms(at),
        num_tokens,
    });
    Record {
        chunks: chunks.collect(),
        end: ms(100),
        outcome: Ok(Usage {
            num_output_tokens,
            ..Usage::default()
        }),
        ..Record::sample()
    }
}

#[test]
fn chunks_that_state_their_tokens() {
    let record = record(&[(10, Some(1)), (40, Some(3)), (60, Some(2))], 6);
    let ms = Duration::from_millis;
    assert_eq!(record.time_to_first_token(), Some(ms(10)));
    assert_eq!(record.time_per_output_token(), Some(ms(10)));
    assert_eq!(record.chunk_gaps().collect::<Vec<_>>(), [ms(30), ms(20)]);
    assert_eq!(
        record.token_gaps().collect::<Vec<_>>(),
        [(ms(10), 3), (ms(10), 2)]
    );
}

#[test]
fn what_the_first_chunk_brought_took_no_time_behind_it() {
    let record = record(&[(10, Some(3)), (30, Some(2))], 5);
    let pace = Duration::from_millis(10);
    assert_eq!(record.time_per_output_token(), Some(pace));
}

#[test]
fn chunks_that_do_not_share_the_mean() {
    let record = record(&[(10, None), (40, None), (60, None)], 6);
    let gaps: Vec<_> = record.token_gaps().collect();
    assert_eq!(
        gaps,
        [
            (Duration::from_millis(15), 1),
            (Duration::from_millis(10), 1)
        ]
    );
}

#[test]
fn answers_too_short_to_have_a_pace() {
    for (chunks, num_tokens) in [(&[][..], 0), (&[(10, Some(1))], 1), (&[(10, None)], 0)] {
        let record = record(chunks, num_tokens);
        assert_eq!(record.time_per_output_token(), None);
        assert_eq!(record.token_gaps().count(), 0);
    }
    assert_eq!(record(&[], 0).time_to_first_token(), None);
}
