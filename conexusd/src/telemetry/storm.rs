//! Storm: what becomes of the log when one part of the program says the same thing without end?
//!
//! Each target has a budget: so many lines at once, then so many a second. What is over it is dropped by the drain, where it costs
//! the thread that logs nothing, and counted as `ingest_limit`; a line a second says how many were dropped, and of what.

use std::time::{Duration, Instant};

use conexus_proto::facts::{DropReason, RecordKind};
use rustc_hash::FxHashMap;

use super::cell::{ATTRIBUTE_BYTES_MAX, Cell, Level, MESSAGE_BYTES_MAX, push_attribute, push_message};
use super::clock::Tick;
use super::{Hub, seat};

/// Lines of one target that may come at once.
const BURST: f64 = 10_000.0;
/// Lines of one target a second.
const RATE: f64 = 1_000.0;
/// How often what was dropped is said.
const SAY_INTERVAL: Duration = Duration::from_secs(1);

/// The budgets of all targets. Their number is that of the modules that log.
#[derive(Debug, Default)]
pub(crate) struct Storms {
    budgets: FxHashMap<&'static str, Budget>,
    /// Dropped and not counted yet.
    uncounted: u64,
    /// Since when something dropped is not said yet.
    unsaid: Option<Instant>,
}

#[derive(Debug)]
struct Budget {
    lines: f64,
    at: Instant,
    dropped: u64,
}

impl Storms {
    /// Whether a line of `target` is within its budget.
    pub(crate) fn lets(&mut self, target: &'static str, now: Instant) -> bool {
        let budget = self.budgets.entry(target).or_insert(Budget { lines: BURST, at: now, dropped: 0 });
        let earned = now.saturating_duration_since(budget.at).as_secs_f64() * RATE;
        (budget.lines, budget.at) = ((budget.lines + earned).min(BURST), now);
        if budget.lines >= 1.0 {
            budget.lines -= 1.0;
            return true;
        }
        budget.dropped += 1;
        self.uncounted += 1;
        self.unsaid.get_or_insert(now);
        false
    }

    /// Counts what was dropped since the last call.
    pub(crate) fn count(&mut self, hub: &Hub) {
        let dropped = std::mem::take(&mut self.uncounted);
        if dropped > 0 {
            seat::with(&hub.seats, |seat| {
                seat.table.dropped(RecordKind::Log, DropReason::IngestLimit, dropped);
            });
        }
    }

    /// Logs what was dropped, once a second or if it is the `last` time.
    pub(crate) fn say(&mut self, hub: &Hub, now: Instant, last: bool) {
        let due = self.unsaid.is_some_and(|since| last || now.saturating_duration_since(since) >= SAY_INTERVAL);
        if !due {
            return;
        }
        self.unsaid = None;
        for (target, budget) in self.budgets.iter_mut().filter(|(_, budget)| budget.dropped > 0) {
            let cells = line(target, std::mem::take(&mut budget.dropped));
            seat::with(&hub.seats, |seat| seat.push(&hub.seats.rings, RecordKind::Log, 1, &cells));
        }
    }
}

fn line(target: &'static str, dropped: u64) -> Vec<Cell> {
    let header = |cells: usize| Cell::Log {
        level: Level::Warn,
        cells: cells as u32,
        target: "conexusd::telemetry",
        at: Tick::now(),
        trace: None,
        span: 0,
    };
    let mut cells = vec![header(0)];
    let message = format!("{dropped} lines dropped: one part of the program logs more than {RATE} a second");
    push_message(&mut cells, 0, &message, MESSAGE_BYTES_MAX);
    push_attribute(&mut cells, 0, "dropped", (dropped as i64).into(), ATTRIBUTE_BYTES_MAX);
    push_attribute(&mut cells, 0, "dropped_target", target.into(), ATTRIBUTE_BYTES_MAX);
    cells[0] = header(cells.len());
    cells
}

#[cfg(test)]
mod tests {
    use conexus_proto::v1::{attribute, record};

    use super::super::{Telemetry, TelemetryOptions};
    use super::*;

    #[test]
    fn a_storm_is_cut_to_its_budget_and_another_target_is_not() {
        let (mut storms, start) = (Storms::default(), Instant::now());
        let passed =
            |storms: &mut Storms, target, count: usize, at| (0..count).filter(|_| storms.lets(target, at)).count();
        assert_eq!(passed(&mut storms, "a", 20_000, start), BURST as usize);
        assert_eq!(passed(&mut storms, "b", 5_000, start), 5_000);
        let later = start + Duration::from_millis(500);
        assert_eq!(passed(&mut storms, "a", 20_000, later), 500);
    }

    #[test]
    fn every_line_of_a_storm_is_recorded_or_dropped_and_said() {
        let (telemetry, capture) = Telemetry::captured(&TelemetryOptions::default());
        let subscriber =
            tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), telemetry.layer());
        let mut records = Vec::new();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..300 {
                (0..100).for_each(|number| tracing::info!(number, "a storm"));
                records.extend(capture.records());
            }
        });
        std::thread::sleep(SAY_INTERVAL);
        // The first call says it, into a ring that is new: the second finds it.
        records.extend(capture.records());
        records.extend(capture.records());
        let logs =
            || records.iter().filter_map(|record| if let record::Record::Log(log) = record { Some(log) } else { None });
        let written = logs().filter(|log| log.message == "a storm").count() as i64;
        let said: i64 = logs()
            .filter(|log| log.message.contains("lines dropped"))
            .filter_map(|log| match log.fields.iter().find(|field| field.key == "dropped")?.value {
                Some(attribute::Value::Integer(dropped)) => Some(dropped),
                _ => None,
            })
            .sum();
        assert_eq!(written + said, 30_000, "written {written}, said {said}");
        assert!(written >= BURST as i64 && said > 10_000, "written {written}, said {said}");
        let accounts = telemetry.accounts();
        assert_eq!(accounts.dropped_total(), said as u64);
    }
}
