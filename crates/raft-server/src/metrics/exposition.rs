//! The text format of Prometheus, version 0.0.4: HELP, TYPE, then one sample per line.

use std::fmt::Write as _;

use super::series::Series;

/// What a TYPE line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

impl MetricKind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A text that grows family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Writes a family: its two comments and all its samples.
    pub fn family<S: Series>(&mut self, name: &str, help: &str, series: &S) {
        self.head(name, help, S::KIND);
        series.write(name, &[], self);
    }

    /// Writes the two comments that begin a family.
    pub fn head(&mut self, name: &str, help: &str, kind: MetricKind) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing into a string cannot fail.
        _ = writeln!(self.text, "# HELP {name} {help}");
        _ = writeln!(self.text, "# TYPE {name} {}", kind.name());
    }

    /// Writes one sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            _ = write!(self.text, "{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        _ = writeln!(self.text, " {}", number(value));
    }

    /// All that was written.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A label's value may hold anything; three characters are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A number as Go parses it: infinities have signs and a name of their own.
pub(super) fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}
