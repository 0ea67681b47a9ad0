//! Context: to which trace do a log line and a library's span belong?
//!
//! A [`Scope`] made from a trace is entered by a thread, or wrapped around a future; while it is entered, the `tracing` layer
//! gives log lines its ids and puts spans into its [`Side`], from where they join the trace when its root ends.
//! Only spans and logs of `tracing` touch the side's lock; the search path's own spans do not.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conexus_proto::facts::RecordKind;

use super::cell::Cell;
use super::ids::{TraceId, TraceParent};
use super::{Hub, Telemetry, seat};

/// A trace and a span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace_id: TraceId,
    /// The span; never 0.
    pub span_id: u64,
    /// Whether the trace is known to be kept from its start. One that is not may still be, for an error or slowness.
    pub sampled: bool,
}

impl Context {
    /// This span as the parent of a request that is sent elsewhere.
    pub fn traceparent(self) -> TraceParent {
        TraceParent { trace_id: self.trace_id, span_id: self.span_id, sampled: self.sampled }
    }
}

/// Where log lines and libraries' spans belong while it is entered. Cheap to clone; may outlive its trace.
#[derive(Clone, Debug)]
pub struct Scope {
    telemetry: Telemetry,
    context: Context,
    side: Arc<Side>,
}

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

impl Scope {
    pub(crate) fn new(telemetry: &Telemetry, context: Context, side: Arc<Side>) -> Self {
        Self { telemetry: telemetry.clone(), context, side }
    }

    /// The span that the scope belongs to.
    pub fn context(&self) -> Context {
        self.context
    }

    /// Makes this the current scope of the thread until the guard is dropped.
    pub fn enter(&self) -> Entered {
        self.clone().entered()
    }

    /// The same for a scope that is not needed elsewhere: nothing is copied.
    pub fn entered(self) -> Entered {
        let outer = CURRENT.try_with(|current| current.replace(Some(self))).ok().flatten();
        Entered { outer, stays_on_its_thread: PhantomData }
    }

    /// A future during whose polls this scope is entered.
    pub async fn wrap<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _entered = self.enter();
            future.as_mut().poll(context)
        })
        .await
    }

    pub(crate) fn side(&self) -> &Arc<Side> {
        &self.side
    }
}

/// Leaves a scope when dropped.
#[derive(Debug)]
pub struct Entered {
    outer: Option<Scope>,
    stays_on_its_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Without thread-local storage the thread ends and has no current scope.
        let _ = CURRENT.try_with(|current| current.replace(self.outer.take()));
    }
}

/// Calls `act` with the thread's current scope in `hub`.
pub(crate) fn with_current<R>(hub: &Arc<Hub>, act: impl FnOnce(&Scope) -> R) -> Option<R> {
    CURRENT
        .try_with(|current| {
            let current = current.try_borrow().ok()?;
            current.as_ref().filter(|scope| Arc::ptr_eq(&scope.telemetry.hub, hub)).map(act)
        })
        .ok()
        .flatten()
}

/// Spans that libraries left for a trace.
#[derive(Debug, Default)]
pub(crate) struct Side {
    used: AtomicBool,
    left: Mutex<Left>,
}

#[derive(Debug, Default)]
struct Left {
    cells: Vec<Cell>,
    spans: u32,
    cut: u32,
    /// Whether the trace is kept, once that is decided.
    decided: Option<bool>,
}

/// How many cells may wait in a side.
const SIDE_CELLS_MAX: usize = 4_096;

impl Side {
    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a finished span: its cell, then what belongs to it, owned by index 0. After the trace's end it follows the trace,
    /// or is dropped with it.
    pub(crate) fn leave(&self, hub: &Hub, trace: TraceId, span: &[Cell]) {
        let mut left = self.left();
        match left.decided {
            None if left.cells.len() + span.len() <= SIDE_CELLS_MAX => {
                self.used.store(true, Ordering::Release);
                let base = left.cells.len() as u32;
                left.cells.extend(span.iter().map(|cell| moved(*cell, base)));
                left.spans += 1;
            }
            Some(true) => {
                let mut cells = vec![Cell::Trace { cells: span.len() as u32 + 1, id: trace }];
                cells.extend(span.iter().map(|cell| moved(*cell, 1)));
                seat::with(&hub.seats, |seat| seat.push(&hub.seats.rings, RecordKind::Span, 1, &cells));
            }
            None => left.cut += 1,
            Some(false) => {}
        }
    }

    /// Moves what was left into `cells` as far as it has room, and remembers the decision for what comes later.
    /// Returns how many spans were added, and how many left out.
    pub(crate) fn close(
        self: &Arc<Self>,
        kept: bool,
        cells: &mut Vec<Cell>,
        room: usize,
        spans_max: u32,
    ) -> (u32, u32) {
        if Arc::strong_count(self) == 1 && !self.used.load(Ordering::Acquire) {
            return (0, 0);
        }
        let mut left = self.left();
        left.decided = Some(kept);
        let (spans, cut) = (std::mem::take(&mut left.spans), std::mem::take(&mut left.cut));
        if left.cells.len() > room || spans > spans_max {
            left.cells.clear();
            return (0, cut + spans);
        }
        let base = cells.len() as u32;
        cells.extend(left.cells.drain(..).map(|cell| moved(cell, base)));
        (spans, cut)
    }

    pub(crate) fn reset(&mut self) {
        if std::mem::take(self.used.get_mut()) {
            let left = self.left.get_mut().unwrap_or_else(PoisonError::into_inner);
            left.cells.clear();
            (left.spans, left.cut) = (0, 0);
        }
        self.left.get_mut().unwrap_or_else(PoisonError::into_inner).decided = None;
    }
}

/// A cell whose owner stands `base` further on.
fn moved(mut cell: Cell, base: u32) -> Cell {
    if let Cell::Attribute { owner, .. }
    | Cell::Event { owner, .. }
    | Cell::Link { owner, .. }
    | Cell::Message { owner, .. } = &mut cell
    {
        *owner += base;
    }
    cell
}
