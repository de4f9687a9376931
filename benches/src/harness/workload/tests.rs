//! Workloads by table: what is read, what is refused, and that a seed decides all of it.

use std::time::Duration;

use super::question::Traced;
use super::*;

const REQUESTS: RequestOptions = RequestOptions {
    output_len: 64,
    temperature: None,
    ignore_eos: false,
    seed: 7,
};

fn load(name: &str, seed: u64) -> Workload {
    Workload::load(name, &SyntheticOptions::default(), seed).unwrap()
}

#[test]
fn every_workload_is_decided_by_its_seed() {
    for name in [
        "dialogue",
        "spec_bench",
        "gsm8k",
        "mbpp",
        "copy",
        "random",
        "shared-prefix",
    ] {
        let workload = load(name, 1);
        assert_eq!(workload.questions, load(name, 1).questions, "{name}");
        assert_ne!(workload.questions, load(name, 2).questions, "{name}");
        assert!(
            workload
                .questions
                .iter()
                .all(|question| !question.prompt.is_empty()),
            "{name}"
        );
        assert_eq!(workload.arrivals(3), None, "{name}");
    }
}

#[test]
fn requests_come_round_with_other_seeds() {
    let workload = load("dialogue", 0);
    let [first, again] = [0, workload.num_questions()]
        .map(|index| workload.request(index, &REQUESTS, &Drafting::default()));
    assert_eq!(first.prompt, again.prompt);
    assert_eq!(
        (first.seed, again.seed),
        (7, 7 + workload.num_questions() as u64)
    );
}

#[test]
fn generated_lengths_keep_to_their_range() {
    let lengths = |name, prefix_len| -> Vec<usize> {
        let options = SyntheticOptions {
            prefix_len,
            input_len: 100,
            range_ratio: 0.2,
            num_prefixes: 2,
        };
        let workload = Workload::load(name, &options, 3).unwrap();
        workload
            .questions
            .iter()
            .map(|question| question.prompt.split(' ').count())
            .collect()
    };
    for (name, prefix_len) in [("random", 0), ("shared-prefix", 30)] {
        let lengths = lengths(name, prefix_len);
        assert_eq!(lengths.iter().min(), Some(&(80 + prefix_len)), "{name}");
        assert_eq!(lengths.iter().max(), Some(&(120 + prefix_len)), "{name}");
    }
}

#[test]
fn shared_prefixes_are_shared() {
    let options = SyntheticOptions {
        num_prefixes: 3,
        ..SyntheticOptions::default()
    };
    let workload = Workload::load("shared-prefix", &options, 0).unwrap();
    let begin = |index: usize| {
        workload.questions[index]
            .prompt
            .split(' ')
            .take(512)
            .collect::<Vec<_>>()
    };
    assert_eq!(begin(0), begin(3));
    assert_ne!(begin(0), begin(1));
}

#[test]
fn questions_are_read_or_refused_with_their_line() {
    let good = "{\"question_id\": 5, \"category\": \"qa\", \"turns\": [\"Why?\", \"Sure?\"]}\n\n\
                {\"question_id\": \"x\", \"turns\": [\"How?\"], \"reference\": [1]}\n";
    let read = questions::parse(good).unwrap();
    let fields: Vec<_> = read
        .iter()
        .map(|q| (q.id.as_str(), q.category.as_str(), q.prompt.as_str()))
        .collect();
    assert_eq!(fields, [("5", "qa", "Why?"), ("x", "", "How?")]);
    for bad in ["{}", "{\"question_id\": 1, \"turns\": []}", "no json"] {
        let error = questions::parse(&format!("{good}{bad}")).unwrap_err();
        assert!(format!("{error:#}").starts_with("line 4"), "{error:#}");
    }
}

#[test]
fn traces_are_read_or_refused() {
    let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    let lines = "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,3,0\n";
    let questions = trace::parse(format!("{header}{lines}").as_bytes(), 0).unwrap();
    let [first, second] = &questions[..] else {
        panic!("{questions:?}")
    };
    assert_eq!(first.prompt.split(' ').count(), 374);
    assert_eq!(
        first.traced,
        Some(Traced {
            arrival: Duration::ZERO,
            output_len: 44
        })
    );
    let arrival = Duration::from_nanos(4_314_579_000);
    assert_eq!(
        second.traced,
        Some(Traced {
            arrival,
            output_len: 1
        })
    );
    for (bad, part) in [
        ("2023-11-16 18:15:46,x,1\n", "invalid digit"),
        ("yesterday,1,1\n", "`yesterday`"),
        (
            "2023-11-16 18:15:47,1,1\n2023-11-16 18:15:46,1,1\n",
            "before the first",
        ),
    ] {
        let error = trace::parse(format!("{header}{bad}").as_bytes(), 0).unwrap_err();
        assert!(format!("{error:#}").contains(part), "{error:#}");
    }
}
