//! Samples: what is the value of each series now?
//!
//! Applies the catalogue to the state at one moment. Both expositions, the live view and the snapshot read the result.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use conexus_proto::facts::{BUCKETS, DropReason, FamilyInfo, Gauge, HISTOGRAM_CELLS, Label, LabelSet, Shape};

use super::{CONEXUSD, Fold, Kind, METRICS, Metric, Own, Part, SIDECAR, Source};
use crate::aggregate::View;
use crate::aggregate::exemplars::Exemplar;
use crate::aggregate::tally::{CORE_DROPPED, DROPS, EXPORTERS, KINDS, REFUSED, SENT, SIDECAR_DROPPED};
use crate::export::{ExporterStates, OTLP};
use crate::process::OwnStats;

/// The state at one moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Measures and cores.
    pub view: View,
    /// The sidecar's own process.
    pub own: OwnStats,
    /// The exporters.
    pub exporters: ExporterStates,
    /// Whether the compatibility names are shown.
    pub go_compat: bool,
    /// The time of day.
    pub now: SystemTime,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A counter's.
    Count(u64),
    /// A gauge's, or a counter's that is no whole number.
    Number(f64),
    /// A histogram's.
    Histogram(Box<HistogramValue>),
    /// A summary that never saw anything.
    EmptySummary,
}

/// The value of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramValue {
    /// The sum of all durations.
    pub sum_nanos: u64,
    /// Durations in each bucket by itself; the last has no bound.
    pub buckets: [u64; BUCKETS],
    /// A kept trace for some of the buckets.
    pub exemplars: [Option<Exemplar>; BUCKETS],
}

/// One series of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Names and values of its labels.
    pub labels: Vec<(&'static str, Cow<'static, str>)>,
    /// Its value.
    pub value: Value,
}

/// A metric and its series.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The metric.
    pub metric: &'static Metric,
    /// Its series; none while only a core knows it and none is there.
    pub series: Vec<Series>,
}

/// Every metric's series.
pub fn sample(moment: &Moment) -> Vec<Sampled> {
    METRICS
        .iter()
        .filter(|metric| moment.go_compat || !metric.is_go_compat())
        .map(|metric| {
            let series = metric.parts.iter().flat_map(|part| Sampler { moment, metric, part }.series()).collect();
            Sampled { metric, series }
        })
        .collect()
}

struct Sampler<'a> {
    moment: &'a Moment,
    metric: &'static Metric,
    part: &'static Part,
}

