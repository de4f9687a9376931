//! The page around the sections, and the charts in it.

use anyhow::Result;

use super::chart::{Chart, css_colour};
use super::table::escape;

const STYLE: &str = include_str!("style.css");

/// A page that loads nothing.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// A part of the page; nothing if it is empty.
pub(super) fn section(title: &str, note: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!(
        "<section>\n<h2>{}</h2>\n<p>{}</p>\n{body}</section>\n",
        escape(title),
        escape(note)
    )
}

/// Charts side by side; those without a line are left out.
pub(super) fn charts(charts: impl IntoIterator<Item = Chart>) -> Result<String> {
    let mut figures = String::new();
    for chart in charts {
        if chart.series.iter().any(|series| !series.points.is_empty()) {
            figures += &figure(&chart)?;
        }
    }
    Ok(if figures.is_empty() {
        figures
    } else {
        format!("<div class=\"charts\">\n{figures}</div>\n")
    })
}

fn figure(chart: &Chart) -> Result<String> {
    let legend: String = (chart.series.iter().enumerate())
        .map(|(index, series)| {
            let (colour, name) = (css_colour(index), escape(&series.name));
            format!("<span><i style=\"background:{colour}\"></i>{name}</span>")
        })
        .collect();
    let (title, svg) = (escape(&chart.title), chart.svg()?);
    Ok(format!(
        "<figure>\n<figcaption>{title}<div class=\"legend\">{legend}</div></figcaption>\n{svg}</figure>\n"
    ))
}
