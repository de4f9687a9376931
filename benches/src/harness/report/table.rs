//! Tables of a page.

/// A table: heads, and rows of cells that are HTML already.
pub(super) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = cells("th", &mut heads.iter().map(|head| escape(head)));
    let body: String = rows
        .into_iter()
        .map(|row| cells("td", &mut row.into_iter()))
        .collect();
    format!(
        "<div class=\"scroll\"><table><thead>{head}</thead><tbody>\n{body}</tbody></table></div>\n"
    )
}

/// A share of one as a bar with its figure.
pub(super) fn bar(share: f64) -> String {
    let percent = share * 100.0;
    format!(
        "<span class=\"bar\"><i style=\"width:{:.1}%\"></i></span> {percent:.1} %",
        percent.clamp(0.0, 100.0)
    )
}

/// Text that HTML takes as text.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Stands where there is no figure.
pub(super) const DASH: &str = "–";

/// Items by a name that they have, names in the order in which they first come.
pub(super) fn groups<'a, T, N: PartialEq>(
    items: &'a [T],
    name: impl Fn(&'a T) -> N,
) -> Vec<(N, Vec<&'a T>)> {
    let mut groups: Vec<(N, Vec<&T>)> = Vec::new();
    for item in items {
        let name = name(item);
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push(item),
            None => groups.push((name, vec![item])),
        }
    }
    groups
}
