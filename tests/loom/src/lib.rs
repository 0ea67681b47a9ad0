//! Loom: do counts stay exact in every order in which threads can add, read and hand over their tables?
//!
//! The files are conexusd's own, over loom's atomics and locks. What stands around them here, and not there: two numbers a table
//! instead of hundreds, and the list of tables, which in service is behind a lock as well.
#![cfg(test)]

#[path = "../../../conexusd/src/telemetry/count.rs"]
mod count;
#[path = "../../../conexusd/src/telemetry/pool.rs"]
#[allow(dead_code, reason = "its tests use more of it")]
mod pool;

mod sync {
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

use loom::sync::Arc;
use loom::thread;

use count::{Count, add_up};
use pool::Pool;
use sync::Mutex;

/// A request's start, and its end.
const START: usize = 0;
const END: usize = 1;

type Table = Arc<[Count; 2]>;

/// Every table, and those that nobody owns.
struct Seats {
    tables: Mutex<Vec<Table>>,
    free: Pool<Table>,
}

impl Seats {
    fn new() -> Arc<Self> {
        Arc::new(Self { tables: Mutex::new(Vec::new()), free: Pool::empty() })
    }

    fn take(&self) -> Table {
        self.free.take(|| {
            let table: Table = Arc::new([Count::zero(), Count::zero()]);
            self.tables.lock().expect("nobody panics").push(Arc::clone(&table));
            table
        })
    }

    fn sums(&self) -> [u64; 2] {
        let mut sums = [0; 2];
        add_up(&mut sums, self.tables.lock().expect("nobody panics").iter().map(|table| &table[..]));
        sums
    }
}

fn request(table: &Table) {
    table[START].add(1);
    table[END].add(1);
}

/// Looks twice: nothing falls, and no request ends that has not begun.
fn watch(seats: &Seats, at_most: u64) {
    let (first, second) = (seats.sums(), seats.sums());
    for sums in [first, second] {
        assert!(sums[END] <= sums[START] && sums[START] <= at_most, "{sums:?}");
    }
    assert!(first[START] <= second[START] && first[END] <= second[END], "{first:?} {second:?}");
}

#[test]
fn a_reader_sees_no_count_fall_and_no_end_before_its_start() {
    loom::model(|| {
        let seats = Seats::new();
        let table = seats.take();
        let writer = thread::spawn(move || (0..2).for_each(|_| request(&table)));
        watch(&seats, 2);
        writer.join().expect("it counts");
        assert_eq!(seats.sums(), [2, 2]);
    });
}

#[test]
fn a_table_that_is_left_and_taken_again_loses_nothing() {
    // Three threads have too many orders: all with at most three preemptions.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let seats = Seats::new();
        let live = |seats: &Arc<Seats>| {
            let seats = Arc::clone(seats);
            thread::spawn(move || {
                let table = seats.take();
                request(&table);
                seats.free.leave(table);
            })
        };
        let (one, two) = (live(&seats), live(&seats));
        watch(&seats, 2);
        one.join().expect("it counts");
        two.join().expect("it counts");
        assert_eq!(seats.sums(), [2, 2]);
        // One behind the other, or both at the same time.
        assert!((1..=2).contains(&seats.tables.lock().expect("nobody panics").len()));
    });
}

#[test]
fn a_thread_that_takes_what_another_left_goes_on_where_it_was() {
    loom::model(|| {
        let seats = Seats::new();
        let earlier = {
            let seats = Arc::clone(&seats);
            thread::spawn(move || {
                let table = seats.take();
                (0..2).for_each(|_| request(&table));
                seats.free.leave(table);
            })
        };
        let own = seats.take();
        let before = own[START].get();
        assert!(before == 0 || before == 2, "a table is left when everything is in it: {before}");
        request(&own);
        assert_eq!(own[START].get(), before + 1);
        earlier.join().expect("it counts");
        assert_eq!(seats.sums(), [3, 3]);
    });
}
