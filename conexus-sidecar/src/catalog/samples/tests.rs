use std::collections::HashMap;

use conexus_proto::facts::{CELLS, ErrorType, Fact, Method, SearchType, Status};
use conexus_proto::v1;

use super::*;
use crate::aggregate::Aggregate;
use crate::aggregate::epochs::CoreInfo;

/// A running aggregate with one core that has told `facts` and `gauges`.
fn moment(facts: &[Fact], gauges: &[(Gauge, f64)]) -> Moment {
    let dir = tempfile::tempdir().unwrap();
    let (aggregate, committer, _) = Aggregate::open(dir.path()).unwrap();
    let info = CoreInfo { version: "9.8.7".into(), serving: true, ..CoreInfo::default() };
    let link = aggregate.connect(1, info).unwrap();
    let mut cells = vec![0; CELLS];
    facts.iter().for_each(|fact| fact.addition().add_to(&mut cells));
    let told = (0..CELLS).filter(|&cell| cells[cell] > 0);
    let snapshot = v1::Snapshot {
        unix_nanos: 1_000_000_000,
        cells: told.clone().map(|cell| cell as u32).collect(),
        values: told.map(|cell| cells[cell]).collect(),
        gauges: gauges.iter().map(|(gauge, _)| *gauge as u32).collect(),
        gauge_values: gauges.iter().map(|(_, value)| *value).collect(),
    };
    aggregate.take(&link, &v1::Batch { sequence: 1, snapshot: Some(snapshot), ..v1::Batch::default() }).unwrap();
    committer.stop();
    seen(&aggregate, 3)
}

fn empty() -> Moment {
    let dir = tempfile::tempdir().unwrap();
    let (aggregate, committer, _) = Aggregate::open(dir.path()).unwrap();
    committer.stop();
    seen(&aggregate, 0)
}

/// What is to be seen of it at a second since 1970.
fn seen(aggregate: &Aggregate, second: u64) -> Moment {
    Moment {
        view: aggregate.view(),
        own: OwnStats::default(),
        exporters: ExporterStates::default(),
        go_compat: true,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
    }
}

/// Values by `metric{name=value,…}`.
fn values(moment: &Moment) -> HashMap<String, Value> {
    let mut values = HashMap::new();
    for Sampled { metric, series } in sample(moment) {
        for one in series {
            let labels: Vec<String> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let name = format!("{}{{{}}}", metric.name, labels.join(","));
            assert!(values.insert(name.clone(), one.value).is_none(), "{name} stands twice");
        }
    }
    values
}

#[test]
fn every_counter_and_histogram_series_is_there_from_the_start_with_0() {
    let values = values(&empty());
    for metric in METRICS.iter().filter(|metric| metric.kind != Kind::Gauge) {
        let expected: usize = metric.labels.iter().map(|label| label.values.len()).product();
        let prefix = format!("{}{{", metric.name);
        let found: Vec<_> = values.iter().filter(|(name, _)| name.starts_with(&prefix)).collect();
        assert_eq!(found.len(), expected, "{}", metric.name);
        for (name, value) in found {
            let zero = match value {
                Value::Count(value) => *value == 0,
                Value::Number(value) => *value == 0.0,
                Value::Histogram(histogram) => **histogram == HistogramValue::default(),
                Value::EmptySummary => true,
            };
            assert!(zero, "{name} is {value:?}");
        }
    }
    assert_eq!(values["conexus_up{}"], Value::Number(0.0));
    assert_eq!(values["conexus_telemetry_exporter_up{exporter=otlp}"], Value::Number(0.0));
}

#[test]
fn gauges_of_cores_are_absent_without_one() {
    let values = values(&empty());
    for name in ["conexus_indexer_queue_depth{}", "go_goroutines{}", "process_open_fds{process=conexusd}"] {
        assert!(!values.contains_key(name), "{name}");
    }
    assert!(values.contains_key("process_open_fds{process=conexus-sidecar}"));
}

#[test]
fn a_request_is_counted_by_status_and_timed_over_both() {
    let (method, nanos) = (Method::ContextSearch, 3_000_000);
    let facts = [
        Fact::RequestStarted { method },
        Fact::RequestStarted { method },
        Fact::RequestStarted { method },
        Fact::RequestFinished { method, status: Status::Ok, nanos },
        Fact::RequestFinished { method, status: Status::Error, nanos: nanos * 2 },
        Fact::RequestFailed { method, error: ErrorType::Timeout },
        Fact::Searched { lane: SearchType::Hybrid, nanos },
    ];
    let values = values(&moment(&facts, &[]));
    assert_eq!(values["conexus_mcp_requests_total{method=context_search,status=ok}"], Value::Count(1));
    assert_eq!(values["conexus_mcp_requests_total{method=context_search,status=error}"], Value::Count(1));
    assert_eq!(values["conexus_mcp_errors_total{method=context_search,error_type=timeout}"], Value::Count(1));
    assert_eq!(values["conexus_mcp_requests_in_flight{method=context_search}"], Value::Number(1.0));
    assert_eq!(values["conexus_mcp_requests_in_flight{method=ping}"], Value::Number(0.0));
    let mut expected = HistogramValue { sum_nanos: nanos * 3, ..HistogramValue::default() };
    expected.buckets[3] = 1;
    expected.buckets[4] = 1;
    let duration = &values["conexus_mcp_request_duration_seconds{method=context_search}"];
    assert_eq!(*duration, Value::Histogram(Box::new(expected)));
    assert_eq!(values["conexus_build_info{version=9.8.7,process=conexusd}"], Value::Number(1.0));
    assert_eq!(values["conexus_up{}"], Value::Number(1.0));
    assert_eq!(values["conexus_telemetry_lag_seconds{}"], Value::Number(2.0));
}

#[test]
fn gauges_and_cpu_time_come_from_the_snapshot() {
    let gauges = [(Gauge::QueueDepth, 12.0), (Gauge::ProcessCpuSeconds, 1.5), (Gauge::RuntimeTasks, 8.0)];
    let values = values(&moment(&[], &gauges));
    assert_eq!(values["conexus_indexer_queue_depth{}"], Value::Number(12.0));
    assert_eq!(values["process_cpu_seconds_total{process=conexusd}"], Value::Number(1.5));
    assert_eq!(values["conexus_runtime_tasks{process=conexusd}"], Value::Number(8.0));
    assert_eq!(values["go_goroutines{}"], Value::Number(8.0));
    assert!(!values.contains_key("conexus_embedding_batch_size{}"), "never set");
}

#[test]
fn the_compatibility_names_can_be_switched_off() {
    let moment = Moment { go_compat: false, ..empty() };
    assert!(sample(&moment).iter().all(|sampled| !sampled.metric.name.starts_with("go_")));
}
