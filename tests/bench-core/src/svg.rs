//! Plots as SVG: grouped bars and lines over logarithmic scales.
//!
//! The background is transparent and every colour stands out from white as from a dark page, so that one file serves both themes of a
//! page that shows it.

use std::fmt::Write;
use std::ops::Range;

/// Text.
pub const INK: &str = "#7d8590";
/// Colours of series.
pub const COLOURS: [&str; 4] = ["#3b82f6", "#d97706", "#a855f7", "#16a34a"];

const WIDTH: f64 = 860.0;
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";

/// What the colours and dashes stand for.
pub struct Series {
    pub name: String,
    pub colour: &'static str,
    pub dashed: bool,
}

/// A group of bars: a label, and a value for each series that has one.
pub struct Group {
    pub label: String,
    pub values: Vec<Option<f64>>,
}

/// Horizontal bars from the left, on a logarithmic scale.
pub struct Bars {
    pub title: String,
    pub unit: &'static str,
    pub series: Vec<Series>,
    pub groups: Vec<Group>,
}

/// Lines through points, on logarithmic scales.
pub struct Lines {
    pub title: String,
    pub x_unit: &'static str,
    pub y_unit: &'static str,
    /// Each with its points.
    pub lines: Vec<(Series, Vec<(f64, f64)>)>,
}

/// A logarithmic scale from one power of ten to another.
struct Scale {
    decades: Range<i32>,
    pixels: Range<f64>,
}

impl Scale {
    /// One that holds the values; at least a decade.
    fn over(values: impl Iterator<Item = f64> + Clone, pixels: Range<f64>) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min).max(1e-3);
        let most = values.fold(least, f64::max);
        let from = least.log10().floor() as i32;
        Self { decades: from..(most.log10().ceil() as i32).max(from + 1), pixels }
    }

    fn at(&self, value: f64) -> f64 {
        let decades = f64::from(self.decades.end - self.decades.start);
        let share = (value.max(1e-3).log10() - f64::from(self.decades.start)) / decades;
        self.pixels.start + share.clamp(0.0, 1.0) * (self.pixels.end - self.pixels.start)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.decades.start..=self.decades.end).map(|decade| 10_f64.powi(decade))
    }
}

impl Bars {
    /// The file.
    pub fn svg(&self) -> String {
        const LABELS: f64 = 235.0;
        const VALUES: f64 = 60.0;
        const BAR: f64 = 9.0;
        const GAP: f64 = 9.0;
        let group_height = BAR * self.series.len() as f64 + GAP;
        let top = 62.0;
        let bottom = top + group_height * self.groups.len() as f64;
        let mut svg = Svg::new(&self.title, bottom + 40.0);
        svg.legend(&self.series);
        let values = self.groups.iter().flat_map(|group| group.values.iter().flatten().copied());
        let scale = Scale::over(values, LABELS..WIDTH - VALUES);
        for mark in scale.marks() {
            svg.line((scale.at(mark), top - 4.0), (scale.at(mark), bottom));
            svg.text((scale.at(mark), bottom + 16.0), "middle", 11, &short(mark));
        }
        svg.text(((LABELS + WIDTH - VALUES) / 2.0, bottom + 32.0), "middle", 11, self.unit);
        for (at, group) in self.groups.iter().enumerate() {
            let y = top + group_height * at as f64;
            svg.text((LABELS - 8.0, y + (group_height - GAP) / 2.0 + 4.0), "end", 12, &group.label);
            for (nth, (value, series)) in group.values.iter().zip(&self.series).enumerate() {
                let Some(value) = value else { continue };
                let y = y + BAR * nth as f64;
                let width = (scale.at(*value) - LABELS).max(1.0);
                svg.bar((LABELS, y), (width, BAR - 1.5), series.colour);
                svg.text((LABELS + width + 4.0, y + BAR - 2.0), "start", 9, &short(*value));
            }
        }
        svg.finish()
    }
}

impl Lines {
    /// The file.
    pub fn svg(&self) -> String {
        const LEFT: f64 = 70.0;
        const TOP: f64 = 72.0;
        const HEIGHT: f64 = 340.0;
        // Four to a row of the legend: those of secondmate, and below them those of kube-scheduler.
        let legend_rows = self.lines.len().div_ceil(4);
        let top = TOP + 18.0 * (legend_rows.saturating_sub(1)) as f64;
        let bottom = top + HEIGHT;
        let mut svg = Svg::new(&self.title, bottom + 44.0);
        for (row, lines) in self.lines.chunks(4).enumerate() {
            for (at, (series, _)) in lines.iter().enumerate() {
                svg.legend_entry((12.0 + 212.0 * at as f64, 42.0 + 18.0 * row as f64), series);
            }
        }
        let points = || self.lines.iter().flat_map(|(_, points)| points.iter().copied());
        let x = Scale::over(points().map(|(x, _)| x), LEFT..WIDTH - 24.0);
        let y = Scale::over(points().map(|(_, y)| y), bottom..top);
        for mark in x.marks() {
            svg.line((x.at(mark), top), (x.at(mark), bottom));
            svg.text((x.at(mark), bottom + 16.0), "middle", 11, &short(mark));
        }
        for mark in y.marks() {
            svg.line((LEFT, y.at(mark)), (WIDTH - 24.0, y.at(mark)));
            svg.text((LEFT - 6.0, y.at(mark) + 4.0), "end", 11, &short(mark));
        }
        svg.text(((LEFT + WIDTH - 24.0) / 2.0, bottom + 34.0), "middle", 11, self.x_unit);
        svg.text((LEFT - 6.0, top - 8.0), "start", 11, self.y_unit);
        for (series, points) in &self.lines {
            let points: Vec<_> = points.iter().map(|(px, py)| (x.at(*px), y.at(*py))).collect();
            svg.polyline(&points, series);
        }
        svg.finish()
    }
}

