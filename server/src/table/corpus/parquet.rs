//! A column of a Parquet file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::input::{Content, Documents, Raw};

/// The texts of a column, one document each; rows without one are none.
pub(super) fn documents(path: &Path, field: &str, progress: ProgressBar) -> Result<Documents> {
    let file = File::open(path)?;
    let num_bytes = file.metadata()?.len();
    let reader = SerializedFileReader::new(file)?;
    let metadata = reader.metadata().file_metadata();
    let num_rows = metadata.num_rows().max(1) as u64;
    let projection = column(metadata.schema(), field)?;
    let rows = RowIter::from_file_into(Box::new(reader)).project(Some(projection))?;
    let start = progress.position();
    let texts = (1..).zip(rows).filter_map(move |(number, row): (u64, _)| {
        let done = u128::from(num_bytes) * u128::from(number) / u128::from(num_rows);
        progress.set_position(start + done as u64);
        let place = format!("row {number}");
        let text = row.map_err(Into::into).and_then(|row| text(&row));
        let text = text.with_context(|| place.clone()).transpose()?;
        Some(text.map(|text| Raw {
            content: Content::Text(text),
            place,
        }))
    });
    Ok(Box::new(texts))
}

/// The schema of one column alone.
fn column(schema: &Type, field: &str) -> Result<Type> {
    let columns = schema.get_fields();
    let Some(column) = columns.iter().find(|column| column.name() == field) else {
        let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
        bail!("no column `{field}`, but {}: see --field", names.join(", "));
    };
    let schema = Type::group_type_builder(schema.name()).with_fields(vec![Arc::clone(column)]);
    Ok(schema.build()?)
}

fn text(row: &Row) -> Result<Option<String>> {
    match row.get_column_iter().next() {
        Some((_, Field::Str(text))) => Ok(Some(text.clone())),
        Some((_, Field::Bytes(bytes))) => Ok(Some(bytes.as_utf8()?.to_owned())),
        Some((_, Field::Null)) | None => Ok(None),
        Some((name, other)) => bail!("`{name}` is {other}, expected a text"),
    }
}
