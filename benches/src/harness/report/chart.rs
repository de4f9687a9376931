//! Line charts as inline SVG.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: Axis,
    /// What the vertical axis shows, with its unit.
    pub(super) y: &'static str,
    pub(super) series: Vec<Series>,
    /// A level to compare with.
    pub(super) level: Option<f64>,
    /// Places on the horizontal axis where something changes.
    pub(super) marks: Vec<f64>,
}

/// The horizontal axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub(super) label: &'static str,
    /// Equal steps double.
    pub(super) doubles: bool,
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// A point of a line, and where it could as well lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) bounds: Option<[f64; 2]>,
}

const SIZE: (u32, u32) = (600, 340);
const GREY: RGBColor = RGBColor(110, 118, 129);
/// Told apart by colour-blind readers too (Okabe and Ito's palette, without its yellow).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// A series' colour as CSS has it.
pub(super) fn css_colour(index: usize) -> String {
    let RGBColor(red, green, blue) = colour(index);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

type Area<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Chart {
    /// The chart as an `<svg>` element, without title and legend.
    pub(super) fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            // plotters' errors borrow the drawing area.
            self.draw(&root)
                .map_err(|error| anyhow!("drawing {}: {error}", self.title))?;
        }
        Ok(svg)
    }

    fn draw<'a>(&self, root: &DrawingArea<SVGBackend<'a>, Shift>) -> Result<()> {
        let (x, y) = (self.x_range(), self.y_range());
        let mut area: Area<'a> = ChartBuilder::on(root)
            .margin(8)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        self.mesh(&mut area)?;
        if let Some(level) = self.level {
            area.draw_series(LineSeries::new(
                [(x.0, level), (x.1, level)],
                GREY.stroke_width(1),
            ))?;
        }
        for &mark in &self.marks {
            let place = self.place(mark);
            area.draw_series(DashedLineSeries::new(
                [(place, y.0), (place, y.1)],
                5,
                5,
                GREY.stroke_width(1),
            ))?;
        }
        for (index, series) in self.series.iter().enumerate() {
            self.line(&mut area, index, series)?;
        }
        root.present()?;
        Ok(())
    }

    fn line(&self, area: &mut Area<'_>, index: usize, series: &Series) -> Result<()> {
        // Lines stand a little apart where they have intervals, which would hide one another.
        let apart = index as f64 - (self.series.len() - 1) as f64 / 2.0;
        let shift = if self.level.is_some() {
            0.04 * apart
        } else {
            0.0
        };
        let place = |point: &Point| self.place(point.x) + shift;
        let colour = colour(index);
        let points = || series.points.iter().map(|point| (place(point), point.y));
        area.draw_series(LineSeries::new(points(), colour.stroke_width(2)))?;
        area.draw_series(points().map(|at| Circle::new(at, 3, colour.filled())))?;
        let bars = series.points.iter().filter_map(|point| {
            let ([low, high], thin) = (point.bounds?, colour.stroke_width(1));
            Some(ErrorBar::new_vertical(
                place(point),
                low,
                point.y,
                high,
                thin,
                6,
            ))
        });
        area.draw_series(bars)?;
        Ok(())
    }

    fn mesh(&self, area: &mut Area<'_>) -> Result<()> {
        let font = || ("sans-serif", 15).into_font().color(&GREY);
        let x_text = |place: &f64| number(if self.x.doubles { place.exp2() } else { *place });
        let y_text = |y: &f64| number(*y);
        let x_labels = if self.x.doubles {
            (self.x_range().1 - self.x_range().0).ceil() as usize + 1
        } else {
            8
        };
        area.configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.25))
            .axis_style(GREY)
            .label_style(font())
            .axis_desc_style(font())
            .x_labels(x_labels)
            .y_labels(6)
            .x_desc(self.x.label)
            .y_desc(self.y)
            .x_label_formatter(&x_text)
            .y_label_formatter(&y_text)
            .draw()?;
        Ok(())
    }

    /// Where a value stands on the horizontal axis.
    fn place(&self, x: f64) -> f64 {
        if self.x.doubles { x.log2() } else { x }
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }

    fn x_range(&self) -> (f64, f64) {
        let places = self.points().map(|point| self.place(point.x));
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
            (low.min(place), high.max(place))
        });
        if self.x.doubles {
            (low - 0.2, high + 0.2)
        } else {
            (0.0, high * 1.05)
        }
    }

    /// From 0, or around the level that there is to compare with, to a little above all that is drawn.
    fn y_range(&self) -> (f64, f64) {
        let ends = self.points().flat_map(|point| {
            let [low, high] = point.bounds.unwrap_or([point.y; 2]);
            [low, high]
        });
        let (low, high) = ends
            .chain(self.level)
            .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), end| {
                (low.min(end), high.max(end))
            });
        let pad = (high - low).max(0.1 * high) * 0.15;
        match self.level {
            Some(_) => ((low - pad).max(0.0), high + pad),
            None if high > 0.0 => (0.0, high * 1.1),
            None => (0.0, 1.0),
        }
    }
}

/// A number for an axis.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 10.0 || size.fract() == 0.0 => 0,
        size if size >= 1.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
