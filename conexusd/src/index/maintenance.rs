//! Maintenance: the thread that merges segments and builds graphs, behind everybody's back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::IndexError;
use super::core::Core;
use super::pipeline::lower_priority;
use super::run::lock;
use super::segment::merge;
use super::vectors::graph::Graph;

/// The lexical index merges by itself and tells nobody: after something happened it is looked at so often,
const LOOKS: u32 = 60;
/// this far apart.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What the thread is told and tells.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    stop: AtomicBool,
    /// Graphs wait while a run goes on: the segments of the moment will soon be merged.
    running: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// There may be something to do.
    woken: bool,
    busy: bool,
    last_error: Option<String>,
}

impl Signal {
    /// Has the thread look for something to do.
    pub(crate) fn wake(&self) {
        lock(&self.state).woken = true;
        self.changed.notify_all();
    }

    /// Says whether a run goes on.
    pub(crate) fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
        self.wake();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for something to do, or for the time of the next look. Returns whether it is the former.
    fn wait(&self, at_most: Option<Duration>) -> bool {
        let mut state = lock(&self.state);
        state.busy = false;
        self.changed.notify_all();
        let idle = |state: &mut State| !state.woken && !self.is_stopped();
        state = match at_most {
            Some(at_most) => {
                let waited = self.changed.wait_timeout_while(state, at_most, idle);
                waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
            }
            None => self.changed.wait_while(state, idle).unwrap_or_else(std::sync::PoisonError::into_inner),
        };
        state.busy = true;
        std::mem::take(&mut state.woken)
    }
}

/// The thread; ends when this is dropped.
pub(crate) struct Maintenance {
    core: Arc<Core>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Maintenance {
    pub(crate) fn start(core: Arc<Core>, threads: usize, nice: i32) -> Self {
        let body = {
            let core = Arc::clone(&core);
            move || {
                lower_priority(nice);
                work(&core, threads);
            }
        };
        // Without the thread there are more segments than need be, and everything works.
        let thread = std::thread::Builder::new().name("index-merge".to_owned()).spawn(body).ok();
        Self { core, thread }
    }

    /// Waits until there is nothing left to do, at most so long. Returns whether there is not.
    pub(crate) fn settle(&self, at_most: Duration) -> bool {
        let signal = &self.core.signal;
        signal.wake();
        let state = lock(&signal.state);
        let idle = signal.changed.wait_timeout_while(state, at_most, |state| state.woken || state.busy);
        !idle.map_or(true, |(_, timeout)| timeout.timed_out())
    }

    /// What went wrong last, if anything did.
    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.core.signal.state).last_error.clone()
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.core.signal.stop.store(true, Ordering::Relaxed);
        self.core.signal.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(core: &Core, threads: usize) {
    let signal = &core.signal;
    let mut looks = 0;
    while !signal.is_stopped() {
        let woken = signal.wait((looks > 0).then_some(LOOK_INTERVAL));
        let done = if woken {
            looks = LOOKS;
            merge_segments(core).and_then(|()| build_graphs(core, threads))
        } else {
            looks -= 1;
            core.refresh_searcher()
        };
        if let Err(error) = done {
            lock(&signal.state).last_error = Some(error.to_string());
        }
    }
}

fn merge_segments(core: &Core) -> Result<(), IndexError> {
    let stop = || core.signal.is_stopped();
    while !stop() {
        let Some((inputs, path)) = lock(&core.columns).plan() else { break };
        if let Err(error) = merge::merge(&inputs, &path, &stop) {
            lock(&core.columns).abandon(&path);
            return if stop() { Ok(()) } else { Err(error) };
        }
        if lock(&core.columns).install(&inputs, &path)? {
            core.publish()?;
        }
    }
    Ok(())
}

fn build_graphs(core: &Core, threads: usize) -> Result<(), IndexError> {
    let signal = &core.signal;
    let stop = || signal.is_stopped() || signal.running.load(Ordering::Relaxed);
    while !stop() {
        let Some(segment) = lock(&core.columns).wants_graph() else { break };
        let Some(graph) = Graph::build(&segment, threads, &stop)? else { break };
        lock(&core.columns).add_graph(&segment, graph);
        core.publish()?;
    }
    Ok(())
}
