//! Contracts: what the stack ships beside the programs (rules, dashboards, runbooks, guide) against the programs themselves.
//!
//! ```text
//! promql      which series and labels does an expression select?
//! shipped     every expression and command in the shipped files
//! loaded      both processes under load, and a Prometheus with the shipped rules
//! names       everything named exists in the catalogue
//! chart       helm and Kubernetes accept the chart, and refuse mistakes in its values
//! walk        how a metric is added, on one that exists
//! tools       promtool, amtool and the dashboards' generator agree with the files
//! live        every query returns data, every command works
//! alerting    a fault reaches a webhook
//! ```

mod promql;
mod shipped;
mod loaded;

mod names;
mod chart;
mod walk;
mod tools;
mod live;
mod alerting;

#[allow(dead_code, reason = "the integration tests use the rest of it")]
#[path = "../it/drive.rs"]
mod drive;
