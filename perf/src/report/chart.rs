//! One line chart as SVG, in the colours of the page it stands in.
//!
//! It knows axes, lines and marks; what they mean is the caller's.

use std::fmt::Write;

use super::columns::show;

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

/// One axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
}

/// How values are laid along an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// Values above 0.
    Log,
    /// Shares below 1, each nine as long as the one before.
    Nines,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// The place of its server, which gives the colour.
    pub(super) colour: usize,
    pub(super) is_dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;
/// More colours than this can't be told apart.
pub(super) const COLOURS: usize = 11;

struct Span {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Nines => -(1.0 - value.min(0.999_99)).log10(),
        }
    }

    fn takes(self, value: f64) -> bool {
        match self {
            Scale::Linear => value.is_finite(),
            Scale::Log => value > 0.0 && value.is_finite(),
            Scale::Nines => (0.0..1.0).contains(&value),
        }
    }
}

impl Span {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Span {
        let places: Vec<f64> = values.map(|value| scale.place(value)).collect();
        let min = places.iter().copied().fold(f64::INFINITY, f64::min);
        let max = places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (from, to) = match scale {
            Scale::Linear => (min.min(0.0), max),
            Scale::Log => (min - 0.08, max + 0.08),
            Scale::Nines => (0.0, max),
        };
        // A single value still gets a span around it.
        let to = if to - from < 1e-9 { from + 1.0 } else { to };
        Span { scale, from, to }
    }

    fn share(&self, value: f64) -> f64 {
        (self.scale.place(value) - self.from) / (self.to - self.from)
    }

    /// Values worth a line, with their words.
    fn ticks(&self) -> Vec<(f64, String)> {
        let candidates: Vec<(f64, String)> = match self.scale {
            Scale::Linear => {
                let step = nice((self.to - self.from) / 5.0);
                let count = ((self.to - self.from) / step) as usize;
                let at = |index| index as f64 * step + (self.from / step).ceil() * step;
                (0..=count).map(at).map(|value| (value, tick(value))).collect()
            }
            Scale::Log => {
                let decades = self.from.floor() as i32..=self.to.ceil() as i32;
                let steps: &[f64] =
                    if self.to - self.from < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let values = decades
                    .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
                values.map(|value| (value, tick(value))).collect()
            }
            Scale::Nines => [0.5, 0.9, 0.99, 0.999, 0.9999]
                .map(|share| (share, format!("{} %", trimmed(share * 100.0))))
                .to_vec(),
        };
        let is_inside = |value: &f64| (-0.001..=1.001).contains(&self.share(*value));
        candidates.into_iter().filter(|(value, _)| is_inside(value)).collect()
    }
}

fn nice(step: f64) -> f64 {
    let decade = 10f64.powf(step.max(f64::MIN_POSITIVE).log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * decade >= step);
    times.unwrap_or(10.0) * decade
}

