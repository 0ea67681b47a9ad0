//! Does reporting a request allocate? A counting allocator says.

use conexus_proto::facts::{Fact, Method};
use conexusd::telemetry::{Telemetry, TelemetryOptions};
use tracing_subscriber::layer::SubscriberExt;

#[path = "telemetry/allocations.rs"]
pub mod allocations;
#[path = "telemetry/request.rs"]
mod request;

use allocations::{Counting, allocations};
use request::request;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_request_is_reported_without_an_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let options = TelemetryOptions { socket: Some(folder.path().join("absent.sock")), ..TelemetryOptions::default() };
    let (telemetry, guard) = Telemetry::start(options).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), || {
        // The first requests open the thread's table, ring and buffers.
        (0..3).for_each(|_| request(&telemetry));
        let before = allocations();
        assert!(before > 0, "the allocator counts");
        (0..200).for_each(|_| request(&telemetry));
        assert_eq!(allocations() - before, 0);
    });
    assert_eq!(telemetry.snapshot().count(Fact::RequestStarted { method: Method::ContextSearch }), 203);
    drop(guard);
}
