//! Seats: what does a thread own of a telemetry instance, and who gets it when the thread ends?
//!
//! A [`Seat`] is a slot table, a ring and an id generator. A thread takes one at its first fact and leaves it when it ends.
//! Taking and leaving lock; everything between does not. Several instances in one process do not mix: a thread has a
//! seat in each.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use conexus_proto::facts::{Addition, DropReason, RecordKind};

use super::cell::Cell;
use super::ids::Random;
use super::pool::Pool;
use super::ring::{Ring, Rings};
use super::slots::{TableRef, Tables};
use super::trace::Buffer;

/// What one thread owns while it lives.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) table: TableRef,
    pub(crate) random: Random,
    /// Opened with the first record.
    ring: Option<Ring>,
    /// The buffer of a trace that ended here, for the next that begins here.
    pub(crate) spare: Option<Box<Buffer>>,
}

impl Seat {
    /// Counts `count` records of `kind` and pushes them, whole or not at all; what does not fit is counted as dropped.
    #[inline]
    pub(crate) fn push(&mut self, rings: &Rings, kind: RecordKind, count: u64, cells: &[Cell]) {
        let ring = self.ring.get_or_insert_with(|| rings.open());
        self.table.emitted(kind, count);
        if !rings.push(ring, cells) {
            self.table.dropped(kind, DropReason::RingFull, count);
        }
    }
}

/// All seats of one telemetry instance.
#[derive(Debug)]
pub(crate) struct Seats {
    pub(crate) tables: Tables,
    pub(crate) rings: Rings,
    free: Pool<Seat>,
}

impl Seats {
    /// Seats whose rings have `ring_cells` cells.
    #[cfg(test)]
    pub(crate) fn new(ring_cells: usize) -> Self {
        Self::with_tables(ring_cells, Tables::default())
    }

    /// The same, with tables of the caller's.
    pub(crate) fn with_tables(ring_cells: usize, tables: Tables) -> Self {
        Self { tables, rings: Rings::new(ring_cells), free: Pool::empty() }
    }

    fn take(&self) -> Seat {
        self.free.take(|| Seat { table: self.tables.open(), random: Random::seeded(), ring: None, spare: None })
    }

    fn leave(&self, seat: Seat) {
        self.free.leave(seat);
    }
}

/// A seat that this thread has taken, and whose it is. The weak reference keeps the address from being used again.
struct Lease {
    seats: Weak<Seats>,
    seat: Option<Seat>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(seats), Some(seat)) = (self.seats.upgrade(), self.seat.take()) {
            seats.leave(seat);
        }
    }
}

thread_local! {
    static LEASES: RefCell<Vec<Lease>> = const { RefCell::new(Vec::new()) };
}

/// Adds to this thread's table of `seats`.
#[inline(always)]
pub(crate) fn count(seats: &Arc<Seats>, addition: Addition) {
    let counted = LEASES.try_with(|leases| {
        let leases = leases.try_borrow().ok()?;
        let lease = leases.iter().find(|lease| std::ptr::eq(lease.seats.as_ptr(), &**seats))?;
        lease.seat.as_ref()?.table.add(addition);
        Some(())
    });
    if !matches!(counted, Ok(Some(()))) {
        count_first(seats, addition);
    }
}

/// The same where this thread has no seat yet, or cannot reach it.
#[cold]
#[inline(never)]
fn count_first(seats: &Arc<Seats>, addition: Addition) {
    with(seats, |seat| seat.table.add(addition));
}

/// Calls `act` once with this thread's seat.
///
/// Where the thread's own is out of reach (its thread-local storage is gone, or `act` of an outer call is running), a seat
/// is borrowed for the call, so that nothing is lost.
#[inline]
pub(crate) fn with<R>(seats: &Arc<Seats>, mut act: impl FnMut(&mut Seat) -> R) -> R {
    let own = LEASES.try_with(|leases| {
        let mut leases = leases.try_borrow_mut().ok()?;
        let at = leases.iter().position(|lease| std::ptr::eq(lease.seats.as_ptr(), &**seats));
        let at = at.unwrap_or_else(|| take_lease(&mut leases, seats));
        leases[at].seat.as_mut().map(&mut act)
    });
    match own {
        Ok(Some(result)) => result,
        _ => with_borrowed(seats, act),
    }
}

#[cold]
fn with_borrowed<R>(seats: &Arc<Seats>, mut act: impl FnMut(&mut Seat) -> R) -> R {
    let mut seat = seats.take();
    let result = act(&mut seat);
    seats.leave(seat);
    result
}

#[cold]
fn take_lease(leases: &mut Vec<Lease>, seats: &Arc<Seats>) -> usize {
    leases.retain(|lease| lease.seats.strong_count() > 0);
    leases.push(Lease { seats: Arc::downgrade(seats), seat: Some(seats.take()) });
    leases.len() - 1
}

#[cfg(test)]
mod tests {
    use conexus_proto::facts::Fact;

    use super::*;

    fn hits(seats: &Arc<Seats>) -> u64 {
        let Addition::Count { cell, .. } = Fact::SearchCacheHit.addition() else { unreachable!() };
        seats.tables.cells()[cell]
    }

    #[test]
    fn sums_never_step_back_when_threads_end_and_their_seats_go_on() {
        let seats = Arc::new(Seats::new(16));
        for round in 1..=50 {
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (0..10).for_each(|_| count(&seats, Fact::SearchCacheHit.addition())));
                }
            });
            assert_eq!(hits(&seats), round * 20);
        }
        // A scope may return before a thread's storage is destroyed, so a few seats more than two can be taken at once.
        let taken = seats.free.len();
        assert!(taken <= 20, "{taken} seats for two threads at a time");
    }

    #[test]
    fn instances_do_not_mix_and_dead_ones_are_forgotten() {
        let (one, two) = (Arc::new(Seats::new(16)), Arc::new(Seats::new(16)));
        count(&one, Fact::SearchCacheHit.addition());
        (0..3).for_each(|_| count(&two, Fact::SearchCacheHit.addition()));
        assert_eq!((hits(&one), hits(&two)), (1, 3));
        drop((one, two));
        let three = Arc::new(Seats::new(16));
        count(&three, Fact::SearchCacheHit.addition());
        let alive = LEASES.with_borrow(|leases| leases.iter().filter(|lease| lease.seats.strong_count() > 0).count());
        assert_eq!((hits(&three), alive, LEASES.with_borrow(Vec::len)), (1, 1, 1));
    }

    #[test]
    fn a_fact_inside_another_call_and_in_a_dying_thread_is_counted() {
        let seats = Arc::new(Seats::new(16));
        with(&seats, |_| count(&seats, Fact::SearchCacheHit.addition()));
        struct AtEnd(Arc<Seats>);
        impl Drop for AtEnd {
            fn drop(&mut self) {
                count(&self.0, Fact::SearchCacheHit.addition());
            }
        }
        thread_local!(static LATE: RefCell<Option<AtEnd>> = const { RefCell::new(None) });
        let moved = Arc::clone(&seats);
        let thread = std::thread::spawn(move || {
            LATE.set(Some(AtEnd(Arc::clone(&moved))));
            count(&moved, Fact::SearchCacheHit.addition());
        });
        thread.join().unwrap();
        assert_eq!(hits(&seats), 3);
    }
}
