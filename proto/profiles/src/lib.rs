//! Profiles: where does a running process spend its time and its memory?
//!
//! An HTTP endpoint that is off by default and bound to loopback only. It speaks the format of Google's pprof (a gzipped
//! protobuf message with the functions named in it, so that any viewer opens it without the program):
//!
//! ```text
//! /debug/pprof/                      what there is
//! /debug/pprof/profile?seconds=N     CPU time of all threads over the next N seconds, by sampling
//! /debug/pprof/heap                  memory that is in use, by sampling allocations since the endpoint was opened
//! ```

mod http;
mod cpu;
mod heap;
mod profile;

pub use http::{Endpoint, ProfileError};

/// Settings for jemalloc, to be exported by a program as `_rjem_malloc_conf`: it can take heap samples (one each 512 KiB
/// of allocations on average) but takes none until the endpoint is opened.
pub const MALLOC_CONF: &[u8; 46] = b"prof:true,prof_active:false,lg_prof_sample:19\0";
