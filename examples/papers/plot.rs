//! Plots as SVG: panels with two axes, lines, points and a legend, for black text on white whatever the page's colours are.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
/// Of one panel; they stand above each other.
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
/// The height of a line of the legend.
const LEGEND: f64 = 18.0;

/// Colours that differ in lightness too.
pub const COLOURS: [&str; 4] = ["#7b3fe4", "#e08a00", "#0a7d70", "#c2185b"];

/// One axis.
pub struct Axis {
    pub label: &'static str,
    pub from: f64,
    pub to: f64,
    pub logarithmic: bool,
}

/// A series of points, joined or not.
pub struct Series {
    pub name: String,
    pub colour: &'static str,
    pub points: Vec<(f64, f64)>,
    pub look: Look,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Line,
    Dashes,
    /// Not joined: figures of others.
    Circles,
    Crosses,
}

/// Where the legend has room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Corner {
    TopLeft,
    TopRight,
}

pub struct Panel {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    pub legend: Corner,
}

/// Draws the panels above each other.
pub fn svg(panels: &[Panel]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>"
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", HEIGHT * number as f64);
        panel.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

impl Axis {
    pub fn linear(label: &'static str, from: f64, to: f64) -> Axis {
        Axis { label, from, to, logarithmic: false }
    }

    pub fn logarithmic(label: &'static str, from: f64, to: f64) -> Axis {
        Axis { label, from, to, logarithmic: true }
    }

    /// Where a value is on the axis, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            return self.logarithmic_ticks();
        }
        let rough = (self.to - self.from) / 7.0;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|part| part * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.from / step).ceil() as i64;
        (first..).map(|tick| tick as f64 * step).take_while(|tick| *tick <= self.to + step / 1e6).collect()
    }

    /// At 1, 2 and 5 of every decade, or at the decades alone if that is too many.
    fn logarithmic_ticks(&self) -> Vec<f64> {
        let decades = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let parts: &[f64] = if (self.to / self.from).log10() > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = decades.flat_map(|decade| parts.iter().map(move |part| part * 10f64.powi(decade)));
        all.filter(|tick| (self.from * 0.999..=self.to * 1.001).contains(tick)).collect()
    }
}

impl Panel {
    fn draw(&self, svg: &mut String) {
        let title = escaped(&self.title);
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{title}</text>");
        self.draw_axes(svg);
        for series in &self.series {
            self.draw_series(svg, series);
        }
        self.draw_legend(svg);
    }

    fn draw_axes(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.x.ticks() {
            let (x, label) = (self.x(tick), number(tick));
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                bottom + 17.0
            );
        }
        for tick in self.y.ticks() {
            let (y, label) = (self.y(tick), number(tick));
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(14 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 12.0,
            escaped(self.x.label),
            escaped(self.y.label)
        );
    }

    fn draw_series(&self, svg: &mut String, series: &Series) {
        let colour = series.colour;
        let places = series.points.iter().map(|(x, y)| (self.x(*x), self.y(*y)));
        match series.look {
            Look::Line | Look::Dashes => {
                let path: Vec<String> = places.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
                let dashes = dashes(series.look);
                let path = path.join("L");
                let _ =
                    writeln!(svg, "<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>");
            }
            Look::Circles | Look::Crosses => places.for_each(|place| mark(svg, place, series)),
        }
    }

    fn draw_legend(&self, svg: &mut String) {
        let rows = self.series.len() as f64;
        let longest = self.series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
        // About what a letter takes at this size.
        let width = 46.0 + 6.2 * longest as f64;
        let left = if self.legend == Corner::TopLeft { LEFT + 12.0 } else { WIDTH - RIGHT - width };
        let top = TOP + 6.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{top}\" width=\"{width}\" height=\"{}\" fill=\"#fff\" fill-opacity=\"0.8\"/>",
            left - 6.0,
            LEGEND * rows + 4.0
        );
        for (row, series) in self.series.iter().enumerate() {
            let y = top + 12.0 + LEGEND * row as f64;
            match series.look {
                Look::Line | Look::Dashes => {
                    let (colour, dashes) = (series.colour, dashes(series.look));
                    let _ =
                        writeln!(svg, "<path d=\"M{left} {y}h24\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>");
                }
                Look::Circles | Look::Crosses => mark(svg, (left + 12.0, y), series),
            }
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{}</text>", left + 32.0, y + 4.0, escaped(&series.name));
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - BOTTOM - TOP)
    }
}

fn mark(svg: &mut String, (x, y): (f64, f64), series: &Series) {
    let path = match series.look {
        Look::Crosses => format!("M{:.1} {:.1}l8 8m0 -8l-8 8", x - 4.0, y - 4.0),
        _ => format!("M{:.1} {y:.1}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0", x - 4.5),
    };
    let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"/>", series.colour);
}

fn dashes(look: Look) -> &'static str {
    if look == Look::Dashes { " stroke-dasharray=\"6 4\"" } else { "" }
}

fn number(value: f64) -> String {
    // Sums of tenths show digits that nobody wants.
    let rounded = (value * 1e6).round() / 1e6;
    if rounded >= 10_000.0 {
        format!("{},{:03}", rounded as u64 / 1_000, rounded as u64 % 1_000)
    } else {
        rounded.to_string()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
