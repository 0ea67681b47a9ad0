//! `top`: how busy is it, and how fast?

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use conexus_proto::v1;

use super::snapshot::{fetch, heading};
use super::style::Style;
use super::{Failure, client};
use crate::config::Options;

/// Options of `top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds between two views
    #[arg(short, long, default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// End after so many views
    #[arg(short = 'n', long)]
    count: Option<u64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let range = 0.1..=3600.0;
    text.parse().ok().filter(|value| range.contains(value)).ok_or_else(|| "a number from 0.1 to 3600 is needed".into())
}

/// Prints views until it is interrupted.
pub async fn execute(args: &Args, options: &Options) -> Result<ExitCode, Failure> {
    let mut client = client::connect(&options.socket).await?;
    let (style, clear) = (Style::stdout(), io::stdout().is_terminal());
    let mut before = Totals::of(&fetch(&mut client).await?);
    let mut at = Instant::now();
    let mut views = 0;
    while args.count.is_none_or(|count| views < count) {
        tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
        let reply = fetch(&mut client).await?;
        let totals = Totals::of(&reply);
        let elapsed = at.elapsed().as_secs_f64();
        at = Instant::now();
        let mut out = if clear { "\x1b[H\x1b[2J".to_owned() } else { String::new() };
        out.push_str(&heading(&reply, style));
        out.push_str(&view(&before, &totals, elapsed, style));
        io::stdout().write_all(out.as_bytes())?;
        before = totals;
        views += 1;
    }
    Ok(ExitCode::SUCCESS)
}

/// Series by metric and labels.
#[derive(Default)]
struct Totals(BTreeMap<(String, Vec<(String, String)>), f64>);

impl Totals {
    fn of(reply: &v1::SnapshotReply) -> Self {
        let series = reply.series.iter().map(|series| {
            let labels = series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
            ((series.metric.clone(), labels), series.value)
        });
        Self(series.collect())
    }

    /// The sum over the series of a metric that carry all these labels.
    fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.0
            .iter()
            .filter(|((name, _), _)| name == metric)
            .filter(|((_, own), _)| labels.iter().all(|(n, v)| own.iter().any(|(name, value)| name == n && value == v)))
            .map(|(_, value)| value)
            // An empty sum of floats is -0, which looks odd.
            .fold(0.0, |sum, value| sum + value)
    }

    /// The values of a label of a metric.
    fn values(&self, metric: &str, label: &str) -> Vec<String> {
        let mut values: Vec<String> = self
            .0
            .keys()
            .filter(|(name, _)| name == metric)
            .flat_map(|(_, labels)| labels.iter().filter(|(name, _)| name == label).map(|(_, value)| value.clone()))
            .collect();
        values.sort();
        values.dedup();
        values
    }
}

