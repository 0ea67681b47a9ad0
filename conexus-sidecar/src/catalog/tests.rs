use std::collections::HashSet;

use conexus_proto::facts::{FAMILIES, Shape};

use super::*;

#[test]
fn names_are_distinct_and_well_formed() {
    let mut seen = HashSet::new();
    for metric in METRICS {
        assert!(seen.insert(metric.name), "{} stands twice", metric.name);
        assert!(metric.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        assert!(["conexus_", "process_", "go_"].iter().any(|prefix| metric.name.starts_with(prefix)));
    }
}

#[test]
fn help_is_one_line_that_needs_no_escaping() {
    for metric in METRICS {
        assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{}", metric.name);
        assert!(!metric.help.contains(['\n', '\\', '"']), "{}", metric.name);
    }
}

#[test]
fn every_counter_ends_with_total() {
    for metric in METRICS.iter().filter(|metric| metric.kind == Counter) {
        assert!(metric.name.ends_with("_total"), "{}", metric.name);
    }
}

#[test]
fn every_family_and_gauge_of_the_core_reaches_a_metric() {
    let sources: Vec<Source> = METRICS.iter().flat_map(|metric| metric.parts).map(|part| part.source).collect();
    for info in &FAMILIES {
        // Started requests appear as those in flight.
        let used = sources.contains(&Facts(info.family)) || info.family == Family::RequestStarted;
        assert!(used, "{} is shown nowhere", info.name);
    }
    for gauge in Gauge::ALL {
        let cpu = *gauge == Gauge::ProcessCpuSeconds;
        let used = sources.iter().any(|source| matches!(source, Core(g, _) if g == gauge));
        assert!(used || cpu, "{} is shown nowhere", gauge.name());
    }
}

#[test]
fn labels_of_facts_are_the_familys_in_its_order() {
    for metric in METRICS {
        for part in metric.parts {
            let Facts(family) = part.source else { continue };
            let info = family.info();
            let mut rest = info.labels.iter();
            for label in metric.labels.iter().filter(|label| label.name != "process") {
                assert!(rest.any(|candidate| candidate == label), "{}: {}", metric.name, label.name);
            }
            if metric.kind == Histogram {
                assert_eq!(info.shape, Shape::Histogram, "{}", metric.name);
            }
        }
    }
}

#[test]
fn units_are_read_off_the_names() {
    let unit = |name| find(name).unwrap().unit();
    assert_eq!(unit("process_cpu_seconds_total"), Some("seconds"));
    assert_eq!(unit("go_memstats_alloc_bytes"), Some("bytes"));
    assert_eq!(unit("conexus_indexer_queue_depth"), None);
}
