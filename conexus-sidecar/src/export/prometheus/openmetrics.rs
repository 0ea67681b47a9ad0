//! OpenMetrics: the samples with exemplars, through `prometheus-client`.
//!
//! A collector shows the absolute values. Two things that the library cannot do for a collector are added here: a
//! summary, and exemplars (their type can only be made by its own histograms), which are put at the end of the bucket
//! lines that the library wrote.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write};

use conexus_proto::facts::BUCKET_BOUNDS_NANOS;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{BOUNDS, text};
use crate::aggregate::exemplars::Exemplar;
use crate::catalog::samples::{HistogramValue, Sampled, Series, Value};
use crate::catalog::{Kind, Metric};

/// The whole exposition.
pub fn encode(samples: Vec<Sampled>) -> String {
    let exemplars = exemplar_lines(&samples);
    let mut summaries = String::new();
    for sampled in samples.iter().filter(|sampled| sampled.metric.kind == Kind::Summary) {
        text::encode_family(&mut summaries, sampled);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Samples(samples)));
    let mut out = String::with_capacity(256 << 10);
    encode_registry(&mut out, &registry).expect("writing to a string cannot fail");
    let mut out = if exemplars.is_empty() { out } else { with_exemplars(&out, &exemplars) };
    out.push_str(&summaries);
    encode_eof(&mut out).expect("writing to a string cannot fail");
    out
}

#[derive(Debug)]
struct Samples(Vec<Sampled>);

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Sampled { metric, series } in &self.0 {
            let Some(kind) = metric_type(metric.kind).filter(|_| !series.is_empty()) else { continue };
            let unit = metric.unit();
            let name = match unit {
                Some(unit) => metric.family_name().trim_end_matches(unit).trim_end_matches('_'),
                None => metric.family_name(),
            };
            let unit = unit.map(|unit| if unit == "bytes" { Unit::Bytes } else { Unit::Seconds });
            let mut family = encoder.encode_descriptor(name, metric.help, unit.as_ref(), kind)?;
            for series in series {
                if series.labels.is_empty() {
                    encode_value(&mut family, metric, series)?;
                } else {
                    encode_value(&mut family.encode_family(&series.labels)?, metric, series)?;
                }
            }
        }
        Ok(())
    }
}

fn metric_type(kind: Kind) -> Option<MetricType> {
    match kind {
        Kind::Counter => Some(MetricType::Counter),
        Kind::Gauge => Some(MetricType::Gauge),
        Kind::Histogram => Some(MetricType::Histogram),
        Kind::Summary => None,
    }
}

fn encode_value(encoder: &mut MetricEncoder<'_>, metric: &Metric, series: &Series) -> fmt::Result {
    match (&series.value, metric.kind) {
        (Value::Count(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Value::Number(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Value::Count(value), _) => encoder.encode_gauge(value),
        (Value::Number(value), _) => encoder.encode_gauge(value),
        (Value::Histogram(histogram), _) => encode_histogram(encoder, histogram),
        (Value::EmptySummary, _) => Ok(()),
    }
}

fn encode_histogram(encoder: &mut MetricEncoder<'_>, histogram: &HistogramValue) -> fmt::Result {
    let bounds = BUCKET_BOUNDS_NANOS.iter().map(|nanos| *nanos as f64 / 1e9).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(histogram.buckets).collect();
    let count = histogram.buckets.iter().sum();
    encoder.encode_histogram::<NoLabelSet>(histogram.sum_nanos as f64 / 1e9, count, &buckets, None)
}

/// For the start of a bucket's line, the exemplar that belongs at its end.
fn exemplar_lines(samples: &[Sampled]) -> HashMap<String, String> {
    let mut lines = HashMap::new();
    for Sampled { metric, series } in samples {
        for Series { labels, value } in series {
            let Value::Histogram(histogram) = value else { continue };
            for (bucket, exemplar) in histogram.exemplars.iter().enumerate() {
                let Some(exemplar) = exemplar else { continue };
                let mut start = format!("{}_bucket", metric.name);
                let le = ("le", Cow::Borrowed(BOUNDS[bucket]));
                text::encode_labels(&mut start, [&le].into_iter().chain(labels));
                lines.insert(start, encode_exemplar(exemplar));
            }
        }
    }
    lines
}

fn encode_exemplar(exemplar: &Exemplar) -> String {
    let mut text = String::from(" # {trace_id=\"");
    let write = exemplar.trace_id.iter().try_for_each(|byte| write!(text, "{byte:02x}")).and_then(|()| {
        write!(text, "\",span_id=\"{:016x}\"}} {}", exemplar.span_id, exemplar.nanos as f64 / 1e9)?;
        write!(text, " {:.3}", exemplar.unix_nanos as f64 / 1e9)
    });
    write.expect("writing to a string cannot fail");
    text
}

fn with_exemplars(exposition: &str, exemplars: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(exposition.len() + exemplars.len() * 128);
    for line in exposition.lines() {
        out.push_str(line);
        if let Some(exemplar) = line.rsplit_once(' ').and_then(|(start, _)| exemplars.get(start)) {
            out.push_str(exemplar);
        }
        out.push('\n');
    }
    out
}
