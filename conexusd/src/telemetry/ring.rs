//! Rings: how do records get from a thread to the drain without either waiting?
//!
//! Each thread that ever pushes a record gets a single-producer ring of its own (`rtrb`), so a push is a copy and one
//! store. A run of cells goes in whole or not at all; when it does not fit it is dropped and counted, never waited for.
//! Memory stays bounded: past [`RINGS_MAX`] threads the rest share one ring, whose lock is only ever tried.

use std::sync::{Mutex, PoisonError, TryLockError};

use rtrb::{Consumer, Producer, RingBuffer};

use super::cell::Cell;

/// How many threads may have a ring of their own.
const RINGS_MAX: usize = 64;

/// Where rings come from, and where the drain finds them.
#[derive(Debug)]
pub(crate) struct Rings {
    capacity: usize,
    opened: Mutex<Opened>,
    shared: Mutex<Option<Producer<Cell>>>,
}

#[derive(Debug, Default)]
struct Opened {
    count: usize,
    /// Not yet taken by the drain.
    new: Vec<Consumer<Cell>>,
}

/// A thread's end of the way to the drain.
#[derive(Debug)]
pub(crate) enum Ring {
    Own(Producer<Cell>),
    Shared,
}

impl Rings {
    /// Rings of `capacity` cells each.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, opened: Mutex::default(), shared: Mutex::default() }
    }

    /// A ring for one more thread. Allocates; done once a thread.
    pub(crate) fn open(&self) -> Ring {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.count > RINGS_MAX {
            return Ring::Shared;
        }
        opened.count += 1;
        let (producer, consumer) = RingBuffer::new(self.capacity);
        opened.new.push(consumer);
        if opened.count <= RINGS_MAX {
            return Ring::Own(producer);
        }
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(producer);
        Ring::Shared
    }

    /// The ends of rings opened since the last call.
    pub(crate) fn take_new(&self) -> Vec<Consumer<Cell>> {
        std::mem::take(&mut self.opened.lock().unwrap_or_else(PoisonError::into_inner).new)
    }

    /// Pushes all of `cells` or none; whether they went in.
    #[inline]
    pub(crate) fn push(&self, ring: &mut Ring, cells: &[Cell]) -> bool {
        match ring {
            Ring::Own(producer) => producer.push_entire_slice(cells).is_ok(),
            Ring::Shared => self.push_shared(cells),
        }
    }

    fn push_shared(&self, cells: &[Cell]) -> bool {
        let mut shared = match self.shared.try_lock() {
            Ok(shared) => shared,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        shared.as_mut().is_some_and(|producer| producer.push_entire_slice(cells).is_ok())
    }
}

/// Hands every complete run of cells in the ring to `take`, then frees their room.
pub(crate) fn drain(consumer: &mut Consumer<Cell>, scratch: &mut Vec<Cell>, mut take: impl FnMut(&[Cell])) {
    let ready = consumer.slots();
    if ready == 0 {
        return;
    }
    let chunk = consumer.read_chunk(ready).expect("as many cells as were just counted");
    match chunk.as_slices() {
        (whole, []) => take(whole),
        (first, rest) => {
            scratch.clear();
            scratch.extend_from_slice(first);
            scratch.extend_from_slice(rest);
            take(scratch);
        }
    }
    chunk.commit_all();
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn run(value: u8, length: usize) -> Vec<Cell> {
        vec![Cell::Text([value; 63]); length]
    }

    fn values(cells: &[Cell]) -> Vec<u8> {
        cells.iter().map(|cell| if let Cell::Text(bytes) = cell { bytes[0] } else { panic!("{cell:?}") }).collect()
    }

    proptest! {
        /// The model: a queue that takes a run whole if it fits.
        #[test]
        fn a_run_goes_in_whole_or_not_at_all(steps in prop::collection::vec((1..9_usize, prop::bool::ANY), 1..100)) {
            let rings = Rings::new(16);
            let mut ring = rings.open();
            let mut consumer = rings.take_new().pop().unwrap();
            let (mut model, mut scratch) = (VecDeque::new(), vec![]);
            for (i, (length, drained)) in steps.into_iter().enumerate() {
                let fits = model.len() + length <= 16;
                prop_assert_eq!(rings.push(&mut ring, &run(i as u8, length)), fits);
                if fits {
                    model.extend(std::iter::repeat_n(i as u8, length));
                }
                if drained {
                    let mut seen = vec![];
                    drain(&mut consumer, &mut scratch, |cells| seen = values(cells));
                    prop_assert_eq!(seen, model.drain(..).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn threads_past_the_limit_share_one_ring() {
        let rings = Rings::new(4);
        let mut all: Vec<_> = (0..RINGS_MAX + 3).map(|_| rings.open()).collect();
        assert_eq!(all.iter().filter(|ring| matches!(ring, Ring::Own(_))).count(), RINGS_MAX);
        let mut consumers = rings.take_new();
        assert_eq!(consumers.len(), RINGS_MAX + 1);
        let last = all.len() - 1;
        assert!(rings.push(&mut all[last], &run(1, 2)) && rings.push(&mut all[last - 1], &run(2, 2)));
        assert!(!rings.push(&mut all[last], &run(3, 1)));
        let mut seen = vec![];
        drain(consumers.last_mut().unwrap(), &mut vec![], |cells| seen = values(cells));
        assert_eq!(seen, [1, 1, 2, 2]);
    }
}
