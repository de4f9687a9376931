//! A JSON object taken apart field by field, so that nothing that a client states goes unread.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::leftover::Leftover;

/// Fields that nobody has taken yet. A field that is null counts as absent.
#[derive(Debug)]
pub(super) struct Fields {
    /// Leads from the body to this object: nothing, or such as `messages[0].`.
    path: String,
    rest: Map<String, Value>,
    /// The body's share of the memory for unread requests.
    _held: Option<OwnedSemaphorePermit>,
}

impl Fields {
    /// The fields of `value`, which stands at `path` in the body and must be an object.
    pub(super) fn of(path: &str, value: Value) -> Result<Self, ApiError> {
        let Value::Object(rest) = value else {
            return Err(ApiError::invalid(path.to_owned(), "is not a JSON object"));
        };
        Ok(Self {
            path: format!("{path}."),
            rest,
            _held: None,
        })
    }

    /// The fields of the body itself, which gives `held` back when they have all been read.
    pub(super) fn of_body(rest: Map<String, Value>, held: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            path: String::new(),
            rest,
            _held: held,
        }
    }

    /// A field's full name, as errors give it.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// True if a field is there to be taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.rest.get(name).is_some_and(|value| !value.is_null())
    }

    /// Takes a field of type `T`, if it is there.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        self.rest
            .remove(name)
            .filter(|value| !value.is_null())
            .map(|value| read(self.name(name), value))
            .transpose()
    }

    /// Takes a field of type `T` that must be there.
    pub(super) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ApiError> {
        self.take(name)?.ok_or_else(|| {
            ApiError::field("missing_required_parameter", self.name(name), " is missing")
        })
    }

    /// Makes `{"name": {"inner": ..}}` into `{"name.inner": ..}`, which is the other way to write it.
    pub(super) fn flatten(&mut self, name: &str) -> Result<(), ApiError> {
        let Some(value) = self.take(name)? else {
            return Ok(());
        };
        for (inner, value) in Self::of(&self.name(name), value)?.rest {
            let flat = format!("{name}.{inner}");
            if self.has(&flat) {
                let problem = format!("is given twice, flat and within `{name}`");
                return Err(self.invalid(&flat, problem));
            }
            self.rest.insert(flat, value);
        }
        Ok(())
    }

    /// The error for a field whose value is not what it may be.
    pub(super) fn invalid(&self, name: &str, problem: impl ToString) -> ApiError {
        ApiError::invalid(self.name(name), problem)
    }

    /// Refuses what nobody took, unless it asks for nothing.
    pub(super) fn finish(self, judge: fn(&str, &Value) -> Leftover) -> Result<(), ApiError> {
        for (name, value) in &self.rest {
            let (code, problem) = match judge(name, value) {
                Leftover::Harmless => continue,
                Leftover::Unsupported if value.is_null() => continue,
                Leftover::Unsupported => {
                    ("unsupported_parameter", " is not supported; leave it out")
                }
                Leftover::Unknown => ("unknown_parameter", " is not a field of this request"),
            };
            return Err(ApiError::field(code, self.name(name), problem));
        }
        Ok(())
    }
}

/// `value` as a `T`, or the error that names the field.
pub(super) fn read<T: DeserializeOwned>(name: String, value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| ApiError::invalid(name, error))
}
