//! Tests of traces: what is kept, cut, counted, and how it reads back.

use std::time::Duration;

use conexus_proto::facts::{DropReason, Fact, Method, RecordKind, Status, TraceDecision};
use conexus_proto::v1;

use super::super::slots::REASONS;
use super::super::{Accounts, Capture, Level, TelemetryOptions};
use super::*;

fn captured(change: impl FnOnce(&mut TelemetryOptions)) -> (Telemetry, Capture) {
    let mut options = TelemetryOptions { log_level: Level::Info, ..TelemetryOptions::default() };
    change(&mut options);
    Telemetry::captured(&options)
}

fn decided(telemetry: &Telemetry, decision: TraceDecision) -> u64 {
    telemetry.snapshot().count(Fact::TraceDecided { decision })
}

fn named<'a>(spans: &'a [v1::Span], name: &str) -> &'a v1::Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name} in {spans:#?}"))
}

#[test]
fn a_kept_trace_arrives_whole_with_its_tree() {
    let (telemetry, capture) = captured(|_| {});
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let root = trace.root();
    trace.set(root, "query", "why?");
    let embed = trace.start(root, "embedding.generate");
    let (nanos, search) = trace.next(embed, root, "vectorstore.search");
    let lane = trace.add(search, "bm25.search", search.start(), Tick::now());
    trace.set(lane, "candidates", 7_usize);
    trace.event(lane, "cache", &[("hit", true.into())]);
    trace.end(search);
    assert_eq!(trace.finish(), TraceDecision::Kept);

    let spans = capture.spans();
    let (root, embed) = (named(&spans, "mcp.search"), named(&spans, "embedding.generate"));
    let (search, lane) = (named(&spans, "vectorstore.search"), named(&spans, "bm25.search"));
    assert_eq!((spans.len(), root.parent_span_id, root.kind()), (4, 0, v1::SpanKind::Server));
    assert_eq!((embed.parent_span_id, search.parent_span_id), (root.span_id, root.span_id));
    assert_eq!((lane.parent_span_id, embed.duration_nanos), (search.span_id, nanos));
    assert_eq!(spans.iter().map(|span| span.root).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!((lane.attributes[0].key.as_str(), lane.events[0].name.as_str()), ("candidates", "cache"));
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id && span.start_unix_nanos > 0));
    assert!(root.duration_nanos >= search.duration_nanos);
    assert_eq!((decided(&telemetry, TraceDecision::Kept), telemetry.accounts().emitted), (1, [4, 0, 0]));
}

#[test]
fn what_is_not_sampled_is_only_counted() {
    let (telemetry, capture) = captured(|options| options.sample_rate = 0.0);
    assert_eq!(telemetry.trace("indexer.process_file").finish(), TraceDecision::Unsampled);
    assert_eq!(capture.spans(), []);
    assert_eq!((decided(&telemetry, TraceDecision::Unsampled), telemetry.accounts().emitted), (1, [0; 3]));
}

#[test]
fn an_error_is_kept_whatever_the_rate() {
    let (telemetry, capture) = captured(|options| options.sample_rate = 0.0);
    let mut trace = telemetry.trace("indexer.process_file");
    let leaf = trace.start(trace.root(), "leaf");
    trace.fail(leaf, "no such file");
    assert_eq!(trace.finish(), TraceDecision::Kept);
    let spans = capture.spans();
    assert_eq!((named(&spans, "leaf").error_message.as_str(), named(&spans, "leaf").error), ("no such file", true));
    assert!(named(&spans, "indexer.process_file").error);
}

#[test]
fn only_requests_are_kept_for_being_slow() {
    let (telemetry, _capture) = captured(|options| {
        (options.sample_rate, options.slow_threshold) = (0.0, Duration::from_millis(1));
    });
    for (info, decision) in [
        (RootInfo::request("mcp.search", None), TraceDecision::Kept),
        (RootInfo::work("indexer.run"), TraceDecision::Unsampled),
    ] {
        let trace = telemetry.trace(info);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(trace.finish(), decision, "{info:?}");
    }
}

#[test]
fn the_callers_flag_wins_over_the_rate() {
    for (rate, sampled) in [(0.0, true), (1.0, false)] {
        let (telemetry, capture) = captured(|options| options.sample_rate = rate);
        let parent: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
        let parent = TraceParent { sampled, ..parent };
        let trace = telemetry.trace(RootInfo::request("mcp.search", Some(parent)));
        let outgoing = trace.context(trace.root()).traceparent();
        assert_eq!((outgoing.trace_id, outgoing.sampled), (parent.trace_id, sampled));
        trace.finish();
        let spans = capture.spans();
        assert_eq!(spans.len(), usize::from(sampled));
        for span in spans {
            assert_eq!((span.parent_span_id, span.parent_is_remote), (parent.span_id, true));
            assert_eq!((span.trace_id, span.span_id), (parent.trace_id.to_bytes().to_vec(), outgoing.span_id));
        }
    }
}