fn tick(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", trimmed(v / 1e6)),
        v if v >= 1e4 => format!("{} k", trimmed(v / 1e3)),
        v if v >= 1_000.0 => show(v),
        v => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

impl Chart {
    /// Whether there is a line to draw.
    pub(super) fn is_worth_drawing(&self) -> bool {
        self.lines.iter().any(|line| line.points.len() > 1)
    }

    fn points<'a>(&'a self, line: &'a Line) -> impl Iterator<Item = (f64, f64)> + 'a {
        let takes = |x, y| self.x.scale.takes(x) && self.y.scale.takes(y);
        line.points.iter().copied().filter(move |(x, y)| takes(*x, *y))
    }

    /// The figure element: title, drawing, legend.
    pub(super) fn write(&self, html: &mut String) {
        let all = || self.lines.iter().flat_map(|line| self.points(line));
        let x = Span::of(self.x.scale, all().map(|(x, _)| x));
        let y = Span::of(self.y.scale, all().map(|(_, y)| y));
        let title = escape(&self.title);
        let _ = write!(
            html,
            "<figure class=\"chart\"><figcaption>{title}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} \
             {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n"
        );
        self.write_axes(html, &x, &y);
        // The first is drawn last: ours lies on top.
        for line in self.lines.iter().rev() {
            self.write_line(html, line, &x, &y);
        }
        html.push_str("</svg>\n");
        self.write_legend(html);
        html.push_str("</figure>\n");
    }

    fn write_axes(&self, html: &mut String, x: &Span, y: &Span) {
        let bottom = HEIGHT - BOTTOM;
        for (value, word) in y.ticks() {
            let at = y_at(y, value);
            let _ = writeln!(
                html,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{word}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0
            );
        }
        for (value, word) in x.ticks() {
            let at = x_at(x, value);
            let _ = writeln!(
                html,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" \
                 y2=\"{bottom:.1}\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{word}</text>",
                bottom + 16.0
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let half = (TOP + bottom) / 2.0;
        let _ = writeln!(
            html,
            "<text class=\"axis\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"axis\" transform=\"translate(13 {half:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            escape(self.x.label),
            escape(self.y.label)
        );
    }

    fn write_line(&self, html: &mut String, line: &Line, x: &Span, y: &Span) {
        let colour = line.colour % COLOURS;
        let dashed = if line.is_dashed { " dashed" } else { "" };
        let at = self.points(line).map(|(px, py)| (px, py, x_at(x, px), y_at(y, py)));
        let at: Vec<(f64, f64, f64, f64)> = at.collect();
        let path: Vec<String> = at.iter().map(|(.., px, py)| format!("{px:.1},{py:.1}")).collect();
        let _ = writeln!(
            html,
            "<polyline class=\"line c{colour}{dashed}\" points=\"{}\"/>",
            path.join(" ")
        );
        for (value_x, value_y, px, py) in at {
            let value_x = match self.x.scale {
                Scale::Nines => format!("{} %", trimmed(value_x * 100.0)),
                _ => show(value_x),
            };
            let _ = writeln!(
                html,
                "<circle class=\"dot c{colour}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\"><title>{}: \
                 {} at {value_x}</title></circle>",
                escape(&line.name),
                show(value_y)
            );
        }
    }

    fn write_legend(&self, html: &mut String) {
        html.push_str("<ul class=\"legend\">");
        for line in &self.lines {
            let colour = line.colour % COLOURS;
            let dashed = if line.is_dashed { " dashed" } else { "" };
            let name = escape(&line.name);
            let _ = write!(html, "<li><i class=\"c{colour}{dashed}\"></i>{name}</li>");
        }
        html.push_str("</ul>");
    }
}

fn x_at(span: &Span, value: f64) -> f64 {
    LEFT + span.share(value) * (WIDTH - LEFT - RIGHT)
}

fn y_at(span: &Span, value: f64) -> f64 {
    HEIGHT - BOTTOM - span.share(value) * (HEIGHT - TOP - BOTTOM)
}

/// A text as HTML and SVG have it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, points: &[(f64, f64)]) -> Chart {
        let line = |name: &str, colour| Line {
            name: name.into(),
            colour,
            is_dashed: false,
            points: points.to_vec(),
        };
        Chart {
            title: "a < b".into(),
            x: Axis { label: "x", scale },
            y: Axis { label: "y", scale: Scale::Log },
            lines: vec![line("hub", 0), line("uws", 1)],
        }
    }

    #[test]
    fn every_point_lies_inside_the_frame() {
        for (scale, points) in [
            (Scale::Log, &[(10.0, 700.0), (1_000.0, 250.0), (15_000.0, 240.0)][..]),
            (Scale::Linear, &[(0.0, 1e6), (18_000.0, 9e7)]),
            (Scale::Nines, &[(0.0, 0.1), (0.5, 1.0), (0.9999, 30.0), (1.0, 40.0)]),
            (Scale::Linear, &[(5.0, 3.0)]),
        ] {
            let mut html = String::new();
            chart(scale, points).write(&mut html);
            let number = |attribute: &str| -> Vec<f64> {
                let start = format!(" {attribute}=\"");
                let parts = html.split(start.as_str()).skip(1);
                parts
                    .map(|part| part.split('"').next().expect("a value").parse().expect("a number"))
                    .collect()
            };
            let (cx, cy) = (number("cx"), number("cy"));
            assert!(!cx.is_empty() && cx.len() == cy.len());
            assert!(cx.iter().all(|x| (LEFT - 0.1..=WIDTH - RIGHT + 0.1).contains(x)), "{cx:?}");
            assert!(cy.iter().all(|y| (TOP - 0.1..=HEIGHT - BOTTOM + 0.1).contains(y)), "{cy:?}");
            assert!(html.contains("a &lt; b") && !html.contains("NaN"));
        }
    }

    #[test]
    fn ticks_are_round_numbers() {
        let words = |scale, values: [f64; 2]| -> Vec<String> {
            Span::of(scale, values.into_iter()).ticks().into_iter().map(|(_, word)| word).collect()
        };
        assert_eq!(words(Scale::Linear, [0.0, 18_000.0]), ["0", "5,000", "10 k", "15 k"]);
        assert_eq!(words(Scale::Log, [10.0, 20_000.0]), ["10", "100", "1,000", "10 k"]);
        assert_eq!(words(Scale::Nines, [0.0, 0.999]), ["50 %", "90 %", "99 %", "99.9 %"]);
    }
}