impl Sampler<'_> {
    fn series(&self) -> Vec<Series> {
        let total = &self.moment.view.total;
        match self.part.source {
            Source::Facts(family) => self.facts(family.info()),
            Source::InFlight => self.in_flight(),
            Source::Core(gauge, fold) => {
                self.core_gauge(gauge, fold).map(|v| self.one(Value::Number(v))).into_iter().collect()
            }
            Source::Slots(first) => self.each(|series| Value::Count(total[first + series])),
            Source::Micros(slot) => vec![self.one(Value::Number(total[slot] as f64 / 1e6))],
            Source::Cells(first) => {
                let mut histogram = HistogramValue::default();
                add_cells(&mut histogram, total.range(first, HISTOGRAM_CELLS));
                vec![self.one(Value::Histogram(Box::new(histogram)))]
            }
            Source::Received => {
                self.each(|kind| Value::Count(total[SENT + kind].saturating_sub(total[REFUSED + kind])))
            }
            Source::Dropped => self.each(|series| Value::Count(self.dropped(series))),
            Source::Own(own) => self.own(own),
            Source::Nothing => vec![self.one(Value::EmptySummary)],
        }
    }

    /// The labels that tell this part's series apart.
    fn labels(&self) -> impl Iterator<Item = &'static LabelSet> {
        let fixed = !self.part.process.is_empty();
        self.metric.labels.iter().filter(move |label| !(fixed && label.name == "process"))
    }

    /// A series for every combination of label values.
    fn each(&self, value: impl Fn(usize) -> Value) -> Vec<Series> {
        let labels: Vec<LabelSet> = self.labels().copied().collect();
        let count: usize = labels.iter().map(|label| label.values.len()).product();
        (0..count).map(|series| self.named(label_values(&labels, series), value(series))).collect()
    }

    fn one(&self, value: Value) -> Series {
        self.named(Vec::new(), value)
    }

    fn named(&self, mut labels: Vec<(&'static str, Cow<'static, str>)>, value: Value) -> Series {
        if !self.part.process.is_empty() {
            labels.push(("process", self.part.process.into()));
        }
        Series { labels, value }
    }

    fn facts(&self, info: &FamilyInfo) -> Vec<Series> {
        let labels: Vec<LabelSet> = self.labels().copied().collect();
        let count: usize = labels.iter().map(|label| label.values.len()).product();
        let mut histograms = vec![HistogramValue::default(); count];
        let mut counts = vec![0u64; count];
        for fact_series in 0..info.series() {
            let series = metric_series(info, fact_series, &labels);
            let first = info.cell(fact_series);
            let cells = self.moment.view.total.range(first, info.shape.cells());
            match info.shape {
                Shape::Count => counts[series] += cells[0],
                Shape::Histogram => {
                    counts[series] += cells[1..].iter().sum::<u64>();
                    add_cells(&mut histograms[series], cells);
                    // An exemplar leads to a trace, so there must be somewhere to find it.
                    if self.metric.has_exemplars() && self.moment.exporters[OTLP].enabled {
                        self.add_exemplars(&mut histograms[series], first);
                    }
                }
            }
        }
        let values: Vec<Value> = match self.metric.kind {
            Kind::Histogram => histograms.into_iter().map(|histogram| Value::Histogram(Box::new(histogram))).collect(),
            _ => counts.into_iter().map(Value::Count).collect(),
        };
        let values = values.into_iter().enumerate();
        values.map(|(series, value)| self.named(label_values(&labels, series), value)).collect()
    }

    fn add_exemplars(&self, histogram: &mut HistogramValue, first_cell: usize) {
        for (bucket, newest) in histogram.exemplars.iter_mut().enumerate() {
            let Some(candidate) = self.moment.view.exemplar(first_cell + 1 + bucket) else { continue };
            if newest.is_none_or(|old| old.unix_nanos < candidate.unix_nanos) {
                *newest = Some(candidate);
            }
        }
    }

    fn in_flight(&self) -> Vec<Series> {
        let live: Vec<&Vec<u64>> =
            self.moment.view.cores.iter().map(|core| &core.in_flight).filter(|methods| !methods.is_empty()).collect();
        if live.is_empty() {
            return Vec::new();
        }
        self.each(|method| Value::Number(live.iter().map(|methods| methods[method]).sum::<u64>() as f64))
    }

    fn core_gauge(&self, gauge: Gauge, fold: Fold) -> Option<f64> {
        let cores = self.moment.view.cores.iter();
        let values = cores.filter_map(|core| core.gauges.get(gauge as usize).copied().flatten());
        values.reduce(|a, b| match fold {
            Fold::Sum => a + b,
            Fold::Max => a.max(b),
        })
    }

    fn dropped(&self, series: usize) -> u64 {
        let total = &self.moment.view.total;
        let dropped = total[CORE_DROPPED + series] + total[SIDECAR_DROPPED + series];
        let reasons = DropReason::VALUES.len();
        let at_ingest = series % reasons == DropReason::IngestLimit.number();
        if at_ingest { dropped + total[REFUSED + series / reasons] } else { dropped }
    }

    fn own(&self, own: Own) -> Vec<Series> {
        let stats = &self.moment.own;
        let number = |value: f64| vec![self.one(Value::Number(value))];
        match own {
            Own::Up => number(f64::from(u8::from(self.moment.view.is_up()))),
            Own::BuildInfo => self.build_info(),
            Own::ExportQueueDepth => self.each(|i| Value::Number(self.moment.exporters[i].queued as f64)),
            Own::ExporterUp => self.each(|i| {
                let exporter = &self.moment.exporters[i];
                Value::Number(f64::from(u8::from(exporter.enabled && exporter.up)))
            }),
            Own::SpoolBytes => {
                number(self.moment.exporters.iter().map(|exporter| exporter.spooled_bytes).sum::<u64>() as f64)
            }
            Own::Lag => self.lag().map(|lag| self.one(Value::Number(lag))).into_iter().collect(),
            Own::ResidentBytes => number(stats.resident_bytes as f64),
            Own::OpenFds => number(stats.open_fds as f64),
            Own::StartTime => number(stats.start_time_seconds),
            Own::Tasks => number(stats.tasks as f64),
            Own::BusyRatio => number(stats.busy_ratio),
            Own::AllocatedBytes => number(stats.allocated_bytes as f64),
            Own::ActiveBytes => number(stats.active_bytes as f64),
            Own::AllocatorResidentBytes => number(stats.allocator_resident_bytes as f64),
        }
    }

    fn build_info(&self) -> Vec<Series> {
        let mut versions: Vec<&str> = self
            .moment
            .view
            .cores
            .iter()
            .filter(|core| core.connected)
            .filter_map(|core| core.info.as_ref().map(|info| info.version.as_str()))
            .collect();
        versions.sort_unstable();
        versions.dedup();
        let cores = versions.into_iter().map(|version| (Cow::Owned(version.to_owned()), CONEXUSD));
        let own = (Cow::Borrowed(env!("CARGO_PKG_VERSION")), SIDECAR);
        cores
            .chain([own])
            .map(|(version, process)| Series {
                labels: vec![("version", version), ("process", process.into())],
                value: Value::Number(1.0),
            })
            .collect()
    }

    fn lag(&self) -> Option<f64> {
        let now = self.moment.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as i64;
        let connected = self.moment.view.cores.iter().filter(|core| core.connected);
        let oldest = connected.filter_map(|core| core.visible_unix_nanos).min()?;
        Some(now.saturating_sub(oldest).max(0) as f64 / 1e9)
    }
}

fn add_cells(histogram: &mut HistogramValue, cells: &[u64]) {
    histogram.sum_nanos = histogram.sum_nanos.saturating_add(cells[0]);
    for (bucket, count) in histogram.buckets.iter_mut().zip(&cells[1..]) {
        *bucket += count;
    }
}

/// The series of the metric that a family's series belongs to.
fn metric_series(info: &FamilyInfo, fact_series: usize, labels: &[LabelSet]) -> usize {
    let values = info.label_values(fact_series);
    labels.iter().fold(0, |series, label| {
        let place =
            info.labels.iter().position(|set| set == label).expect("a test compares the labels with the family's");
        let number = label.values.iter().position(|value| *value == values[place]).expect("the value is of this set");
        series * label.values.len() + number
    })
}

fn label_values(labels: &[LabelSet], mut series: usize) -> Vec<(&'static str, Cow<'static, str>)> {
    let mut values: Vec<_> = labels
        .iter()
        .rev()
        .map(|label| {
            let value = label.values[series % label.values.len()];
            series /= label.values.len();
            (label.name, Cow::Borrowed(value))
        })
        .collect();
    values.reverse();
    values
}

// The slots of these metrics are laid out in the order of their labels.
const _: () = assert!(DROPS == KINDS * DropReason::VALUES.len() && EXPORTERS.len() == 3);

#[cfg(test)]
mod tests;
