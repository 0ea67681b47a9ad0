//! Traces: what were the stages of one request, how long did each take, and is the trace worth keeping?
//!
//! A [`Trace`] is an append-only run of cells in a buffer from a pool. Nothing leaves it until the root ends; then it is
//! decided once: kept if sampled (the caller's flag, or by id), if a span failed, or if a request took longer than the slow
//! threshold. What is kept is pushed to the thread's ring as a whole; the rest is only counted.

use std::mem::take;
use std::sync::Arc;

use conexus_proto::facts::{Addition, Fact, TraceDecision};

use super::cell::{
    ATTRIBUTE_BYTES_MAX, AttributeValue, Cell, FAILED, OPEN, REMOTE_PARENT, ROOT, SpanKind, push_attribute,
    push_message,
};
use super::clock::Tick;
use super::context::{Context, Scope};
use super::ids::{SpanIds, TraceParent};
use super::{Telemetry, seat};
use buffer::ROOT_AT;

pub use buffer::SPANS_MAX;
pub(crate) use buffer::{Buffer, Buffers};

mod buffer;

/// What a trace begins with.
#[derive(Clone, Copy, Debug)]
pub struct RootInfo {
    /// The root span's name.
    pub name: &'static str,
    /// [`SpanKind::Server`] for a request: only those are kept for being slow.
    pub kind: SpanKind,
    /// Who called, if the caller said so.
    pub parent: Option<TraceParent>,
    /// When the work began.
    pub start: Tick,
}

impl RootInfo {
    /// A request from a client, continuing the client's trace if it sent one.
    pub fn request(name: &'static str, parent: Option<TraceParent>) -> Self {
        Self { name, kind: SpanKind::Server, parent, start: Tick::now() }
    }

    /// Work of this process's own, such as indexing a file.
    pub fn work(name: &'static str) -> Self {
        Self { name, kind: SpanKind::Internal, parent: None, start: Tick::now() }
    }

    /// The same of work that began earlier.
    pub fn since(self, start: Tick) -> Self {
        Self { start, ..self }
    }
}

impl From<&'static str> for RootInfo {
    fn from(name: &'static str) -> Self {
        Self::work(name)
    }
}

/// A span of a trace.
#[derive(Clone, Copy, Debug)]
pub struct SpanRef {
    /// The index of its cell; 0, the header's, for a span that was cut.
    at: u32,
    start: Tick,
}

impl SpanRef {
    /// When the span started.
    pub fn start(self) -> Tick {
        self.start
    }
}

/// The spans of one request, bounded, kept or dropped as a whole when it ends (or is dropped, as a cancelled request's is).
#[derive(Debug)]
pub struct Trace {
    telemetry: Telemetry,
    /// Taken when the trace ends.
    buffer: Option<Box<Buffer>>,
}

impl Trace {
    pub(crate) fn start_root(telemetry: &Telemetry, info: RootInfo) -> Self {
        let hub = &telemetry.hub;
        let start = info.start;
        let mut buffer = seat::with(&hub.seats, |seat| {
            let fresh = seat.random.trace_id();
            let mut buffer = hub.buffers.take(seat, info.parent.map_or(fresh, |parent| parent.trace_id), start);
            buffer.ids = SpanIds(seat.random.nonzero());
            buffer
        });
        let id = buffer.id;
        let sampled = info.parent.map_or_else(|| id.sampled_under(hub.sample_threshold), |parent| parent.sampled);
        buffer.request = info.kind == SpanKind::Server;
        buffer.sampled = sampled;
        buffer.cells.push(Cell::Trace { cells: 0, id });
        let remote = if info.parent.is_some() { REMOTE_PARENT } else { 0 };
        let parent = info.parent.map_or(0, |parent| parent.span_id);
        buffer.push_span(parent, info.name, start, start, info.kind, ROOT | OPEN | remote);
        Self { telemetry: telemetry.clone(), buffer: Some(buffer) }
    }

    #[inline]
    fn buffer(&mut self) -> &mut Buffer {
        self.buffer.as_mut().expect("the buffer is only taken when the trace ends, and that consumes it")
    }

    /// The root span.
    pub fn root(&self) -> SpanRef {
        SpanRef { at: ROOT_AT, start: self.buffer.as_ref().map_or_else(Tick::now, |buffer| buffer.start) }
    }

    /// Starts a span below `parent`, now.
    #[inline]
    pub fn start(&mut self, parent: SpanRef, name: &'static str) -> SpanRef {
        self.start_at(parent, name, Tick::now())
    }

    /// Starts a span below `parent` at a moment already known, such as the end of the stage before it.
    #[inline]
    pub fn start_at(&mut self, parent: SpanRef, name: &'static str, start: Tick) -> SpanRef {
        let buffer = self.buffer();
        let parent = buffer.span_id(parent);
        let at = buffer.push_span(parent, name, start, start, SpanKind::Internal, OPEN);
        SpanRef { at, start }
    }

    /// Ends a span and returns its duration in nanoseconds.
    #[inline]
    pub fn end(&mut self, span: SpanRef) -> u64 {
        self.end_at(span, Tick::now())
    }

    /// Ends a span at a moment already known and returns its duration in nanoseconds.
    #[inline]
    pub fn end_at(&mut self, span: SpanRef, now: Tick) -> u64 {
        let buffer = self.buffer();
        if let Some(Cell::Span { end, flags, .. }) = buffer.cells.get_mut(span.at as usize) {
            *end = now;
            buffer.open -= u32::from(*flags & OPEN != 0);
            *flags &= !OPEN;
        }
        now.nanos_since(span.start)
    }

