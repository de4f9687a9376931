//! `curves.svg`: how a run went.

use std::path::Path;

use anyhow::{Result, anyhow};
use foretoken_draft::chimera::train::Validation;
use plotters::prelude::*;

use super::journal::Line;

const SIZE: (u32, u32) = (900, 900);

/// Told apart by colour-blind readers too (Okabe and Ito's palette, without its yellow).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// A line of a chart: its name, and its points over tokens of text.
type Series = (String, Vec<(f64, f64)>);

/// Draws loss, accuracy and acceptance over the tokens of text.
pub(super) fn draw(lines: &[Line], path: &Path) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let charts = [
        ("loss (nats)", losses(lines)),
        ("likeliest token right (held out)", accuracies(lines)),
        ("tokens per verify (held out)", acceptance(lines)),
    ];
    root.fill(&WHITE)
        .map_err(|error| anyhow!("curves: {error}"))?;
    for (area, (title, series)) in root.split_evenly((charts.len(), 1)).iter().zip(charts) {
        // plotters' errors borrow the drawing area.
        chart(area, title, &series).map_err(|error| anyhow!("curves: {title}: {error}"))?;
    }
    root.present().map_err(|error| anyhow!("curves: {error}"))?;
    Ok(())
}

fn chart(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    series: &[Series],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || series.iter().flat_map(|(_, points)| points);
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points()
        .map(|point| point.1)
        .fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return Ok(());
    }
    let margin = 0.05 * (high - low).max(1e-3);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..last, low - margin..high + margin)
        .map_err(|error| error.to_string())?;
    let mesh = chart
        .configure_mesh()
        .x_desc("tokens of text, millions")
        .draw();
    mesh.map_err(|error| error.to_string())?;
    for (index, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        let drawn = chart.draw_series(line).map_err(|error| error.to_string())?;
        drawn
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    let legend = chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .draw();
    legend.map_err(|error| error.to_string())?;
    Ok(())
}

fn losses(lines: &[Line]) -> Vec<Series> {
    let mut smooth = None;
    let updates = lines.iter().filter_map(|line| match line {
        Line::Update { update, .. } => {
            let before = smooth.unwrap_or(update.loss);
            smooth = Some(0.95 * before + 0.05 * update.loss);
            Some((millions(update.tokens), smooth.unwrap_or(update.loss)))
        }
        Line::Validation { .. } => None,
    });
    let mut series = vec![("training, smoothed".to_owned(), updates.collect())];
    series.extend(by_step(lines, "held out, step", |validation, step| {
        validation.steps[step].loss
    }));
    series
}

fn accuracies(lines: &[Line]) -> Vec<Series> {
    by_step(lines, "step", |validation, step| {
        validation.steps[step].top_1
    })
}

fn acceptance(lines: &[Line]) -> Vec<Series> {
    vec![
        (
            "temperature 0".to_owned(),
            points(lines, |validation| validation.acceptance_length),
        ),
        (
            "temperature 1, at best".to_owned(),
            points(lines, |validation| validation.sampled_acceptance_length),
        ),
    ]
}

fn by_step(lines: &[Line], name: &str, value: impl Fn(&Validation, usize) -> f64) -> Vec<Series> {
    let num_steps = lines.iter().find_map(|line| match line {
        Line::Validation { validation, .. } => Some(validation.steps.len()),
        Line::Update { .. } => None,
    });
    let series = |step| {
        let points = points(lines, |validation| value(validation, step));
        (format!("{name} {}", step + 1), points)
    };
    (0..num_steps.unwrap_or(0)).map(series).collect()
}

fn points(lines: &[Line], value: impl Fn(&Validation) -> f64) -> Vec<(f64, f64)> {
    let point = |line: &Line| match line {
        Line::Validation {
            tokens, validation, ..
        } => Some((millions(*tokens), value(validation))),
        Line::Update { .. } => None,
    };
    lines.iter().filter_map(point).collect()
}

fn millions(tokens: u64) -> f64 {
    tokens as f64 / 1e6
}
