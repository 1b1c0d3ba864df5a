//! A plot of a few lines over logarithmic axes, as SVG.

use std::{fmt::Write, path::Path};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 56.0;
const COLOURS: [&str; 4] = ["#0b6", "#888", "#06c", "#c60"];

pub struct Plot<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// Each with its name and its points.
    pub lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

impl Plot<'_> {
    /// Writes it; a folder that is not there is made.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, self.svg())
    }

    fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let x = Axis::over(points().map(|point| point.0), MARGIN, WIDTH - MARGIN / 2.0);
        let y = Axis::over(points().map(|point| point.1), HEIGHT - MARGIN, MARGIN);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
             <text x=\"{MARGIN}\" y=\"18\" font-size=\"13\">{}</text>",
            self.title
        );
        let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
            let _ = write!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{text}</text>");
        };
        text(WIDTH / 2.0, HEIGHT - 12.0, "middle", self.x);
        text(MARGIN, MARGIN - 10.0, "end", self.y);
        for tick in x.ticks() {
            text(x.place(tick), HEIGHT - MARGIN + 16.0, "middle", &shown(tick));
        }
        for tick in y.ticks() {
            text(MARGIN - 6.0, y.place(tick) + 4.0, "end", &shown(tick));
        }
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let places = points.iter().map(|point| format!("{:.1},{:.1}", x.place(point.0), y.place(point.1)));
            let places: Vec<_> = places.collect();
            let (at, label) = (MARGIN + 8.0, MARGIN + 14.0 * number as f64);
            let _ = write!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{at}\" y=\"{label}\" fill=\"{colour}\">{name}</text>",
                places.join(" ")
            );
        }
        svg + "</svg>\n"
    }
}

/// From a decade to a decade, over a stretch of the picture.
struct Axis {
    decades: (i32, i32),
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min).log10().floor() as i32;
        let most = values.fold(f64::NEG_INFINITY, f64::max).log10().ceil() as i32;
        Self { decades: (least, most.max(least + 1)), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let (least, most) = (f64::from(self.decades.0), f64::from(self.decades.1));
        self.from + (self.to - self.from) * (value.log10() - least) / (most - least)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        (self.decades.0..=self.decades.1).map(|decade| 10f64.powi(decade))
    }
}

fn shown(value: f64) -> String {
    if value >= 0.001 { format!("{value}") } else { format!("{value:e}") }
}
