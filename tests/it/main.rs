//! Integration: both real programs, real clients, a real Prometheus.

mod drive;
mod tree;

mod mcp;
mod metrics;
mod logs;
mod errors;
mod traces;
mod metrics_move;
mod secrets;
mod stderr;
mod profiles;
mod debug;
mod peers;
mod ownership;
mod stdio;
mod odd_trees;
mod command_line;
mod make_run;
