//! Bench: what does telemetry cost the thread that serves a request, and what does a broken sidecar do to it?
//!
//! ```text
//! work      real searches in an index of this repository's own sources
//! ours      the product's telemetry, with its sidecar or without
//! baseline  the same facts, spans and log line through the usual libraries, in process
//! sink      servers that answer at once, late, wrongly or never
//! measure   CPU time of a thread, allocations, percentiles, a bootstrap
//! ```
//!
//! Two programs: `bench-telemetry` (cost) and `isolation` (faults).

pub mod work;
pub mod ours;
pub mod baseline;
pub mod sink;
pub mod measure;

/// Something that reports requests.
pub trait Reporter {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// Does a request's work and reports it as a search.
    fn request(&self, query: &str, work: &mut dyn FnMut());
}

/// Reports nothing.
#[derive(Debug)]
pub struct Off;

impl Reporter for Off {
    fn name(&self) -> &'static str {
        "off"
    }

    fn request(&self, _query: &str, work: &mut dyn FnMut()) {
        work();
    }
}
