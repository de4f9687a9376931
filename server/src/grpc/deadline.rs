//! How long a client waits: the metadata `grpc-timeout`.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// When the client stops waiting, if ever.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline of a call that arrives now.
    pub(super) fn from_metadata(metadata: &MetadataMap) -> Result<Self, Status> {
        let Some(value) = metadata.get("grpc-timeout") else {
            return Ok(Self(None));
        };
        let timeout = value.to_str().ok().and_then(parse).ok_or_else(|| {
            Status::invalid_argument(format!(
                "`grpc-timeout`: is {value:?}, expected 1 to 8 digits and one of H, M, S, m, u, n"
            ))
        })?;
        // What the clock cannot hold is never.
        Ok(Self(Instant::now().checked_add(timeout)))
    }

    /// Waits for `answer`, but no longer than the client does.
    pub(super) async fn bound<T>(self, answer: impl Future<Output = T>) -> Result<T, Status> {
        match self.0 {
            None => Ok(answer.await),
            Some(deadline) => tokio::time::timeout_at(deadline, answer)
                .await
                .map_err(|_| Status::deadline_exceeded("the deadline has passed")),
        }
    }
}

/// As gRPC over HTTP/2 writes durations.
fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (value, duration) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("2M", Some(Duration::from_secs(120))),
            ("2S", Some(Duration::from_secs(2))),
            ("2m", Some(Duration::from_millis(2))),
            ("2u", Some(Duration::from_micros(2))),
            ("2n", Some(Duration::from_nanos(2))),
            ("0S", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(359_999_996_400))),
            ("100000000S", None),
            ("+2S", None),
            ("-2S", None),
            ("1.5S", None),
            ("2s", None),
            ("2", None),
            ("S", None),
            ("", None),
            ("2µ", None),
        ] {
            assert_eq!(parse(value), duration, "{value}");
        }
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_none() {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", "99999999H".parse().unwrap());
        assert!(Deadline::from_metadata(&metadata).is_ok());
    }
}
