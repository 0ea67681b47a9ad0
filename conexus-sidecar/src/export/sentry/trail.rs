//! Trail: what happened before an error, and what is its core?
//!
//! The last log lines and errors of each core, as breadcrumbs. They are kept here, so that they are there when the core is not.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use conexus_proto::v1::{self, Level, attribute};
use sentry::protocol::{Breadcrumb, Map, Value};

use crate::export::CoreStart;
use crate::export::logs::{cut, time_of};

/// Breadcrumbs kept of each core.
pub(super) const CRUMBS_MAX: usize = 100;
/// Cores of which something is kept.
const CORES_MAX: usize = 64;
/// Bytes of a breadcrumb's message and of each of its values.
const TEXT_BYTES_MAX: usize = 512;
/// Values of a breadcrumb.
const VALUES_MAX: usize = 16;

/// What is known of each core.
#[derive(Debug, Default)]
pub(super) struct Trails {
    trails: HashMap<u64, Trail>,
    clock: u64,
}

/// What is known of one core.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    pub(super) start: Option<CoreStart>,
    crumbs: VecDeque<Breadcrumb>,
    touched: u64,
}

impl Trail {
    /// What happened up to a moment, oldest first.
    pub(super) fn until(&self, at: SystemTime) -> Vec<Breadcrumb> {
        self.crumbs.iter().filter(|crumb| crumb.timestamp <= at).cloned().collect()
    }
}

impl Trails {
    pub(super) fn connected(&mut self, epoch: u64, start: &CoreStart) {
        self.at(epoch).start = Some(start.clone());
    }

    pub(super) fn log(&mut self, epoch: u64, log: &v1::Log) {
        let request = log.message == "MCP request completed";
        let failed = request && log.fields.iter().any(|field| field.key == "error");
        self.add(
            epoch,
            Breadcrumb {
                timestamp: time_of(log.unix_nanos),
                ty: if request { "info" } else { "default" }.into(),
                category: Some(if request { "mcp.request".into() } else { log.target.clone() }),
                level: if failed { sentry::Level::Warning } else { level(log.level()) },
                message: Some(cut(&log.message, TEXT_BYTES_MAX).to_owned()),
                data: values(&log.fields),
            },
        );
    }

    pub(super) fn error(&mut self, epoch: u64, error: &v1::Error) {
        let mut data = Map::new();
        for (key, value) in [("method", &error.method), ("tool", &error.tool), ("request_id", &error.request_id)] {
            if !value.is_empty() {
                data.insert(key.into(), cut(value, TEXT_BYTES_MAX).into());
            }
        }
        self.add(
            epoch,
            Breadcrumb {
                timestamp: time_of(error.unix_nanos),
                ty: "error".into(),
                category: Some(format!("error.{}", error.error_type)),
                level: sentry::Level::Error,
                message: Some(cut(&error.message, TEXT_BYTES_MAX).to_owned()),
                data,
            },
        );
    }

    /// What is known of a core; nothing of one that never said anything.
    pub(super) fn of(&mut self, epoch: u64) -> &Trail {
        self.at(epoch)
    }

    pub(super) fn forget(&mut self, epoch: u64) {
        self.trails.remove(&epoch);
    }

    fn add(&mut self, epoch: u64, crumb: Breadcrumb) {
        let trail = self.at(epoch);
        if trail.crumbs.len() == CRUMBS_MAX {
            trail.crumbs.pop_front();
        }
        trail.crumbs.push_back(crumb);
    }

    fn at(&mut self, epoch: u64) -> &mut Trail {
        self.clock += 1;
        let oldest = self.trails.iter().min_by_key(|(_, trail)| trail.touched).map(|(epoch, _)| *epoch);
        if let (true, false, Some(oldest)) = (self.trails.len() >= CORES_MAX, self.trails.contains_key(&epoch), oldest)
        {
            self.trails.remove(&oldest);
        }
        let trail = self.trails.entry(epoch).or_default();
        trail.touched = self.clock;
        trail
    }
}

fn level(level: Level) -> sentry::Level {
    match level {
        Level::Debug => sentry::Level::Debug,
        Level::Info => sentry::Level::Info,
        Level::Warn => sentry::Level::Warning,
        Level::Error => sentry::Level::Error,
    }
}

/// Attributes as Sentry's data.
pub(super) fn values(attributes: &[v1::Attribute]) -> Map<String, Value> {
    let pair = |attribute: &v1::Attribute| Some((attribute.key.clone(), value(attribute.value.as_ref()?)));
    attributes.iter().take(VALUES_MAX).filter_map(pair).collect()
}

fn value(value: &attribute::Value) -> Value {
    match value {
        attribute::Value::Text(text) => cut(text, TEXT_BYTES_MAX).into(),
        attribute::Value::Integer(value) => (*value).into(),
        attribute::Value::Number(value) => (*value).into(),
        attribute::Value::Flag(value) => (*value).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(at: i64, message: &str) -> v1::Log {
        v1::Log { unix_nanos: at, message: message.into(), level: Level::Info.into(), ..v1::Log::default() }
    }

    #[test]
    fn the_last_hundred_of_each_core_are_kept_in_order() {
        let mut trails = Trails::default();
        (0..150).for_each(|at| trails.log(1, &log(at, &format!("line {at}"))));
        trails.log(2, &log(9, "another core"));
        let crumbs = trails.of(1).until(time_of(140));
        let messages: Vec<_> = crumbs.iter().filter_map(|crumb| crumb.message.as_deref()).collect();
        assert_eq!((messages.len(), messages[0], messages[90]), (91, "line 50", "line 140"));
        assert_eq!(trails.of(2).until(time_of(10)).len(), 1);
    }

    #[test]
    fn a_core_too_many_costs_the_one_that_was_silent_longest() {
        let mut trails = Trails::default();
        (0..CORES_MAX as u64).for_each(|epoch| trails.log(epoch, &log(1, "x")));
        trails.log(0, &log(1, "y"));
        trails.log(1_000, &log(1, "z"));
        assert_eq!(trails.trails.len(), CORES_MAX);
        assert_eq!((trails.of(0).until(time_of(1)).len(), trails.trails.contains_key(&1)), (2, false));
    }
}
