//! The sidecar: what conexusd reports becomes metrics, and later traces, log files and error reports.
//!
//! ```text
//! unix socket ─▶ ingest (admit: may this batch in?) ─▶ aggregate (epochs, base, one small redb file)
//!                  │ records                              │ a view of every value
//!                  ▼                                      ▼
//!                export (each exporter's queue)         catalog (which value has which name) ─▶ export/prometheus ─▶ :9091/metrics
//!                  │                                      │
//!                  └────────────▶ debug (tail, snapshot) ◀┘            health ─▶ :9091/health
//! ```
//!
//! Data flows one way; [`pipeline`] joins the parts. Names of metrics stand in [`catalog`] and nowhere else.

pub mod ingest;
pub mod aggregate;
pub mod crash;
pub mod catalog;
pub mod export;
pub mod health;
pub mod debug;
pub mod http;
pub mod process;
pub mod log;
pub mod closing;
pub mod config;
pub mod pipeline;
pub mod cli;
