//! Ours: the product's telemetry, as the request path calls it.

use std::hint::black_box;

use conexus_proto::facts::{DropReason, Fact, Method, Status};
use conexusd::telemetry::Telemetry;

use crate::Reporter;
use crate::request::request;

/// Reports through a [`Telemetry`].
#[derive(Debug)]
pub struct Ours(pub &'static str, pub Telemetry);

impl Reporter for Ours {
    fn name(&self) -> &'static str {
        self.0
    }

    /// The request of the core's own benchmark, and one log line.
    fn request(&self, query: &str, work: &mut dyn FnMut()) {
        request(&self.1, query, work, |trace, root, nanos| {
            let entered = trace.scope(root).entered();
            tracing::info!(
                method = "context_search",
                duration_ms = nanos as f64 / 1e6,
                results = 20,
                "MCP request completed"
            );
            drop(entered);
        });
    }

    fn count(&self) {
        self.1.emit(Fact::RequestStarted { method: black_box(Method::ContextSearch) });
    }

    fn duration(&self, nanos: u64) {
        self.1.emit(Fact::RequestFinished { method: black_box(Method::ContextSearch), status: Status::Ok, nanos });
    }

    fn spans(&self, count: u64) {
        let mut trace = self.1.trace("work");
        let root = trace.root();
        // The end of one is the beginning of the next: one look at the clock each.
        let mut stage = trace.start_at(root, "stage", root.start());
        for _ in 1..count {
            (_, stage) = trace.next(stage, root, "stage");
        }
        trace.end(stage);
        trace.end(root);
        black_box(trace.finish());
    }

    fn log(&self) {
        tracing::info!(method = "context_search", duration_ms = 1.5, results = 20, "MCP request completed");
    }

    fn dropped(&self) -> Option<u64> {
        let (reasons, dropped) = (DropReason::ALL.len(), self.1.accounts().dropped);
        // What the drain drops behind the ring, because there is no sidecar, costs this thread nothing.
        Some(dropped.chunks(reasons).map(|kind| kind[DropReason::RingFull as usize]).sum())
    }
}
