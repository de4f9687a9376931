//! The key that clients must show.

use std::fmt;

use subtle::ConstantTimeEq;

/// A secret shared with the clients.
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps the secret itself, without `Bearer`.
    pub fn new(key: String) -> Self {
        Self(key)
    }

    /// True if `authorization`, a header of that name, reads `Bearer KEY`. Takes the same time for every wrong key of
    /// the right length.
    pub fn accepts(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, key)) =
            authorization.and_then(|value| value.split_at_checked(SCHEME.len()))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case(SCHEME) && bool::from(key.ct_eq(self.0.as_bytes()))
    }
}

/// Schemes are written in any case (RFC 9110, 11.1).
const SCHEME: &[u8] = b"Bearer ";

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::ApiKey;

    #[test]
    fn only_the_key_itself_is_accepted() {
        let key = ApiKey::new("s3cret".to_owned());
        for (authorization, accepted) in [
            (Some("Bearer s3cret"), true),
            (Some("bearer s3cret"), true),
            (Some("Bearer s3cret "), false),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3cret2"), false),
            (Some("Bearer "), false),
            (Some("Basic s3cret"), false),
            (Some("s3cret"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(
                key.accepts(authorization.map(str::as_bytes)),
                accepted,
                "{authorization:?}"
            );
        }
        assert!(!format!("{key:?}").contains("s3cret"));
    }
}
