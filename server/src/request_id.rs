//! The name of a request, in logs, traces and the response: the client's own, or a new one.

use uuid::Uuid;

/// The header, and the metadata, in which it comes and goes.
pub(crate) const X_REQUEST_ID: &str = "x-request-id";

/// A longer one might make the response's head too large for the client.
const MAX_BYTES: usize = 256;

/// The id that the client gave, if it may be one; an empty one is none. The error says what it is and was to be.
pub(crate) fn request_id(given: &[u8]) -> Result<String, String> {
    if given.is_empty() {
        return Ok(Uuid::new_v4().to_string());
    }
    if given.len() > MAX_BYTES {
        let num_bytes = given.len();
        return Err(format!(
            "has {num_bytes} bytes, expected at most {MAX_BYTES}"
        ));
    }
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let text = String::from_utf8_lossy(given);
    match given.iter().all(is_printable) {
        true => Ok(text.into_owned()),
        false => Err(format!("is {text:?}, expected printable ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let longest = "a".repeat(MAX_BYTES);
        for id in ["mine-1", "a b", "~", longest.as_str()] {
            assert_eq!(request_id(id.as_bytes()).as_deref(), Ok(id));
        }
        for (id, problem) in [
            ("a".repeat(257).as_bytes(), "has 257 bytes"),
            (b"a\nb", r#"is "a\nb""#),
            (b"a\tb", r#"is "a\tb""#),
            ("ü".as_bytes(), "is \"ü\""),
            (b"\xff", "expected printable ASCII"),
        ] {
            let refused = request_id(id).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
        assert!(Uuid::parse_str(&request_id(b"").unwrap()).is_ok());
    }
}
