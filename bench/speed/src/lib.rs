//! Bench: what does telemetry cost the thread that serves a request, and what does a broken sidecar do to it?
//!
//! ```text
//! work      real searches in an index of this repository's own sources
//! ours      the product's telemetry, with its sidecar or without
//! request   what one search reports through it
//! baseline  the same facts, spans and log line through the usual libraries, in process
//! sink      servers that answer at once, late, wrongly or never
//! measure   CPU time of a thread, allocations, percentiles, a bootstrap
//! ```
//!
//! Three programs: `bench-telemetry` (cost), `throughput` (the other end) and `isolation` (faults). All print Markdown.
//! Beside them the microbenchmarks in `benches`: of a fact, a span, a request, and of the index's write path.

pub mod work;
pub mod ours;
pub mod request;
pub mod baseline;
pub mod sink;
pub mod measure;

/// Something that reports requests.
pub trait Reporter {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// Does a request's work and reports it as a search.
    fn request(&self, query: &str, work: &mut dyn FnMut());
    /// Counts one thing with one label.
    fn count(&self) {}
    /// Counts a duration into a histogram with a label, and one thing with two.
    fn duration(&self, _nanos: u64) {}
    /// Reports a trace of `count` spans below a root, without attributes, each begun and ended.
    fn spans(&self, _count: u64) {}
    /// Says a log line with three fields.
    fn log(&self) {}
    /// What it has dropped so far, if it knows: a record that is dropped costs less than one that is not.
    fn dropped(&self) -> Option<u64> {
        None
    }
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
