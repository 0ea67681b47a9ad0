//! Layer: how do `tracing`'s log lines and libraries' spans become records?
//!
//! A log line is copied into cells on the thread's stack of scratch memory and pushed to its ring; a span inside a trace's scope
//! joins that trace. Spans outside a scope are not recorded: a trace begins with [`super::Telemetry::trace`].
//! conexusd's own lines are kept from the log level up; other crates' from info up at least, since their debug lines say
//! little about conexusd, and the lines of the telemetry channel's own transport would cause more of themselves.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use arrayvec::ArrayString;
use conexus_proto::facts::RecordKind;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::cell::{
    ATTRIBUTE_BYTES_MAX, AttributeValue, Cell, FAILED, Level, MESSAGE_BYTES_MAX, SpanKind, cut, push_attribute,
    push_message,
};
use super::clock::Tick;
use super::context::{Context, Side, with_current};
use super::{Hub, Telemetry, seat};

/// Fields of a span or log line past this many cells are left out.
const CELLS_MAX: usize = 96;

/// The layer to put on a `tracing_subscriber` registry.
#[derive(Clone, Debug)]
pub struct TelemetryLayer {
    hub: Arc<Hub>,
}

/// What the layer knows of a span inside a trace.
struct OpenSpan {
    side: Arc<Side>,
    context: Context,
    /// The span's cell, then its attributes.
    cells: Vec<Cell>,
}

thread_local! {
    static SCRATCH: RefCell<Vec<Cell>> = const { RefCell::new(Vec::new()) };
}

impl TelemetryLayer {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self { hub: Arc::clone(&telemetry.hub) }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let level = match *metadata.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            _ => return false,
        };
        if metadata.is_span() {
            return self.hub.tracing_enabled && level >= Level::Info;
        }
        let least = self.hub.log_level().max(least_of(metadata.target()));
        self.hub.takes_logs() && level >= least
    }
}

/// The lowest level at which a crate's lines are taken.
fn least_of(target: &str) -> Level {
    match target.split("::").next() {
        Some(own) if own.starts_with("conexus") => Level::Debug,
        // It says each message at info and each client's mistake at warn: a request is one line, and that is ours.
        Some("rmcp") => Level::Error,
        _ => Level::Info,
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TelemetryLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: LayerContext<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn on_event(&self, event: &Event<'_>, context: LayerContext<'_, S>) {
        let trace = self.context_of(&context);
        let metadata = event.metadata();
        let level = match *metadata.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        // Taken out while fields format themselves: one that logs finds an empty vector of its own.
        let mut cells = SCRATCH.try_with(RefCell::take).unwrap_or_default();
        cells.clear();
        let header = |cells: usize| Cell::Log {
            level,
            cells: cells as u32,
            target: metadata.target(),
            at: Tick::now(),
            trace: trace.map(|context| context.trace_id),
            span: trace.map_or(0, |context| context.span_id),
        };
        cells.push(header(0));
        event.record(&mut Fields { cells: &mut cells, text_max: MESSAGE_BYTES_MAX, failed: false });
        cells[0] = header(cells.len());
        seat::with(&self.hub.seats, |seat| seat.push(&self.hub.seats.rings, RecordKind::Log, 1, &cells));
        // Without thread-local storage the vector is simply freed.
        let _ = SCRATCH.try_with(|scratch| scratch.replace(cells));
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<OpenSpan>().map(|open| (open.context, Arc::clone(&open.side)))
        });
        let scope = || with_current(&self.hub, |scope| (scope.context(), Arc::clone(scope.side())));
        let Some((parent, side)) = parent.or_else(scope) else { return };
        let (id, start) = (seat::with(&self.hub.seats, |seat| seat.random.nonzero()), Tick::now());
        let name = attributes.metadata().name();
        let kind = SpanKind::Internal;
        let mut cells = Vec::with_capacity(8);
        cells.push(Cell::Span { kind, flags: 0, exemplar: 0, id, parent: parent.span_id, name, start, end: start });
        attributes.record(&mut Fields { cells: &mut cells, text_max: ATTRIBUTE_BYTES_MAX, failed: false });
        let own = Context { span_id: id, ..parent };
        span.extensions_mut().replace(OpenSpan { side, context: own, cells });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: LayerContext<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<OpenSpan>() {
            let mut fields = Fields { cells: &mut open.cells, text_max: ATTRIBUTE_BYTES_MAX, failed: false };
            values.record(&mut fields);
            let failed = fields.failed;
            if let Some(Cell::Span { flags, .. }) = open.cells.first_mut() {
                *flags |= if failed { FAILED } else { 0 };
            }
        }
    }

    fn on_close(&self, id: Id, context: LayerContext<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(mut open) = span.extensions_mut().remove::<OpenSpan>() else { return };
        if let Some(Cell::Span { end, .. }) = open.cells.first_mut() {
            *end = Tick::now();
        }
        open.side.leave(&self.hub, open.context.trace_id, &open.cells);
    }
}

impl TelemetryLayer {
    /// The innermost span of the current trace: a library's, if one is entered, else the scope's.
    fn context_of<S: Subscriber + for<'a> LookupSpan<'a>>(&self, layer: &LayerContext<'_, S>) -> Option<Context> {
        let scope = with_current(&self.hub, super::context::Scope::context);
        let inner =
            layer.lookup_current().and_then(|span| span.extensions().get::<OpenSpan>().map(|open| open.context));
        match (inner, scope) {
            (Some(inner), Some(scope)) if inner.trace_id != scope.trace_id => Some(scope),
            (inner, scope) => inner.or(scope),
        }
    }
}

/// Copies fields into cells, owned by the cell at index 0.
struct Fields<'a> {
    cells: &'a mut Vec<Cell>,
    text_max: usize,
    failed: bool,
}

impl Fields<'_> {
    fn push(&mut self, field: &Field, value: AttributeValue<'_>) {
        if self.cells.len() < CELLS_MAX {
            self.failed |= field.name() == "error";
            push_attribute(self.cells, 0, field.name(), value, self.text_max);
        }
    }

    fn text(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            push_message(self.cells, 0, text, MESSAGE_BYTES_MAX);
        } else {
            self.push(field, AttributeValue::Str(text));
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = InlineText::new();
        // It only fails when the text is full, and then what fits is kept.
        let _ = write!(text, "{value:?}");
        self.text(field, &text.0);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = InlineText::new();
        let _ = write!(text, "{value}");
        self.text(field, &text.0);
    }
}

/// Text of bounded length, formatted without an allocation.
struct InlineText(ArrayString<MESSAGE_BYTES_MAX>);

impl InlineText {
    fn new() -> Self {
        Self(ArrayString::new())
    }
}

impl fmt::Write for InlineText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let part = cut(text, self.0.remaining_capacity());
        self.0.push_str(part);
        if part.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests;
