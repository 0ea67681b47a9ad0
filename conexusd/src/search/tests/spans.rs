//! Tests of what a search and a run tell of themselves: the spans, their parents, attributes and events.

use conexus_proto::v1;

use super::*;
use crate::telemetry::{Capture, RootInfo, TelemetryOptions};

/// A small index whose records can be read back; what indexing it told is in the second value.
fn reporting() -> (Fixture, Capture) {
    let (telemetry, capture) = Telemetry::captured(&TelemetryOptions::default());
    let root = TempDir::new().expect("a temporary folder");
    std::fs::write(root.path().join("cart.py"), "def total(cart):\n    return sum(cart)\n").expect("a file");
    std::fs::write(root.path().join("empty.py"), "").expect("a file");
    let path = root.path().to_owned();
    (Fixture::reporting(&path, vec![root], telemetry), capture)
}

fn ask(fixture: &Fixture, request: &SearchRequest) {
    let mut trace = fixture.engine.telemetry.trace(RootInfo::request("mcp.search", None));
    fixture.engine.search(request, &mut trace).expect("an answer");
}

fn named<'a>(spans: &'a [v1::Span], name: &str) -> &'a v1::Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[track_caller]
fn check_parents(spans: &[v1::Span], expect: &[(&str, &str)]) {
    for (child, parent) in expect {
        let (child, parent) = (named(spans, child), named(spans, parent));
        assert_eq!(child.parent_span_id, parent.span_id, "{} below {}", child.name, parent.name);
        assert_eq!(child.trace_id, parent.trace_id);
    }
}

fn keys(span: &v1::Span) -> Vec<&str> {
    span.attributes.iter().map(|attribute| attribute.key.as_str()).collect()
}

fn text(span: &v1::Span, key: &str) -> String {
    match span.attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone()) {
        Some(v1::attribute::Value::Text(text)) => text,
        Some(v1::attribute::Value::Integer(number)) => number.to_string(),
        Some(v1::attribute::Value::Flag(flag)) => flag.to_string(),
        _ => String::new(),
    }
}

#[test]
fn a_search_is_the_tree_that_is_documented() {
    let (fixture, capture) = reporting();
    capture.records();
    ask(&fixture, &request("total of the cart"));
    let spans = capture.spans();
    check_parents(
        &spans,
        &[
            ("embedding.generate", "mcp.search"),
            ("vectorstore.search", "mcp.search"),
            ("vector.search", "vectorstore.search"),
            ("bm25.search", "vectorstore.search"),
            ("store.read", "vectorstore.search"),
            ("result.rank", "mcp.search"),
            ("result.format", "mcp.search"),
        ],
    );
    assert_eq!(spans.len(), 8, "{spans:#?}");
    assert_eq!(text(named(&spans, "mcp.search"), "results"), "1");
    let embed = named(&spans, "embedding.generate");
    assert_eq!((text(embed, "provider").as_str(), text(embed, "cache_hit").as_str()), ("static", "false"));
    assert_eq!((embed.kind(), text(embed, "op").as_str()), (v1::SpanKind::Internal, ""), "no other process is asked");
    assert_eq!(keys(named(&spans, "vector.search")), ["candidates", "ef"]);
    assert_eq!(keys(named(&spans, "bm25.search")), ["terms", "candidates"]);
    let read = named(&spans, "store.read");
    assert_eq!((text(read, "op").as_str(), text(read, "files").as_str()), ("db", "1"));
    assert_eq!(text(named(&spans, "result.format"), "bytes"), "37");
    for name in ["vectorstore.search", "vector.search", "bm25.search"] {
        assert_ne!(named(&spans, name).exemplar_series, 0, "{name} is an exemplar of its histogram");
    }
}

#[test]
fn caches_and_cuts_are_events() {
    let (fixture, capture) = reporting();
    let cached = SearchRequest { cache: true, ..request("total of the cart") };
    ask(&fixture, &cached);
    capture.records();
    ask(&fixture, &cached);
    let spans = capture.spans();
    assert_eq!(
        spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(),
        ["mcp.search", "store.read", "result.format"]
    );
    assert_eq!(named(&spans, "mcp.search").events[0].name, "cache_hit");
    check_parents(&spans, &[("store.read", "mcp.search")]);

    ask(&fixture, &SearchRequest { offset: 1, ..cached.clone() });
    ask(&fixture, &SearchRequest { max_tokens: Some(5), cache: true, top_k: 1, ..request("cart total of the") });
    let spans = capture.spans();
    let cut = spans.iter().find(|span| span.events.iter().any(|event| event.name == "truncated"));
    assert_eq!(cut.expect("a span that was cut").name, "result.format");

    let long = SearchRequest { cache: true, ..request(&format!("total {}", "cart ".repeat(2_000))) };
    ask(&fixture, &long);
    ask(
        &fixture,
        &SearchRequest { top_k: 3, filters: Filters { paths: vec!["*.py".into()], ..Filters::default() }, ..long },
    );
    let spans = capture.spans();
    let embeds: Vec<_> = spans.iter().filter(|span| span.name == "embedding.generate").collect();
    assert_eq!(embeds[0].events[0].name, "truncated");
    assert_eq!(embeds[1].events.last().expect("an event").name, "cache_hit", "{embeds:#?}");
    assert_eq!(text(embeds[1], "cache_hit"), "true");
}

#[test]
fn a_file_is_a_trace_of_its_own_linked_to_the_run() {
    let (_fixture, capture) = reporting();
    let spans = capture.spans();
    let run = named(&spans, "indexer.run");
    assert_eq!((run.root, text(run, "files").as_str()), (true, "1"));
    let find = |path: &str| spans.iter().find(|span| text(span, "path") == path).expect("the file's root");
    let file = find("cart.py");
    assert_eq!((file.name.as_str(), file.root, file.parent_span_id), ("indexer.process_file", true, 0));
    assert_eq!((text(file, "language").as_str(), text(file, "chunks").as_str()), ("python", "1"));
    let link = v1::SpanLink { trace_id: run.trace_id.clone(), span_id: run.span_id };
    assert_eq!(file.links, [link]);
    let below: Vec<_> = spans.iter().filter(|span| span.trace_id == file.trace_id && !span.root).cloned().collect();
    for name in ["indexer.chunk", "embedding.generate", "vectorstore.insert"] {
        assert_eq!(named(&below, name).parent_span_id, file.span_id, "{name}");
    }
    assert_eq!((below.len(), text(named(&below, "vectorstore.insert"), "op").as_str()), (3, "db"));
    assert_eq!(text(find("empty.py"), "skipped"), "empty");
}
