//! Does reporting a request allocate? A counting allocator says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use conexus_proto::facts::{Fact, Method, SearchType, Status};
use conexusd::telemetry::{RootInfo, Telemetry, TelemetryOptions};
use tracing_subscriber::layer::SubscriberExt;

struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

fn count() {
    // A thread that is ending has no counter, and no test looks at it.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn request(telemetry: &Telemetry) {
    let method = Method::ContextSearch;
    telemetry.emit(Fact::RequestStarted { method });
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let root = trace.root();
    trace.set(root, "query", "a query that is longer than what an attribute holds by itself");
    let scope = trace.scope(root);
    let entered = scope.enter();
    let mut stage = trace.start(root, "vectorstore.search");
    for name in ["vector.search", "bm25.search", "store.read", "result.rank", "result.format"] {
        trace.set(stage, "candidates", 200_usize);
        let (nanos, next) = trace.next(stage, root, name);
        trace.measure(stage, Fact::Searched { lane: SearchType::Hybrid, nanos });
        stage = next;
    }
    let nanos = trace.end(root);
    trace.measure(root, Fact::RequestFinished { method, status: Status::Ok, nanos });
    tracing::info!(method = "context_search", duration_ms = 0.5, results = 20, "MCP request completed");
    drop((entered, scope));
    trace.finish();
}

#[test]
fn a_request_is_reported_without_an_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let options = TelemetryOptions { socket: Some(folder.path().join("absent.sock")), ..TelemetryOptions::default() };
    let (telemetry, guard) = Telemetry::start(options).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), || {
        // The first requests open the thread's table, ring and buffers.
        (0..3).for_each(|_| request(&telemetry));
        let before = ALLOCATIONS.get();
        assert!(before > 0, "the allocator counts");
        (0..200).for_each(|_| request(&telemetry));
        assert_eq!(ALLOCATIONS.get() - before, 0);
    });
    assert_eq!(telemetry.snapshot().count(Fact::RequestStarted { method: Method::ContextSearch }), 203);
    drop(guard);
}
