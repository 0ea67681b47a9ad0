//! Calls: which spans belong to one tool call?
//!
//! A core sends a trace in one piece, its root first, but perhaps over two batches: a call is complete when another trace
//! follows, or after a moment.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use conexus_proto::v1::{self, attribute};

/// How long a call's later spans may take.
const REST_WITHIN: Duration = Duration::from_millis(500);
/// Spans of a call at most, which is what a core keeps of a trace.
const SPANS_MAX: usize = 2_000;

/// A finished tool call: its root span and those below.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Call {
    pub(super) epoch: u64,
    pub(super) tool: String,
    pub(super) root: v1::Span,
    pub(super) spans: Vec<v1::Span>,
}

/// The call that each core is sending.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: HashMap<u64, (Instant, Call)>,
}

impl Calls {
    /// Takes the next span of a core. Returns the call that it ends. `wanted` says by the trace id whether a call is to be sent.
    pub(super) fn span(&mut self, epoch: u64, span: &v1::Span, wanted: impl FnOnce(&[u8]) -> bool) -> Option<Call> {
        if !span.root {
            if let Some((_, call)) = self.open.get_mut(&epoch)
                && call.root.trace_id == span.trace_id
                && call.spans.len() < SPANS_MAX
            {
                call.spans.push(span.clone());
            }
            return None;
        }
        let ended = self.open.remove(&epoch).map(|(_, call)| call);
        if let Some(tool) = tool(span).filter(|_| wanted(&span.trace_id)) {
            let call = Call { epoch, tool: tool.to_owned(), root: span.clone(), spans: Vec::new() };
            self.open.insert(epoch, (Instant::now(), call));
        }
        ended
    }

    /// Calls whose last span must have come by `now`.
    pub(super) fn finished(&mut self, now: Instant) -> Vec<Call> {
        let over = self.open.extract_if(|_, (since, _)| now.duration_since(*since) >= REST_WITHIN);
        over.map(|(_, (_, call))| call).collect()
    }

    /// All of them.
    pub(super) fn all(&mut self) -> Vec<Call> {
        self.open.drain().map(|(_, (_, call))| call).collect()
    }
}

/// The tool that a root span is a call of.
fn tool(span: &v1::Span) -> Option<&str> {
    let text = |key: &str| {
        span.attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| match &attribute.value {
            Some(attribute::Value::Text(text)) => Some(text.as_str()),
            _ => None,
        })
    };
    text("gen_ai.tool.name").or_else(|| text("method")).filter(|name| name.starts_with("context_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(trace: u8, root: bool, name: &str) -> v1::Span {
        let tool = attribute::Value::Text("context_search".into());
        let method = v1::Attribute { key: "method".into(), value: Some(tool) };
        let attributes = if root && name.starts_with("mcp.search") { vec![method] } else { vec![] };
        v1::Span { trace_id: vec![trace; 16], root, name: name.into(), attributes, ..v1::Span::default() }
    }

    fn names(call: &Call) -> Vec<&str> {
        std::iter::once(&call.root).chain(&call.spans).map(|span| span.name.as_str()).collect()
    }

    #[test]
    fn a_call_ends_with_the_next_trace_of_its_core_or_after_a_moment() {
        let mut calls = Calls::default();
        assert_eq!(calls.span(1, &span(1, true, "mcp.search"), |_| true), None);
        assert_eq!(calls.span(2, &span(9, true, "mcp.search other"), |_| true), None);
        assert_eq!(calls.span(1, &span(1, false, "bm25.search"), |_| true), None);
        assert_eq!(calls.span(1, &span(3, false, "a late span of an earlier trace"), |_| true), None);
        let ended = calls.span(1, &span(2, true, "indexer.run"), |_| true).unwrap();
        assert_eq!((names(&ended), ended.tool.as_str()), (vec!["mcp.search", "bm25.search"], "context_search"));
        assert_eq!(calls.finished(Instant::now()), []);
        let rest = calls.finished(Instant::now() + REST_WITHIN);
        assert_eq!(rest.iter().map(|call| call.epoch).collect::<Vec<_>>(), [2], "work of its own is no call");
    }

    #[test]
    fn a_call_that_is_not_wanted_is_not_kept() {
        let mut calls = Calls::default();
        assert_eq!(calls.span(1, &span(1, true, "mcp.search"), |id| id[0] > 1), None);
        assert_eq!(calls.all(), []);
    }
}
