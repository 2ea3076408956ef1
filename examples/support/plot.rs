//! Plots of the examples as PNG: learning curves and confusion matrices, with an embedded font and no system library.
#![allow(dead_code)] // an example draws what it needs

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const FONT: &[u8] = include_bytes!("../data/DejaVuSans-ascii.ttf");
const INK: RGBColor = RGBColor(34, 40, 49);
const GRID: RGBColor = RGBColor(226, 230, 235);
/// The colours of Okabe and Ito, which colour-blind readers can tell apart.
const CURVES: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// A named curve: the label in the legend, and the points `(x, y)`.
pub(crate) type Curve = (String, Vec<(f64, f64)>);

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

/// Draws `curves` over common axes into the PNG file `path`; points that are not finite are left out.
pub(crate) fn learning_curve(
    path: &Path,
    curves: &[Curve],
    title: &str,
    x_label: &str,
    y_label: &str,
) -> Result<(), Box<dyn Error>> {
    let curves: Vec<Curve> =
        curves.iter().map(|(label, points)| (label.clone(), finite(points))).collect();
    let points = || curves.iter().flat_map(|(_, points)| points);
    let x_range = range(points().map(|point| point.0), 0.02);
    let y_range = range(points().map(|point| point.1), 0.06);
    let legend = legend_position(&curves, &x_range, &y_range);

    let area = canvas(path, 1000, 620)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, text(28))
        .margin(22)
        .x_label_area_size(58)
        .y_label_area_size(86)
        .build_cartesian_2d(x_range, y_range)?;
    chart
        .configure_mesh()
        .x_desc(x_label)
        .y_desc(y_label)
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .axis_desc_style(text(20))
        .label_style(text(17))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for ((label, points), color) in curves.into_iter().zip(CURVES.into_iter().cycle()) {
        let radius = if points.len() <= 60 { 4 } else { 0 };
        let line = LineSeries::new(points, color.filled().stroke_width(2)).point_size(radius);
        chart
            .draw_series(line)?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .margin(14)
        .legend_area_size(34)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(text(18))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Draws `counts[actual][predicted]` into the PNG file `path`; a cell is the darker, the larger its share of its row.
pub(crate) fn confusion_matrix(
    path: &Path,
    counts: &[Vec<usize>],
    classes: &[String],
    title: &str,
) -> Result<(), Box<dyn Error>> {
    let n = classes.len();
    if counts.len() != n || counts.iter().any(|row| row.len() != n) {
        return Err(format!("confusion_matrix: {n} classes need {n} rows of {n} counts").into());
    }
    let (cell, left, top) = (64, 110, 78);
    let side = cell * n as i32;
    let area = canvas(path, (left + side + 30) as u32, (top + side + 84) as u32)?;
    let middle = left + side / 2;
    write(&area, title, (middle, 38), text(26))?;
    write(&area, "predicted", (middle, top + side + 58), text(20))?;
    let vertical = text(20).transform(FontTransform::Rotate270);
    write(&area, "actual", (34, top + side / 2), vertical)?;

    let start = |index: usize, origin: i32| origin + cell * index as i32;
    for (actual, (row, class)) in counts.iter().zip(classes).enumerate() {
        let (along, y) = (start(actual, left) + cell / 2, start(actual, top));
        write(&area, class, (left - 30, y + cell / 2), text(18))?;
        write(&area, class, (along, top + side + 24), text(18))?;
        let total = row.iter().sum::<usize>().max(1);
        for (predicted, &count) in row.iter().enumerate() {
            let x = start(predicted, left);
            // The cube root lifts rare confusions out of the pale.
            let weight = (count as f64 / total as f64).cbrt();
            let fill = shade(weight, actual == predicted);
            area.draw(&Rectangle::new([(x, y), (x + cell - 2, y + cell - 2)], fill.filled()))?;
            if count > 0 {
                let ink = if weight > 0.6 { WHITE } else { INK };
                let style = text(18).color(&ink);
                write(&area, &count.to_string(), (x + cell / 2 - 1, y + cell / 2 - 1), style)?;
            }
        }
    }
    area.present()?;
    Ok(())
}

/// A white canvas, ready to write text on; creates the folder of `path`.
fn canvas(path: &Path, width: u32, height: u32) -> Result<Area<'_>, Box<dyn Error>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    register_font("sans-serif", FontStyle::Normal, FONT)
        .map_err(|_| "the embedded font is damaged")?;
    let area = BitMapBackend::new(path, (width, height)).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area)
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Writes centred on `center`.
fn write(
    area: &Area<'_>,
    words: &str,
    center: (i32, i32),
    style: TextStyle<'_>,
) -> Result<(), Box<dyn Error>> {
    area.draw_text(words, &style.pos(Pos::new(HPos::Center, VPos::Center)), center)?;
    Ok(())
}

/// From pale to blue for right answers, to orange for wrong ones.
fn shade(weight: f64, right: bool) -> RGBColor {
    let full = if right { CURVES[0] } else { CURVES[1] };
    let mix =
        |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * weight) as u8;
    RGBColor(mix(243, full.0), mix(245, full.1), mix(248, full.2))
}

fn finite(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}

/// From the least to the largest of `values`, widened by a `margin` share of that and never empty.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let width = if high > low { (high - low) * margin } else { 0.5 };
    low - width..high + width
}

/// The corner with the fewest points, one on the right if there is a choice.
fn legend_position(
    curves: &[Curve],
    x_range: &Range<f64>,
    y_range: &Range<f64>,
) -> SeriesLabelPosition {
    let place = |value: f64, range: &Range<f64>| (value - range.start) / (range.end - range.start);
    let points = || curves.iter().flat_map(|(_, points)| points);
    let inside = |right: bool, upper: bool| {
        let near = |place: f64, end: bool| if end { place > 0.75 } else { place < 0.25 };
        let at = |&&(x, y): &&(f64, f64)| {
            near(place(x, x_range), right) && near(place(y, y_range), upper)
        };
        points().filter(at).count()
    };
    let corners = [
        (inside(true, true), SeriesLabelPosition::UpperRight),
        (inside(true, false), SeriesLabelPosition::LowerRight),
        (inside(false, true), SeriesLabelPosition::UpperLeft),
        (inside(false, false), SeriesLabelPosition::LowerLeft),
    ];
    let best = corners.into_iter().min_by_key(|(count, _)| *count);
    best.map_or(SeriesLabelPosition::UpperRight, |(_, corner)| corner)
}

/// A label of an axis: no more digits than it takes.
fn tick(value: &f64) -> String {
    let size = value.abs();
    if size > 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    ((value * 1e6).round() / 1e6).to_string()
}