    /// Ends a span and starts its next sibling at the same moment, with one look at the clock. Returns the ended span's
    /// nanoseconds and the new span.
    #[inline]
    pub fn next(&mut self, span: SpanRef, parent: SpanRef, name: &'static str) -> (u64, SpanRef) {
        let now = Tick::now();
        (self.end_at(span, now), self.start_at(parent, name, now))
    }

    /// Adds a span that was timed elsewhere, on another thread for example.
    #[inline]
    pub fn add(&mut self, parent: SpanRef, name: &'static str, start: Tick, end: Tick) -> SpanRef {
        let buffer = self.buffer();
        let parent = buffer.span_id(parent);
        let at = buffer.push_span(parent, name, start, end, SpanKind::Internal, 0);
        SpanRef { at, start }
    }

    /// Marks a span as a call to another service.
    pub fn client(&mut self, span: SpanRef) {
        if let Some(Cell::Span { kind, .. }) = self.buffer().cells.get_mut(span.at as usize) {
            *kind = SpanKind::Client;
        }
    }

    /// Sets an attribute of a span. Text is copied without its secrets and cut at 256 bytes.
    #[inline]
    pub fn set<'a>(&mut self, span: SpanRef, key: &'static str, value: impl Into<AttributeValue<'a>>) {
        let enabled = self.telemetry.hub.tracing_enabled;
        let buffer = self.buffer();
        if enabled && buffer.has_room(span) {
            push_attribute(&mut buffer.cells, span.at, key, value.into(), ATTRIBUTE_BYTES_MAX);
        }
    }

    /// Adds an event to a span, at this moment: a retry, a cache hit, a truncation.
    pub fn event(&mut self, span: SpanRef, name: &'static str, attributes: &[(&'static str, AttributeValue<'_>)]) {
        self.event_at(span, name, Tick::now(), attributes);
    }

    /// Adds an event that happened at a moment already known.
    pub fn event_at(
        &mut self,
        span: SpanRef,
        name: &'static str,
        at: Tick,
        attributes: &[(&'static str, AttributeValue<'_>)],
    ) {
        let enabled = self.telemetry.hub.tracing_enabled;
        let buffer = self.buffer();
        if !enabled || !buffer.has_room(span) {
            return;
        }
        let event = buffer.cells.len() as u32;
        buffer.cells.push(Cell::Event { owner: span.at, name, at });
        for (key, value) in attributes {
            push_attribute(&mut buffer.cells, event, key, value.clone(), ATTRIBUTE_BYTES_MAX);
        }
    }

    /// Links a span to one of another trace.
    pub fn link(&mut self, span: SpanRef, to: Context) {
        let buffer = self.buffer();
        if buffer.has_room(span) {
            buffer.cells.push(Cell::Link { owner: span.at, trace: to.trace_id, span: to.span_id });
        }
    }

    /// Marks a span, and with it the trace, as failed: the trace is kept.
    pub fn fail(&mut self, span: SpanRef, message: &str) {
        let buffer = self.buffer();
        buffer.failed = true;
        if let Some(Cell::Span { flags, .. }) = buffer.cells.get_mut(span.at as usize) {
            *flags |= FAILED;
        }
        if buffer.has_room(span) {
            push_message(&mut buffer.cells, span.at, message, ATTRIBUTE_BYTES_MAX);
        }
    }

    /// Counts a fact that `span` took the time of, and remembers the pair, so that the sidecar can attach the trace to the
    /// histogram as an exemplar.
    #[inline(always)]
    pub fn measure(&mut self, span: SpanRef, fact: Fact) {
        let addition = fact.addition();
        if let (Addition::Duration { cell, .. }, Some(Cell::Span { exemplar, .. })) =
            (addition, self.buffer().cells.get_mut(span.at as usize))
        {
            *exemplar = cell as u32 + 1;
        }
        seat::count(&self.telemetry.hub.seats, addition);
    }

    /// The trace and span ids, for logs, links and outgoing requests.
    pub fn context(&self, span: SpanRef) -> Context {
        let buffer = self.buffer.as_ref().expect("the buffer is only taken when the trace ends, and that consumes it");
        Context { trace_id: buffer.id, span_id: buffer.span_id(span), sampled: buffer.sampled }
    }

    /// A scope in which log lines and libraries' spans belong to `span`.
    pub fn scope(&mut self, span: SpanRef) -> Scope {
        let context = self.context(span);
        let side = Arc::clone(self.buffer().side.get_or_insert_with(Arc::default));
        Scope::new(&self.telemetry, context, side)
    }

    /// Ends the root now, unless it has ended, and decides about the trace.
    pub fn finish(mut self) -> TraceDecision {
        self.close()
    }

    fn close(&mut self) -> TraceDecision {
        let Some(mut buffer) = take(&mut self.buffer) else { return TraceDecision::Unsampled };
        let hub = &self.telemetry.hub;
        let duration = buffer.end_open();
        let slow = buffer.request && duration > hub.slow_threshold_nanos;
        let kept = hub.tracing_enabled && (buffer.sampled || buffer.failed || slow);
        buffer.take_side(kept);
        buffer.say_cuts();
        let decision = if kept { TraceDecision::Kept } else { TraceDecision::Unsampled };
        let mut buffer = Some(buffer);
        seat::with(&hub.seats, |seat| {
            if hub.tracing_enabled {
                seat.table.add(Fact::TraceDecided { decision }.addition());
            }
            if let Some(mut buffer) = buffer.take() {
                if kept {
                    buffer.push(seat, hub);
                }
                hub.buffers.give_back(seat, buffer);
            }
        });
        decision
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
