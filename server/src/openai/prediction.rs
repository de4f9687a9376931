//! OpenAI's `prediction`: what a client expects most of the answer to be, such as the text that it wants edited.

use serde_json::Value;

use super::chat::texts_of;
use super::error::ApiError;
use super::fields::Fields;
use super::leftover::Leftover;

/// Takes the expected text out of a body. Its parts are pieces of one text.
pub(super) fn prediction(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let Some(value) = fields.take("prediction")? else {
        return Ok(None);
    };
    let mut prediction = Fields::of(&fields.name("prediction"), value)?;
    let kind: String = prediction.require("type")?;
    if kind != "content" {
        let problem = format!("is `{kind}`, only `content` is supported");
        return Err(prediction.invalid("type", problem));
    }
    let text = match prediction.require("content")? {
        Value::String(text) => text,
        Value::Array(parts) => texts_of(&prediction, parts)?.concat(),
        _ => return Err(prediction.invalid("content", "is neither a string nor an array")),
    };
    prediction.finish(Leftover::in_part)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
