//! Tests of the layer: log lines, and libraries' spans in a trace's scope.

use conexus_proto::v1::{self, attribute::Value, record::Record as Wire};
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

use super::super::{Capture, RootInfo, TelemetryOptions};
use super::*;

fn captured(level: Level) -> (Telemetry, Capture) {
    Telemetry::captured(&TelemetryOptions { log_level: level, ..TelemetryOptions::default() })
}

fn run(telemetry: &Telemetry, act: impl FnOnce()) {
    with_default(tracing_subscriber::registry().with(telemetry.layer()), act);
}

fn split(capture: &Capture) -> (Vec<v1::Log>, Vec<v1::Span>) {
    let (mut logs, mut spans) = (vec![], vec![]);
    for record in capture.records() {
        match record {
            Wire::Log(log) => logs.push(log),
            Wire::Span(span) => spans.push(span),
            Wire::Error(error) => panic!("{error:?}"),
        }
    }
    (logs, spans)
}

#[test]
fn a_line_keeps_its_message_level_target_and_typed_fields() {
    let (telemetry, capture) = captured(Level::Info);
    run(&telemetry, || {
        tracing::warn!(target: "conexusd::x", n = -3_i64, big = u64::MAX, ok = true, share = 0.5, text = "t", shown = %1.5, "hello {}", 7);
    });
    let (logs, _) = split(&capture);
    let log = &logs[0];
    assert_eq!((log.message.as_str(), log.level(), log.target.as_str()), ("hello 7", v1::Level::Warn, "conexusd::x"));
    let fields: Vec<_> = log.fields.iter().map(|field| (field.key.as_str(), field.value.clone().unwrap())).collect();
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(
        fields,
        [
            ("n", Value::Integer(-3)),
            ("big", Value::Number(u64::MAX as f64)),
            ("ok", Value::Flag(true)),
            ("share", Value::Number(0.5)),
            ("text", text("t")),
            ("shown", text("1.5")),
        ]
    );
    assert!(log.trace_id.is_empty());
}

#[test]
fn the_level_can_change_while_running() {
    let (telemetry, capture) = captured(Level::Warn);
    run(&telemetry, || {
        for level in [Level::Warn, Level::Debug, Level::Error] {
            telemetry.set_log_level(level);
            tracing::debug!(target: "conexusd", "fine");
            tracing::debug!(target: "h2", "never: another crate's debug line");
            tracing::info!(target: "h2", "normal");
            tracing::warn!(target: "conexusd", "odd");
            tracing::trace!(target: "conexusd", "never");
        }
    });
    let lines: Vec<_> = split(&capture).0.into_iter().map(|log| log.message).collect();
    assert_eq!(lines, ["odd", "fine", "normal", "odd"]);
}

#[test]
fn lines_and_library_spans_in_a_scope_belong_to_the_trace() {
    let (telemetry, capture) = captured(Level::Info);
    run(&telemetry, || {
        let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
        let scope = trace.scope(trace.root());
        {
            let _entered = scope.enter();
            tracing::info!("outer");
            let span = tracing::info_span!("library", n = 3_i64, late = tracing::field::Empty);
            let _inside = span.enter();
            span.record("late", "yes");
            tracing::info_span!("inner").in_scope(|| tracing::info!("inner line"));
        }
        tracing::info!("outside");
        trace.finish();
        tracing::info_span!("no trace").in_scope(|| {});
    });
    let (logs, spans) = split(&capture);
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (root, library, inner) = (find("mcp.search"), find("library"), find("inner"));
    assert_eq!((spans.len(), library.parent_span_id, inner.parent_span_id), (3, root.span_id, library.span_id));
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id));
    let keys: Vec<_> = library.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["n", "late"]);
    let places: Vec<_> = logs.iter().map(|log| (log.message.as_str(), log.span_id)).collect();
    assert_eq!(places, [("outer", root.span_id), ("inner line", inner.span_id), ("outside", 0)]);
    assert_eq!((telemetry.accounts().emitted[0], &logs[0].trace_id), (3, &root.trace_id));
}

#[test]
fn a_span_that_outlives_its_trace_follows_the_decision() {
    for (rate, arrives) in [(1.0, 1), (0.0, 0)] {
        let options = TelemetryOptions { sample_rate: rate, ..TelemetryOptions::default() };
        let (telemetry, capture) = Telemetry::captured(&options);
        run(&telemetry, || {
            let mut trace = telemetry.trace("work");
            let scope = trace.scope(trace.root());
            let entered = scope.enter();
            let span = tracing::info_span!("late", key = "value");
            drop((entered, scope));
            trace.finish();
            capture.records();
            drop(span);
        });
        let spans = capture.spans();
        assert_eq!(spans.len(), arrives);
        assert!(spans.iter().all(|span| span.attributes.len() == 1));
    }
}

#[test]
fn a_scope_follows_its_future_and_leaves_the_thread_between_polls() {
    let (telemetry, capture) = captured(Level::Info);
    run(&telemetry, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut trace = telemetry.trace("work");
            let scope = trace.scope(trace.root());
            let (inside, outside) = (
                scope.wrap(async {
                    tracing::info!("inside");
                    tokio::task::yield_now().await;
                    tracing::info!("inside");
                }),
                async {
                    tokio::task::yield_now().await;
                    tracing::info!("outside");
                },
            );
            tokio::join!(inside, outside);
        });
    });
    for log in split(&capture).0 {
        assert_eq!(log.message == "inside", !log.trace_id.is_empty(), "{log:?}");
    }
}

#[test]
fn long_text_is_cut_and_a_value_that_logs_itself_does_no_harm() {
    struct Logs;
    impl fmt::Debug for Logs {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            tracing::info!("from inside");
            f.write_str(&"é".repeat(900))
        }
    }
    let (telemetry, capture) = captured(Level::Info);
    run(&telemetry, || tracing::info!(value = ?Logs, "{}", "x".repeat(5_000)));
    let (logs, _) = split(&capture);
    let log = logs.iter().find(|log| !log.fields.is_empty()).unwrap();
    let Some(Value::Text(value)) = &log.fields[0].value else { panic!("{log:?}") };
    assert_eq!((log.message.len(), value.len()), (MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX));
    assert_eq!(telemetry.accounts().emitted[1], logs.len() as u64);
}