/// A drawing as it grows.
struct Svg {
    text: String,
}

impl Svg {
    fn new(title: &str, height: f64) -> Self {
        let mut svg = Self { text: String::new() };
        svg.put(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0}" viewBox="0 0 {WIDTH} {height:.0}" role="img" font-family="{FONT}">"#
        ));
        svg.put(format_args!("<title>{}</title>", escape(title)));
        svg.text((12.0, 22.0), "start", 15, title);
        svg
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{what}").expect("a string takes everything");
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, size: u32, text: &str) {
        let text = escape(text);
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="{INK}">{text}</text>"#
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.put(format_args!(
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{INK}" stroke-opacity="0.3"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        self.put(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
        ));
    }

    fn polyline(&mut self, points: &[(f64, f64)], series: &Series) {
        let list: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dashes = if series.dashed { r#" stroke-dasharray="6 4""# } else { "" };
        let (list, colour) = (list.join(" "), series.colour);
        self.put(format_args!(
            r#"<polyline points="{list}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>"#
        ));
        for (x, y) in points {
            self.put(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#));
        }
    }

    fn legend(&mut self, series: &[Series]) {
        for (at, series) in series.iter().enumerate() {
            self.legend_entry((12.0 + 250.0 * at as f64, 42.0), series);
        }
    }

    fn legend_entry(&mut self, (x, y): (f64, f64), series: &Series) {
        let (to, y_line, colour) = (x + 22.0, y - 4.0, series.colour);
        let dashes = if series.dashed { r#" stroke-dasharray="6 4""# } else { "" };
        self.put(format_args!(
            r#"<line x1="{x:.1}" y1="{y_line:.1}" x2="{to:.1}" y2="{y_line:.1}" stroke="{colour}" stroke-width="4"{dashes}/>"#
        ));
        self.text((x + 28.0, y), "start", 12, &series.name);
    }
}

/// A number for a mark or a bar.
fn short(value: f64) -> String {
    match value {
        v if v >= 999_500.0 => format!("{}M", trimmed(v / 1e6)),
        v if v >= 999.5 => format!("{}k", trimmed(v / 1e3)),
        v => trimmed(v),
    }
}

/// At most three significant digits.
fn trimmed(value: f64) -> String {
    let text = match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn series(name: &str, dashed: bool) -> Series {
        Series { name: name.to_owned(), colour: COLOURS[0], dashed }
    }

    #[test]
    fn bars_begin_at_a_power_of_ten_and_say_their_values() {
        let bars = Bars {
            title: "a < b".to_owned(),
            unit: "us",
            series: vec![series("one", false), series("two", false)],
            groups: vec![
                Group { label: "basic".to_owned(), values: vec![Some(20.0), None] },
                Group { label: "other".to_owned(), values: vec![Some(1000.0), Some(15_300.0)] },
            ],
        };
        expect![[r##"
            <svg xmlns="http://www.w3.org/2000/svg" width="860" height="156" viewBox="0 0 860 156" role="img" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif">
            <title>a &lt; b</title>
            <text x="12.0" y="22.0" text-anchor="start" font-size="15" fill="#7d8590">a &lt; b</text>
            <line x1="12.0" y1="38.0" x2="34.0" y2="38.0" stroke="#3b82f6" stroke-width="4"/>
            <text x="40.0" y="42.0" text-anchor="start" font-size="12" fill="#7d8590">one</text>
            <line x1="262.0" y1="38.0" x2="284.0" y2="38.0" stroke="#3b82f6" stroke-width="4"/>
            <text x="290.0" y="42.0" text-anchor="start" font-size="12" fill="#7d8590">two</text>
            <line x1="235.0" y1="58.0" x2="235.0" y2="116.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="235.0" y="132.0" text-anchor="middle" font-size="11" fill="#7d8590">10</text>
            <line x1="376.2" y1="58.0" x2="376.2" y2="116.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="376.2" y="132.0" text-anchor="middle" font-size="11" fill="#7d8590">100</text>
            <line x1="517.5" y1="58.0" x2="517.5" y2="116.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="517.5" y="132.0" text-anchor="middle" font-size="11" fill="#7d8590">1k</text>
            <line x1="658.8" y1="58.0" x2="658.8" y2="116.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="658.8" y="132.0" text-anchor="middle" font-size="11" fill="#7d8590">10k</text>
            <line x1="800.0" y1="58.0" x2="800.0" y2="116.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="800.0" y="132.0" text-anchor="middle" font-size="11" fill="#7d8590">100k</text>
            <text x="517.5" y="148.0" text-anchor="middle" font-size="11" fill="#7d8590">us</text>
            <text x="227.0" y="75.0" text-anchor="end" font-size="12" fill="#7d8590">basic</text>
            <rect x="235.0" y="62.0" width="42.5" height="7.5" fill="#3b82f6"/>
            <text x="281.5" y="69.0" text-anchor="start" font-size="9" fill="#7d8590">20</text>
            <text x="227.0" y="102.0" text-anchor="end" font-size="12" fill="#7d8590">other</text>
            <rect x="235.0" y="89.0" width="282.5" height="7.5" fill="#3b82f6"/>
            <text x="521.5" y="96.0" text-anchor="start" font-size="9" fill="#7d8590">1k</text>
            <rect x="235.0" y="98.0" width="449.8" height="7.5" fill="#3b82f6"/>
            <text x="688.8" y="105.0" text-anchor="start" font-size="9" fill="#7d8590">15.3k</text>
            </svg>
        "##]].assert_eq(&bars.svg());
    }

    #[test]
    fn lines_pass_through_their_points() {
        let lines = Lines {
            title: "growth".to_owned(),
            x_unit: "nodes",
            y_unit: "us",
            lines: vec![(series("a", true), vec![(1000.0, 10.0), (10_000.0, 100.0)])],
        };
        expect![[r##"
            <svg xmlns="http://www.w3.org/2000/svg" width="860" height="456" viewBox="0 0 860 456" role="img" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif">
            <title>growth</title>
            <text x="12.0" y="22.0" text-anchor="start" font-size="15" fill="#7d8590">growth</text>
            <line x1="12.0" y1="38.0" x2="34.0" y2="38.0" stroke="#3b82f6" stroke-width="4" stroke-dasharray="6 4"/>
            <text x="40.0" y="42.0" text-anchor="start" font-size="12" fill="#7d8590">a</text>
            <line x1="70.0" y1="72.0" x2="70.0" y2="412.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="70.0" y="428.0" text-anchor="middle" font-size="11" fill="#7d8590">1k</text>
            <line x1="836.0" y1="72.0" x2="836.0" y2="412.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="836.0" y="428.0" text-anchor="middle" font-size="11" fill="#7d8590">10k</text>
            <line x1="70.0" y1="412.0" x2="836.0" y2="412.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="64.0" y="416.0" text-anchor="end" font-size="11" fill="#7d8590">10</text>
            <line x1="70.0" y1="72.0" x2="836.0" y2="72.0" stroke="#7d8590" stroke-opacity="0.3"/>
            <text x="64.0" y="76.0" text-anchor="end" font-size="11" fill="#7d8590">100</text>
            <text x="453.0" y="446.0" text-anchor="middle" font-size="11" fill="#7d8590">nodes</text>
            <text x="64.0" y="64.0" text-anchor="start" font-size="11" fill="#7d8590">us</text>
            <polyline points="70.0,412.0 836.0,72.0" fill="none" stroke="#3b82f6" stroke-width="2" stroke-dasharray="6 4"/>
            <circle cx="70.0" cy="412.0" r="3" fill="#3b82f6"/>
            <circle cx="836.0" cy="72.0" r="3" fill="#3b82f6"/>
            </svg>
        "##]].assert_eq(&lines.svg());
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.5, "0.5"),
            (5.94, "5.94"),
            (28.04, "28"),
            (926.4, "926"),
            (999.6, "1k"),
            (17_106.0, "17.1k"),
            (1e6, "1M"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    /// Contrast of two colours as the Web Content Accessibility Guidelines 2.2 define it.
    fn contrast(a: &str, b: &str) -> f64 {
        let luminance = |colour: &str| {
            let part = |at: usize| {
                let value = u8::from_str_radix(&colour[at..at + 2], 16).expect("hexadecimal");
                let share = f64::from(value) / 255.0;
                if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_stands_out_from_a_light_page_and_from_a_dark_one() {
        for colour in COLOURS.into_iter().chain([INK]) {
            for page in ["#ffffff", "#0d1117"] {
                let contrast = contrast(colour, page);
                assert!(contrast >= 3.0, "{colour} on {page}: {contrast:.2}");
            }
        }
        assert!(contrast("#ffff00", "#ffffff") < 3.0);
    }
}