#[test]
fn a_long_trace_is_cut_and_says_so() {
    let (telemetry, capture) = captured(|_| {});
    let mut trace = telemetry.trace("indexer.run");
    let root = trace.root();
    for _ in 0..SPANS_MAX + 9 {
        let span = trace.start(root, "step");
        trace.set(span, "n", 1_i64);
        trace.end(span);
    }
    let cut = trace.start(root, "cut");
    std::thread::sleep(Duration::from_millis(2));
    assert!(trace.end(cut) >= 2_000_000, "a span that is cut still measures");
    trace.finish();
    let spans = capture.spans();
    assert_eq!(spans.len(), SPANS_MAX as usize);
    let said = named(&spans, "indexer.run").attributes.iter().find(|attribute| attribute.key == "spans_cut").unwrap();
    assert_eq!(said.value, Some(v1::attribute::Value::Integer(11)));
}

#[test]
fn attributes_past_the_bound_are_counted() {
    let (telemetry, capture) = captured(|_| {});
    let mut trace = telemetry.trace("indexer.run");
    (0..9_000).for_each(|_| trace.set(trace.root(), "n", 1_i64));
    trace.finish();
    let spans = capture.spans();
    let last = spans[0].attributes.last().unwrap();
    let said = 9_000 - (spans[0].attributes.len() as i64 - 1);
    assert_eq!((last.key.as_str(), &last.value), ("attributes_cut", &Some(v1::attribute::Value::Integer(said))));
}

#[test]
fn a_cancelled_request_is_closed_by_dropping_it() {
    let (telemetry, capture) = captured(|_| {});
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let _open = trace.start(trace.root(), "vectorstore.search");
    std::thread::sleep(Duration::from_millis(1));
    drop(trace);
    let spans = capture.spans();
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| span.duration_nanos >= 1_000_000), "{spans:#?}");
}

#[test]
fn a_full_ring_drops_whole_traces_and_counts_their_spans() {
    let (telemetry, capture) = captured(|options| options.ring_records = 64);
    for _ in 0..40 {
        let mut trace = telemetry.trace("work");
        let _ = trace.start(trace.root(), "part");
        trace.finish();
    }
    let spans = capture.spans();
    let accounts = telemetry.accounts();
    // A trace of two spans is three cells, so a ring of 64 takes 21.
    assert_eq!((spans.len(), accounts.emitted[0]), (42, 80));
    assert_eq!(accounts.dropped[RecordKind::Span as usize * REASONS + DropReason::RingFull as usize], 38);
    assert_eq!(spans.len() as u64 + accounts.dropped_total(), accounts.emitted[0]);
}

#[test]
fn a_measured_span_names_its_histogram() {
    let (telemetry, capture) = captured(|_| {});
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let fact = Fact::RequestFinished { method: Method::ContextSearch, status: Status::Ok, nanos: 5 };
    trace.measure(trace.root(), fact);
    trace.finish();
    let Addition::Duration { cell, .. } = fact.addition() else { unreachable!() };
    assert_eq!(capture.spans()[0].exemplar_series, cell as u32 + 1);
    assert_eq!(telemetry.snapshot().count(fact), 1);
}

#[test]
fn a_link_leads_to_the_other_trace() {
    let (telemetry, capture) = captured(|_| {});
    let run = telemetry.trace("indexer.run");
    let mut file = telemetry.trace("indexer.process_file");
    let to = run.context(run.root());
    file.link(file.root(), to);
    file.finish();
    let link = v1::SpanLink { trace_id: to.trace_id.to_bytes().into(), span_id: to.span_id };
    assert_eq!(capture.spans()[0].links, [link]);
}

#[test]
fn a_detached_handle_measures_and_counts_and_keeps_nothing() {
    let telemetry = Telemetry::detached();
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let span = trace.start(trace.root(), "vectorstore.search");
    std::thread::sleep(Duration::from_millis(2));
    assert!(trace.end(span) >= 2_000_000);
    trace.set(span, "n", 1_i64);
    telemetry.emit(Fact::SearchCacheMiss);
    trace.finish();
    let totals = telemetry.snapshot();
    assert_eq!((totals.count(Fact::SearchCacheMiss), telemetry.accounts()), (1, Accounts::default()));
    assert_eq!(decided(&telemetry, TraceDecision::Unsampled), 0);
}

#[test]
fn a_trace_may_end_on_another_thread() {
    let (telemetry, capture) = captured(|_| {});
    let traces: Vec<_> = (0..8).map(|_| telemetry.trace("work")).collect();
    let threads: Vec<_> = traces.into_iter().map(|trace| std::thread::spawn(move || trace.finish())).collect();
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), TraceDecision::Kept));
    assert_eq!(capture.spans().len(), 8);
}
