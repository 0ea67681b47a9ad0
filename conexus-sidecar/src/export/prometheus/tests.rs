use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::*;
use crate::aggregate::exemplars::Exemplar;
use crate::catalog::find;
use crate::catalog::samples::{HistogramValue, Series, Value};

fn sampled(name: &str, series: Vec<(Vec<(&'static str, &'static str)>, Value)>) -> Sampled {
    let series = series.into_iter().map(|(labels, value)| Series {
        labels: labels.into_iter().map(|(name, value)| (name, Cow::Borrowed(value))).collect(),
        value,
    });
    Sampled { metric: find(name).unwrap(), series: series.collect() }
}

fn histogram(exemplar: bool) -> Value {
    let mut histogram = HistogramValue { sum_nanos: 3_500_000, ..HistogramValue::default() };
    histogram.buckets[1] = 2;
    histogram.buckets[14] = 1;
    histogram.exemplars[1] = exemplar.then_some(Exemplar {
        trace_id: [0xab; 16],
        span_id: 0x1234,
        nanos: 750_000,
        unix_nanos: 1_700_000_000_500_000_000,
    });
    Value::Histogram(Box::new(histogram))
}

fn everything() -> Vec<Sampled> {
    vec![
        sampled("conexus_mcp_requests_total", vec![(vec![("method", "ping"), ("status", "ok")], Value::Count(7))]),
        sampled("conexus_mcp_request_duration_seconds", vec![(vec![("method", "ping")], histogram(true))]),
        sampled("conexus_indexer_indexing_duration_seconds", vec![(vec![], histogram(false))]),
        sampled("conexus_indexer_queue_depth", vec![]),
        sampled("process_cpu_seconds_total", vec![(vec![("process", "conexusd")], Value::Number(1.25))]),
        sampled(
            "conexus_build_info",
            vec![(vec![("version", "a\"b\\c\nd"), ("process", "conexusd")], Value::Number(1.0))],
        ),
        sampled("go_gc_duration_seconds", vec![(vec![], Value::EmptySummary)]),
    ]
}

/// A reader of the line grammar that both formats share: the samples, without exemplars.
fn parse(text: &str) -> HashMap<String, f64> {
    let mut types = HashSet::new();
    let mut samples = HashMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(types.insert(rest.split(' ').next().unwrap().to_owned()), "{line} stands twice");
        }
        if line.starts_with('#') {
            continue;
        }
        let sample = line.split(" # ").next().unwrap();
        let (name, value) = sample.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
        let bare = name.split('{').next().unwrap();
        assert!(types.iter().any(|family| bare.starts_with(family.as_str())), "{bare} has no type");
        assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} stands twice");
    }
    samples
}

#[test]
fn both_formats_say_the_same() {
    let openmetrics = parse(&Format::OpenMetrics.encode(everything()));
    let text = parse(&Format::Text.encode(everything()));
    assert_eq!(openmetrics, text);
    assert_eq!(text["conexus_mcp_request_duration_seconds_bucket{le=\"0.0005\",method=\"ping\"}"], 0.0);
    assert_eq!(text["conexus_mcp_request_duration_seconds_bucket{le=\"10.0\",method=\"ping\"}"], 2.0);
    assert_eq!(text["conexus_mcp_request_duration_seconds_bucket{le=\"+Inf\",method=\"ping\"}"], 3.0);
    assert_eq!(text["conexus_mcp_request_duration_seconds_count{method=\"ping\"}"], 3.0);
    assert_eq!(text["conexus_mcp_request_duration_seconds_sum{method=\"ping\"}"], 0.0035);
    assert_eq!(text["process_cpu_seconds_total{process=\"conexusd\"}"], 1.25);
    assert_eq!(text["go_gc_duration_seconds_count"], 0.0);
}

#[test]
fn label_values_are_escaped_in_both_formats() {
    for format in [Format::OpenMetrics, Format::Text] {
        let text = format.encode(everything());
        assert!(text.contains(r#"conexus_build_info{version="a\"b\\c\nd",process="conexusd"} 1"#), "{text}");
    }
}

#[test]
fn openmetrics_has_families_units_exemplars_and_an_end() {
    let text = Format::OpenMetrics.encode(everything());
    for line in [
        "# TYPE conexus_mcp_requests counter",
        "conexus_mcp_requests_total{method=\"ping\",status=\"ok\"} 7",
        "# TYPE process_cpu_seconds counter",
        "# UNIT process_cpu_seconds seconds",
        "# UNIT conexus_mcp_request_duration_seconds seconds",
        "# TYPE go_gc_duration_seconds summary",
        "go_gc_duration_seconds{quantile=\"0.5\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let exemplar = "conexus_mcp_request_duration_seconds_bucket{le=\"0.001\",method=\"ping\"} 2 \
                    # {trace_id=\"abababababababababababababababab\",span_id=\"0000000000001234\"} 0.00075 1700000000.500";
    assert!(text.lines().any(|line| line == exemplar), "{text}");
    assert_eq!(text.matches(" # {").count(), 1);
    assert!(text.ends_with("\n# EOF\n"));
    assert!(!text.contains("conexus_indexer_queue_depth"), "a metric without series is not described");
}

#[test]
fn the_text_format_describes_metrics_by_their_full_name() {
    let text = Format::Text.encode(everything());
    assert!(text.contains("# TYPE conexus_mcp_requests_total counter\n"));
    assert!(text.contains("# HELP conexus_mcp_requests_total MCP requests answered"));
    assert!(!text.contains("EOF") && !text.contains(" # {") && !text.contains("# UNIT"));
}

#[test]
fn bounds_are_those_of_the_facts_in_the_librarys_writing() {
    let nanos: Vec<u64> =
        BOUNDS[..14].iter().map(|bound| (bound.parse::<f64>().unwrap() * 1e9).round() as u64).collect();
    assert_eq!(nanos, conexus_proto::facts::BUCKET_BOUNDS_NANOS);
}

#[test]
fn the_format_is_the_one_that_is_asked_for() {
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, expected) in [
        (prometheus, Format::OpenMetrics),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.5", Format::Text),
        ("application/openmetrics-text;version=9.0.0,*/*;q=0.1", Format::Text),
        ("application/openmetrics-text;q=0", Format::Text),
        ("*/*", Format::Text),
        ("text/html", Format::Text),
        ("", Format::Text),
        (";;;q=,=,", Format::Text),
    ] {
        assert_eq!(Format::negotiate(accept), expected, "{accept}");
    }
}

#[test]
fn gzip_is_used_only_where_it_is_accepted() {
    for (header, expected) in
        [("gzip", true), ("deflate, gzip;q=0.5", true), ("*", true), ("", false), ("gzip;q=0", false), ("br", false)]
    {
        assert_eq!(accepts_gzip(header), expected, "{header}");
    }
    let mut plain = String::new();
    flate2::read::GzDecoder::new(gzip(b"metrics").as_slice()).read_to_string(&mut plain).unwrap();
    assert_eq!(plain, "metrics");
}
