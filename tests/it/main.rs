//! Integration: both real programs, real clients, a real Prometheus.

mod drive;
mod tree;

mod mcp;
mod metrics;
mod traces;
mod ownership;
mod odd_trees;
mod command_line;
mod make_run;