fn view(before: &Totals, now: &Totals, elapsed: f64, style: Style) -> String {
    let rate = |metric: &str, labels: &[(&str, &str)]| (now.sum(metric, labels) - before.sum(metric, labels)) / elapsed;
    let header =
        format!("{:32} {:>10} {:>9} {:>9} {:>10} {:>10}", "METHOD", "REQ/S", "ERR/S", "IN FLIGHT", "P50 MS", "P95 MS");
    let mut out = format!("\n{}\n", style.bold(&header));
    let mut idle = 0;
    for method in now.values("conexus_mcp_requests_total", "method") {
        let labels = [("method", method.as_str())];
        if now.sum("conexus_mcp_requests_total", &labels) == 0.0 {
            idle += 1;
            continue;
        }
        let latency = |quantile| {
            let millis = quantile_of(before, now, "conexus_mcp_request_duration_seconds", &labels, quantile);
            millis.map_or("-".into(), |seconds: f64| format!("{:.2}", seconds * 1e3))
        };
        let errors = rate("conexus_mcp_errors_total", &labels);
        let errors_text = format!("{errors:>9.1}");
        out.push_str(&format!(
            "{method:32} {:>10.1} {} {:>9} {:>10} {:>10}\n",
            rate("conexus_mcp_requests_total", &labels),
            if errors > 0.0 { style.red(&errors_text) } else { errors_text },
            now.sum("conexus_mcp_requests_in_flight", &labels),
            latency(0.5),
            latency(0.95),
        ));
    }
    out.push_str(&style.dim(&format!("{idle} methods without a request\n")));
    out.push_str(&format!(
        "\n{}  {:.1} files/s  {:.1} chunks/s  queue {}  failed {}  documents {}\n",
        style.bold("INDEX    "),
        rate("conexus_indexer_files_indexed_total", &[]),
        rate("conexus_indexer_chunks_created_total", &[]),
        now.sum("conexus_indexer_queue_depth", &[]),
        now.sum("conexus_indexer_files_failed_total", &[]),
        now.sum("conexus_vectorstore_documents_total", &[]),
    ));
    out.push_str(&format!(
        "{}  {:.1} records/s  {:.1} batches/s  dropped {}  rejected {}\n",
        style.bold("TELEMETRY"),
        rate("conexus_telemetry_records_received_total", &[]),
        rate("conexus_telemetry_batches_received_total", &[]),
        now.sum("conexus_telemetry_records_dropped_total", &[]),
        now.sum("conexus_telemetry_batches_rejected_total", &[]),
    ));
    for process in ["conexusd", "conexus-sidecar"] {
        let labels = [("process", process)];
        out.push_str(&format!(
            "{}  cpu {:.0} %  resident {:.1} MiB\n",
            style.bold(&format!("{process:16}")),
            100.0 * rate("process_cpu_seconds_total", &labels),
            now.sum("process_resident_memory_bytes", &labels) / f64::from(1 << 20),
        ));
    }
    out
}

/// The quantile of what was observed between two views, interpolated in its bucket as Prometheus does; `None` without
/// observations.
fn quantile_of(before: &Totals, now: &Totals, metric: &str, labels: &[(&str, &str)], quantile: f64) -> Option<f64> {
    let name = format!("{metric}_bucket");
    let mut buckets: Vec<(f64, f64)> = now
        .values(&name, "le")
        .into_iter()
        .map(|le| {
            let mut labels = labels.to_vec();
            labels.push(("le", &le));
            let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap_or(f64::INFINITY) };
            (bound, now.sum(&name, &labels) - before.sum(&name, &labels))
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rank = quantile * buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let place = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (lower, below) = if place == 0 { (0.0, 0.0) } else { buckets[place - 1] };
    let (upper, count) = buckets[place];
    if upper.is_infinite() {
        return Some(lower);
    }
    Some(lower + (upper - lower) * (rank - below) / (count - below).max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(buckets: &[(&str, f64)]) -> Totals {
        let labels = |le: &str| vec![("method".to_owned(), "m".to_owned()), ("le".to_owned(), le.to_owned())];
        Totals(buckets.iter().map(|(le, count)| (("d_bucket".to_owned(), labels(le)), *count)).collect())
    }

    #[test]
    fn a_quantile_is_interpolated_in_its_bucket() {
        let before = totals(&[("0.1", 5.0), ("10.0", 5.0), ("+Inf", 5.0)]);
        let now = totals(&[("0.1", 5.0), ("10.0", 15.0), ("+Inf", 15.0)]);
        let median = quantile_of(&before, &now, "d", &[("method", "m")], 0.5).unwrap();
        assert!((median - 5.05).abs() < 1e-9, "{median}");
        assert_eq!(quantile_of(&now, &now, "d", &[("method", "m")], 0.5), None);
        assert_eq!(quantile_of(&before, &now, "d", &[("method", "other")], 0.5), None);
    }

    #[test]
    fn an_interval_must_be_sensible() {
        assert!(seconds("0").is_err() && seconds("x").is_err() && seconds("NaN").is_err());
        assert_eq!(seconds("0.5"), Ok(0.5));
    }
}
