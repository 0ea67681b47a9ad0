//! Text format 0.0.4: the samples without exemplars.

use std::borrow::Cow;
use std::fmt::Write;

use super::BOUNDS;
use crate::catalog::samples::{HistogramValue, Sampled, Series, Value};

/// The quantiles of the one summary there is; the Go client shows the same.
const QUANTILES: [&str; 5] = ["0", "0.25", "0.5", "0.75", "1"];

type Label = (&'static str, Cow<'static, str>);

/// The whole exposition.
pub fn encode(samples: &[Sampled]) -> String {
    let mut out = String::with_capacity(256 << 10);
    for sampled in samples {
        encode_family(&mut out, sampled);
    }
    out
}

/// One metric with its description; nothing if it has no series.
pub fn encode_family(out: &mut String, sampled: &Sampled) {
    let metric = sampled.metric;
    if sampled.series.is_empty() {
        return;
    }
    writeln!(out, "# HELP {} {}\n# TYPE {} {}", metric.name, metric.help, metric.name, metric.kind.as_str())
        .expect("writing to a string cannot fail");
    for Series { labels, value } in &sampled.series {
        match value {
            Value::Count(value) => line(out, metric.name, "", labels, None, value),
            Value::Number(value) => line(out, metric.name, "", labels, None, value),
            Value::Histogram(histogram) => encode_histogram(out, metric.name, labels, histogram),
            Value::EmptySummary => {
                for quantile in QUANTILES {
                    line(out, metric.name, "", labels, Some(("quantile", quantile)), &0);
                }
                line(out, metric.name, "_sum", labels, None, &0);
                line(out, metric.name, "_count", labels, None, &0);
            }
        }
    }
}

fn encode_histogram(out: &mut String, name: &str, labels: &[Label], histogram: &HistogramValue) {
    let mut count = 0;
    for (bucket, bound) in histogram.buckets.iter().zip(BOUNDS) {
        count += bucket;
        line(out, name, "_bucket", labels, Some(("le", bound)), &count);
    }
    line(out, name, "_sum", labels, None, &(histogram.sum_nanos as f64 / 1e9));
    line(out, name, "_count", labels, None, &count);
}

fn line(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[Label],
    first: Option<(&'static str, &'static str)>,
    value: &dyn std::fmt::Display,
) {
    out.push_str(name);
    out.push_str(suffix);
    let first = first.map(|(name, value)| (name, Cow::Borrowed(value)));
    encode_labels(out, first.iter().chain(labels));
    writeln!(out, " {value}").expect("writing to a string cannot fail");
}

/// `{name="value",...}`, or nothing without labels.
pub fn encode_labels<'a>(out: &mut String, labels: impl Iterator<Item = &'a Label>) {
    let mut open = false;
    for (name, value) in labels {
        out.push(if open { ',' } else { '{' });
        open = true;
        out.push_str(name);
        out.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                _ => out.push(character),
            }
        }
        out.push('"');
    }
    if open {
        out.push('}');
    }
}
