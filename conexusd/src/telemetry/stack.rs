//! Stacks: from where in the code was an error reported?
//!
//! The thread that reports walks its stack, which takes microseconds, and no more often than [`STACKS_MAX`] times a second: a
//! flood of errors has one stack. A thread of its own gives the addresses their names, which takes much longer the first time,
//! and passes the report on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use conexus_proto::facts::{DropReason, RecordKind};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::error::{ErrorReport, Frame};
use super::{Hub, seat};

/// Stacks that are walked in a second.
const STACKS_MAX: u64 = 10;
/// Frames of a stack.
const FRAMES_MAX: usize = 64;
/// Reports that may wait for their frames' names.
const WAITING_MAX: usize = 32;
/// Addresses whose names are remembered.
const NAMES_MAX: usize = 4_096;
/// After so long without an error, what the names were read from is given back.
const IDLE: Duration = Duration::from_secs(60);

/// The way of error reports to the thread that names their frames.
#[derive(Debug)]
pub(crate) struct Stacks {
    started: Instant,
    /// The second, and in its low byte how many stacks were walked in it.
    walked: AtomicU64,
    waiting: Sender<Item>,
}

#[derive(Debug)]
enum Item {
    Report(Box<ErrorReport>, Vec<usize>),
    /// Everything before this has been passed on: say so.
    Flush(Sender<()>),
}

/// Where the thread that names frames gets its work.
#[derive(Debug)]
pub(crate) struct Work(Receiver<Item>);

impl Stacks {
    pub(crate) fn new() -> (Self, Work) {
        let (waiting, work) = bounded(WAITING_MAX);
        (Self { started: Instant::now(), walked: AtomicU64::new(0), waiting }, Work(work))
    }

    /// Takes a report that has no stack and gives it that of the caller; gives the report back where it is to go without.
    pub(crate) fn take(&self, report: Box<ErrorReport>) -> Option<Box<ErrorReport>> {
        if report.has_stack() || !self.may_walk() {
            return Some(report);
        }
        let mut addresses = Vec::with_capacity(FRAMES_MAX);
        backtrace::trace(|frame| {
            addresses.push(frame.ip() as usize);
            addresses.len() < FRAMES_MAX
        });
        match self.waiting.try_send(Item::Report(report, addresses)) {
            Ok(()) => None,
            Err(refused) => match refused.into_inner() {
                Item::Report(report, _) => Some(report),
                Item::Flush(_) => None,
            },
        }
    }

    fn may_walk(&self) -> bool {
        let second = self.started.elapsed().as_secs() << 8;
        let count = |walked: u64| if walked & !0xff == second { walked & 0xff } else { 0 };
        let next = |walked: u64| (count(walked) < STACKS_MAX).then(|| second | (count(walked) + 1));
        self.walked.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Waits until all reports taken before are passed on, or the time is up.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (done, passed_on) = bounded(1);
        let deadline = Instant::now() + timeout;
        if self.waiting.send_deadline(Item::Flush(done), deadline).is_ok() {
            // An error means that the time is up.
            let _ = passed_on.recv_deadline(deadline);
        }
    }
}

impl Work {
    /// Names the frames of what comes, until the hub is gone.
    pub(crate) fn run(self, hub: Weak<Hub>) {
        let mut names: HashMap<usize, Vec<Frame>> = HashMap::new();
        loop {
            match self.0.recv_timeout(IDLE) {
                Ok(Item::Report(report, addresses)) => {
                    let Some(hub) = hub.upgrade() else { return };
                    if names.len() > NAMES_MAX {
                        names.clear();
                    }
                    let frames = addresses.iter().flat_map(|at| names.entry(*at).or_insert_with(|| named(*at)).clone());
                    pass_on(&hub, Box::new(report.stack(without_ourselves(frames.collect()))));
                }
                Ok(Item::Flush(done)) => {
                    let _ = done.try_send(());
                }
                Err(error) if error.is_timeout() => {
                    if hub.strong_count() == 0 {
                        return;
                    }
                    if !names.is_empty() {
                        names = HashMap::new();
                        backtrace::clear_symbol_cache();
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// Hands a report to the drain, or counts that it could not.
pub(crate) fn pass_on(hub: &Arc<Hub>, report: Box<ErrorReport>) {
    if hub.errors.0.try_send(report).is_err() {
        seat::with(&hub.seats, |seat| seat.table.dropped(RecordKind::Error, DropReason::RingFull, 1));
    }
}

/// The calls at a return address, innermost first where some were inlined.
fn named(address: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    backtrace::resolve(address as *mut _, |symbol| {
        frames.push(Frame {
            function: symbol.name().map(|name| format!("{name:#}")).unwrap_or_default(),
            file: symbol.filename().map(|file| file.display().to_string()).unwrap_or_default(),
            line: symbol.lineno().unwrap_or(0),
        });
    });
    frames
}

/// The frames from who reported on: what stands above them is how.
fn without_ourselves(frames: Vec<Frame>) -> Vec<Frame> {
    let ours = |frame: &Frame| frame.file.contains("/src/telemetry") || frame.file.contains("/backtrace-");
    let last = frames.iter().take(16).rposition(ours);
    let rest = last.map_or(0, |at| at + 1);
    frames[rest..].iter().take(FRAMES_MAX).cloned().collect()
}

#[cfg(test)]
mod tests {
    use conexus_proto::facts::ErrorType;

    use super::*;

    #[test]
    fn a_report_gets_the_stack_of_whoever_made_it_and_a_flood_gets_few() {
        let (stacks, work) = Stacks::new();
        let report = || Box::new(ErrorReport::new(ErrorType::Tool, "x"));
        let taken = (0..500).filter(|_| stacks.take(report()).is_none()).count();
        // A second may have ended between.
        assert!((10..=20).contains(&taken), "{taken}");
        let Ok(Item::Report(_, addresses)) = work.0.try_recv() else { panic!("no report") };
        let frames: Vec<Frame> = addresses.into_iter().flat_map(named).collect();
        let this = frames.iter().find(|frame| frame.file.ends_with("telemetry/stack.rs") && frame.line > 0);
        assert!(this.is_some(), "{frames:?}");
    }

    #[test]
    fn how_it_was_reported_is_left_out() {
        let frame = |file: &str| Frame { function: "f".into(), file: file.into(), line: 1 };
        let files = [
            "/x/backtrace-0.3/src/mod.rs",
            "/c/conexusd/src/telemetry/stack.rs",
            "/c/conexusd/src/mcp/request.rs",
            "/s/main.rs",
        ];
        let rest = without_ourselves(files.map(frame).to_vec());
        assert_eq!(rest.iter().map(|frame| frame.file.as_str()).collect::<Vec<_>>(), files[2..]);
    }
}
