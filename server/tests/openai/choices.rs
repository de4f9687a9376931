//! Several answers to one request.

use foretoken_server::choices::choice_seed;
use foretoken_server::request::Finish;
use serde_json::{Value, json};

use crate::streams::stream;
use crate::{CHAT, COMPLETIONS, Door, assert_error, events, next, one_token, read, support};

fn body(path: &str, n: u32) -> Value {
    let mut body = json!({"n": n, "max_tokens": 6, "seed": 7});
    match path {
        CHAT => body["messages"] = json!([{"role": "user", "content": "Hello, world!"}]),
        _ => body["prompt"] = json!("Hello, world!"),
    }
    body
}

#[tokio::test]
async fn choices_stand_in_order_and_the_prompt_counts_once() {
    let door = Door::echoing().await;
    for path in [COMPLETIONS, CHAT] {
        let one = door.ask(path, &body(path, 1)).await;
        let three = door.ask(path, &body(path, 3)).await;
        let choices = three["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 3);
        for (index, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], index);
            assert_eq!(choice["seed"], choice_seed(7, index));
            assert_eq!(choice["text"], one["choices"][0]["text"]);
            assert_eq!(choice["message"], one["choices"][0]["message"]);
        }
        assert_eq!(three["seed"], 7);
        let (single, usage) = (&one["usage"], &three["usage"]);
        assert_eq!(usage["prompt_tokens"], single["prompt_tokens"]);
        assert_eq!(usage["completion_tokens"], 18);
        assert_eq!(three["timings"]["draft_n_accepted"], 12);
        assert_eq!(three["timings"]["predicted_n"], 18);
    }
}

#[tokio::test]
async fn a_stream_says_whose_each_piece_is() {
    let door = Door::echoing().await;
    for (path, piece, whole) in [
        (COMPLETIONS, "/text", "/text"),
        (CHAT, "/delta/content", "/message/content"),
    ] {
        let mut body = body(path, 3);
        let answer = door.ask(path, &body).await;
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        let mut objects = stream(&door, path, &body).await;
        let last = objects.pop().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"], answer["usage"]);
        let (mut texts, mut reasons) = (vec![String::new(); 3], vec![0; 3]);
        for object in &objects {
            let choice = &object["choices"][0];
            let index = choice["index"].as_u64().unwrap() as usize;
            assert_eq!(reasons[index], 0, "nothing comes behind the reason");
            texts[index] += choice.pointer(piece).and_then(Value::as_str).unwrap_or("");
            reasons[index] += usize::from(choice["finish_reason"] == "length");
        }
        assert_eq!(reasons, [1; 3]);
        for (text, choice) in texts.iter().zip(answer["choices"].as_array().unwrap()) {
            assert_eq!(Some(&json!(text)), choice.pointer(whole));
        }
    }
}

#[tokio::test]
async fn how_many_there_may_be_is_checked() {
    let (frontend, inbox) = support::frontend(200);
    support::echo(inbox, std::time::Duration::ZERO);
    let many = Door::open(&frontend, None).await;
    let few = Door::echoing().await;
    for (door, fields, name, message) in [
        (&many, json!({"n": 0}), "n", "is 0, expected 1 to 128"),
        (&many, json!({"n": 129}), "n", "is 129, expected 1 to 128"),
        (&few, json!({"n": -1}), "n", "-1"),
        (&few, json!({"n": "2"}), "n", "\"2\""),
        (
            &few,
            json!({"n": 2, "best_of": 3}),
            "best_of",
            "is 3, expected what `n` is, 2",
        ),
        (&few, json!({"n": 1, "best_of": 2}), "best_of", "is 2"),
    ] {
        let mut body = body(COMPLETIONS, 1);
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let answer = read(door.post(COMPLETIONS, &body)).await;
        assert_error(answer, 400, "invalid_value", Some(name), message);
    }
    let answer = read(few.post(COMPLETIONS, &body(COMPLETIONS, 9))).await;
    let says = "needs 9 places, one for each answer, but there are 8";
    assert_error(answer, 400, "queue_too_small", Some("n"), says);
    let mut body = body(COMPLETIONS, 8);
    body["best_of"] = json!(8);
    let answer = few.ask(COMPLETIONS, &body).await;
    assert_eq!(answer["choices"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn all_choices_get_in_or_none_does() {
    let (frontend, mut inbox) = support::frontend(3);
    let door = Door::open(&frontend, None).await;
    let waiting = door.post(COMPLETIONS, &body(COMPLETIONS, 2)).send();
    let others = async {
        let held = [next(&mut inbox).await, next(&mut inbox).await];
        let answer = read(door.post(COMPLETIONS, &body(COMPLETIONS, 2))).await;
        assert_error(
            answer,
            429,
            "queue_full",
            None,
            "1 of 3 places are free, and the request needs 2",
        );
        assert!(inbox.try_recv().is_err(), "no choice of it has got in");
        for request in held {
            let last = one_token(Some(Finish::Length));
            request.events.try_send(last).unwrap();
        }
    };
    let (answer, ()) = tokio::join!(waiting, others);
    assert_eq!(answer.unwrap().status(), 200);
    // Every place has come back.
    let mut asked = body(COMPLETIONS, 3);
    asked["stream"] = json!(true);
    let _stream = door.post(COMPLETIONS, &asked).send().await.unwrap();
    for _ in 0..3 {
        next(&mut inbox).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_all_choices() {
    let (frontend, mut inbox) = support::frontend(4);
    let door = Door::open(&frontend, None).await;
    let mut asked = body(COMPLETIONS, 3);
    asked["stream"] = json!(true);
    let stream = door.post(COMPLETIONS, &asked).send().await.unwrap();
    let requests = [
        next(&mut inbox).await,
        next(&mut inbox).await,
        next(&mut inbox).await,
    ];
    drop(stream);
    for request in &requests {
        request.events.closed().await;
    }
}

#[tokio::test]
async fn a_choice_that_dies_ends_them_all_with_one_error() {
    let (frontend, mut inbox) = support::frontend(4);
    let door = Door::open(&frontend, None).await;
    let engine = async {
        let (first, second) = (next(&mut inbox).await, next(&mut inbox).await);
        drop(first);
        second.events.closed().await;
    };
    let mut asked = body(COMPLETIONS, 2);
    asked["stream"] = json!(true);
    let request = async { events(door.post(COMPLETIONS, &asked).send().await.unwrap()).await };
    let (data, ()) = tokio::join!(request, engine);
    let errors = data.iter().filter(|data| data.contains("engine_failed"));
    assert_eq!((errors.count(), data.len()), (1, 1), "{data:?}");
}
