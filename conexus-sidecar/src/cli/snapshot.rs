//! `snapshot`: what is the whole state now?

use std::io::{self, Write};
use std::process::ExitCode;

use conexus_proto::v1;

use super::style::{Style, printable};
use super::{Failure, client};
use crate::config::Options;

/// Options of `snapshot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As one JSON object
    #[arg(long)]
    json: bool,
    /// Series that are 0 too
    #[arg(long)]
    all: bool,
}

/// Asks once and prints the answer.
pub async fn execute(args: &Args, options: &Options) -> Result<ExitCode, Failure> {
    let reply = fetch(&mut client::connect(&options.socket).await?).await?;
    let text = if args.json { format!("{:#}\n", json(&reply)) } else { text(&reply, args.all, Style::stdout()) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The state, from a connected client.
pub async fn fetch(
    client: &mut v1::debug_client::DebugClient<tonic::transport::Channel>,
) -> Result<v1::SnapshotReply, Failure> {
    let reply = client.snapshot(v1::SnapshotRequest {}).await;
    reply.map(tonic::Response::into_inner).map_err(|status| client::failed(&status))
}

/// `metric{name="value"}`
pub fn series_name(metric: &str, labels: &[v1::Label]) -> String {
    let labels: Vec<String> = labels.iter().map(|label| format!("{}={:?}", label.name, label.value)).collect();
    if labels.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", labels.join(",")) }
}

fn json(reply: &v1::SnapshotReply) -> serde_json::Value {
    let labels = |labels: &[v1::Label]| -> serde_json::Map<String, serde_json::Value> {
        labels.iter().map(|label| (label.name.clone(), label.value.clone().into())).collect()
    };
    serde_json::json!({
        "version": reply.version,
        "uptime_seconds": reply.uptime_seconds,
        "cores": reply.cores.iter().map(|core| serde_json::json!({
            "boot_epoch": format!("{:016x}", core.boot_epoch), "version": core.version, "pid": core.pid,
            "serving": core.serving, "connected": core.connected, "last_sequence": core.last_sequence,
            "snapshot_age_seconds": core.snapshot_age_seconds,
        })).collect::<Vec<_>>(),
        "series": reply.series.iter().map(|series| serde_json::json!({
            "metric": series.metric, "labels": labels(&series.labels), "value": series.value,
        })).collect::<Vec<_>>(),
        "exporters": reply.exporters.iter().map(|exporter| serde_json::json!({
            "name": exporter.name, "enabled": exporter.enabled, "up": exporter.up, "last_error": exporter.last_error,
        })).collect::<Vec<_>>(),
    })
}

fn text(reply: &v1::SnapshotReply, all: bool, style: Style) -> String {
    let mut out = heading(reply, style);
    out.push_str(&format!("\n{}\n", style.bold("SERIES")));
    let shown =
        reply.series.iter().filter(|series| all || (series.value != 0.0 && !series.metric.ends_with("_bucket")));
    for series in shown {
        let name = printable(&series_name(&series.metric, &series.labels));
        out.push_str(&format!("{name} {}\n", style.bold(&series.value.to_string())));
    }
    out
}

/// Version, cores and exporters.
pub fn heading(reply: &v1::SnapshotReply, style: Style) -> String {
    let mut out = format!(
        "{} {}, up {}\n",
        style.bold("conexus-sidecar"),
        printable(&reply.version),
        duration(reply.uptime_seconds)
    );
    if reply.cores.is_empty() {
        out.push_str(&format!("  {}\n", style.yellow("no core is connected")));
    }
    for core in &reply.cores {
        let state = if core.connected { style.green("connected") } else { style.yellow("away") };
        out.push_str(&format!(
            "  core {:016x}  {state}  conexusd {}  pid {}  batch {}  snapshot {:.1} s old{}\n",
            core.boot_epoch,
            printable(&core.version),
            core.pid,
            core.last_sequence,
            core.snapshot_age_seconds,
            if core.serving { "" } else { "  (not serving)" }
        ));
    }
    for exporter in reply.exporters.iter().filter(|exporter| exporter.enabled) {
        let state = if exporter.up { style.green("up") } else { style.red("down") };
        out.push_str(&format!("  exporter {}  {state}  {}\n", exporter.name, printable(&exporter.last_error)));
    }
    out
}

fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        for (seconds, text) in [(5.9, "5 s"), (61.0, "1 min 1 s"), (7260.0, "2 h 1 min"), (90_000.0, "1 d 1 h")] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_series_is_named_as_prometheus_names_it() {
        let labels = [v1::Label { name: "a".into(), value: "b\"c".into() }];
        assert_eq!(series_name("m", &labels), "m{a=\"b\\\"c\"}");
        assert_eq!(series_name("m", &[]), "m");
    }
}
