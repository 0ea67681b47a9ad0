//! Maintenance: the thread that merges segments and builds graphs, behind everybody's back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::core::Core;
use super::pipeline::lower_priority;
use super::run::lock;
use super::segment::merge;
use super::vectors::graph::Graph;

/// The lexical index merges by itself and tells nobody: after something happened it is looked at so often,
const LOOKS: u32 = 60;
/// this far apart.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The thread; ends when this is dropped.
pub(crate) struct Maintenance {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Graphs wait while a run goes on: the segments of the moment will soon be merged.
    running: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// There may be something to do.
    woken: bool,
    busy: bool,
    last_error: Option<String>,
}

impl Maintenance {
    pub(crate) fn start(core: Arc<Core>, threads: usize, nice: i32) -> Self {
        let shared = Arc::new(Shared::default());
        let body = {
            let shared = Arc::clone(&shared);
            move || {
                lower_priority(nice);
                shared.work(&core, threads);
            }
        };
        // Without the thread there are more segments than need be, and everything works.
        let thread = std::thread::Builder::new().name("index-merge".to_owned()).spawn(body).ok();
        Self { shared, thread }
    }

    /// Looks for something to do.
    pub(crate) fn wake(&self) {
        lock(&self.shared.state).woken = true;
        self.shared.changed.notify_all();
    }

    /// Says whether a run goes on.
    pub(crate) fn set_running(&self, running: bool) {
        self.shared.running.store(running, Ordering::Relaxed);
        self.wake();
    }

    /// Waits until there is nothing left to do, at most so long. Returns whether there is not.
    pub(crate) fn settle(&self, at_most: Duration) -> bool {
        self.wake();
        let state = lock(&self.shared.state);
        let idle = self.shared.changed.wait_timeout_while(state, at_most, |state| state.woken || state.busy);
        !idle.map_or(true, |(_, timeout)| timeout.timed_out())
    }

    /// What went wrong last, if anything did.
    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.shared.state).last_error.clone()
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self, core: &Core, threads: usize) {
        let mut looks = 0;
        loop {
            {
                let mut state = lock(&self.state);
                state.busy = false;
                self.changed.notify_all();
                while !state.woken && !self.stopped() && looks > 0 {
                    let waited = self.changed.wait_timeout(state, LOOK_INTERVAL);
                    state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
                    looks -= 1;
                    if let Err(error) = core.refresh_searcher() {
                        state.last_error = Some(error.to_string());
                    }
                }
                while !state.woken && !self.stopped() {
                    state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                (state.woken, state.busy) = (false, true);
                looks = LOOKS;
            }
            if self.stopped() {
                return;
            }
            if let Err(error) = self.tend(core, threads) {
                lock(&self.state).last_error = Some(error.to_string());
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tend(&self, core: &Core, threads: usize) -> Result<(), super::IndexError> {
        while !self.stopped() {
            let Some((inputs, path)) = lock(&core.columns).plan() else { break };
            if let Err(error) = merge::merge(&inputs, &path) {
                lock(&core.columns).abandon(&path);
                return Err(error);
            }
            if lock(&core.columns).install(&inputs, &path)? {
                core.publish()?;
            }
        }
        loop {
            let running = || self.stopped() || self.running.load(Ordering::Relaxed);
            if running() {
                return Ok(());
            }
            let Some(segment) = lock(&core.columns).wants_graph() else { return Ok(()) };
            let Some(graph) = Graph::build(&segment, threads, &running)? else { return Ok(()) };
            lock(&core.columns).add_graph(&segment, graph);
            core.publish()?;
        }
    }
}
