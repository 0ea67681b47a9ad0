//! Buffer: where do a trace's cells wait until its root ends, and what bounds them?

use std::mem::take;
use std::sync::Arc;

use conexus_proto::facts::RecordKind;

use super::super::Hub;
use super::super::cell::{AttributeValue, Cell, FAILED, OPEN, SpanKind, push_attribute};
use super::super::clock::Tick;
use super::super::context::Side;
use super::super::ids::{SpanIds, TraceId};
use super::super::seat::Seat;
use super::SpanRef;

/// A trace is cut at this many spans; how many were left out stands in the root's attribute `spans_cut`.
pub const SPANS_MAX: u32 = 2_000;
/// A trace's cells are bounded too, so that it fits a ring; attributes left out are counted in `attributes_cut`.
const CELLS_MAX: usize = 8_192;
/// Buffers start with this room, enough for a request without an allocation.
const BUFFER_CELLS: usize = 192;
/// Larger buffers are not kept.
const POOLED_CELLS_MAX: usize = 2_048;
/// Room kept free at the end of a trace for what is said about its cuts and its error.
const CELLS_RESERVE: usize = 32;

pub(super) const ROOT_AT: u32 = 1;

/// A trace's cells and what has to be known to decide about it. Goes back to the pool.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(super) cells: Vec<Cell>,
    pub(super) id: TraceId,
    pub(super) ids: SpanIds,
    pub(super) start: Tick,
    spans: u32,
    pub(super) open: u32,
    spans_cut: u32,
    attributes_cut: u32,
    pub(super) request: bool,
    pub(super) sampled: bool,
    pub(super) failed: bool,
    pub(super) side: Option<Arc<Side>>,
}

impl Buffer {
    fn new(id: TraceId, start: Tick) -> Self {
        Self {
            cells: Vec::with_capacity(BUFFER_CELLS),
            id,
            ids: SpanIds(1),
            start,
            spans: 0,
            open: 0,
            spans_cut: 0,
            attributes_cut: 0,
            request: false,
            sampled: false,
            failed: false,
            side: None,
        }
    }

    fn reset(&mut self, id: TraceId, start: Tick) {
        self.cells.clear();
        (self.id, self.start) = (id, start);
        (self.spans, self.open, self.spans_cut, self.attributes_cut) = (0, 0, 0, 0);
        self.failed = false;
    }

    #[inline]
    pub(super) fn span_id(&self, span: SpanRef) -> u64 {
        // Whatever belongs below a span that was cut goes below the root.
        let at = span.at.max(ROOT_AT);
        if let Some(Cell::Span { id, .. }) = self.cells.get(at as usize) { *id } else { 0 }
    }

    #[inline]
    pub(super) fn push_span(
        &mut self,
        parent: u64,
        name: &'static str,
        start: Tick,
        end: Tick,
        kind: SpanKind,
        flags: u8,
    ) -> u32 {
        if self.spans >= SPANS_MAX || self.cells.len() + CELLS_RESERVE >= CELLS_MAX {
            self.spans_cut += 1;
            return 0;
        }
        self.spans += 1;
        self.open += u32::from(flags & OPEN != 0);
        let at = self.cells.len() as u32;
        self.cells.push(Cell::Span { kind, flags, exemplar: 0, id: self.ids.next(), parent, name, start, end });
        at
    }

    /// Whether something may be added to a span.
    #[inline]
    pub(super) fn has_room(&mut self, span: SpanRef) -> bool {
        let room = self.cells.len() + CELLS_RESERVE < CELLS_MAX;
        self.attributes_cut += u32::from(!room && span.at != 0);
        room && span.at != 0
    }

    /// Ends what is open and returns the root's nanoseconds.
    pub(super) fn end_open(&mut self) -> u64 {
        if self.open > 0 {
            let now = Tick::now();
            for cell in &mut self.cells {
                if let Cell::Span { flags, end, .. } = cell
                    && *flags & OPEN != 0
                {
                    *end = now;
                    *flags &= !OPEN;
                }
            }
        }
        match self.cells.get_mut(ROOT_AT as usize) {
            Some(Cell::Span { end, flags, .. }) => {
                *flags |= if self.failed { FAILED } else { 0 };
                end.nanos_since(self.start)
            }
            _ => 0,
        }
    }

    pub(super) fn say_cuts(&mut self) {
        for (key, count) in [("spans_cut", self.spans_cut), ("attributes_cut", self.attributes_cut)] {
            if count > 0 {
                push_attribute(&mut self.cells, ROOT_AT, key, AttributeValue::Integer(count.into()), 0);
            }
        }
    }

    /// Adds the spans that libraries left in the trace's scopes.
    pub(super) fn take_side(&mut self, kept: bool) {
        let Some(mut side) = take(&mut self.side) else { return };
        let room = CELLS_MAX.saturating_sub(self.cells.len());
        let room = room.saturating_sub(CELLS_RESERVE);
        let (added, cut) = side.close(kept, &mut self.cells, room, SPANS_MAX.saturating_sub(self.spans));
        self.spans += added;
        self.spans_cut += cut;
        // A scope that still lives may leave spans later; it keeps this side, and the buffer gets another one.
        if let Some(unshared) = Arc::get_mut(&mut side) {
            unshared.reset();
            self.side = Some(side);
        }
    }

    pub(super) fn push(&mut self, seat: &mut Seat, hub: &Hub) {
        self.cells[0] = Cell::Trace { cells: self.cells.len() as u32, id: self.id };
        seat.push(&hub.seats.rings, RecordKind::Span, self.spans.into(), &self.cells);
    }
}

/// Buffers that wait for their next trace, so that a request allocates none: the thread's last one in its [`Seat`], and
/// here those of traces that end on another thread than they began on.
#[derive(Debug)]
pub(crate) struct Buffers {
    give: crossbeam_channel::Sender<Box<Buffer>>,
    take: crossbeam_channel::Receiver<Box<Buffer>>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        let (give, take) = crossbeam_channel::bounded(64);
        Self { give, take }
    }

    pub(super) fn take(&self, seat: &mut Seat, id: TraceId, start: Tick) -> Box<Buffer> {
        match seat.spare.take().or_else(|| self.take.try_recv().ok()) {
            Some(mut buffer) => {
                buffer.reset(id, start);
                buffer
            }
            None => Box::new(Buffer::new(id, start)),
        }
    }

    pub(super) fn give_back(&self, seat: &mut Seat, buffer: Box<Buffer>) {
        if buffer.cells.capacity() > POOLED_CELLS_MAX {
            return;
        }
        match &mut seat.spare {
            spare @ None => *spare = Some(buffer),
            // A full pool has enough buffers: this one is freed.
            Some(_) => drop(self.give.try_send(buffer)),
        }
    }
}
