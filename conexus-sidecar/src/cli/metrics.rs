//! `metrics`: which metrics are there?

use std::io::{self, Write};
use std::process::ExitCode;

use super::Failure;
use super::style::Style;
use crate::catalog::{METRICS, markdown};

/// Options of `metrics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As the page docs/metrics.md
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

/// Prints the catalogue.
pub fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let text = match (args.markdown, args.json) {
        (true, _) => markdown::page(),
        (_, true) => json(),
        _ => table(Style::stdout()),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn json() -> String {
    let metrics: Vec<serde_json::Value> = METRICS
        .iter()
        .map(|metric| {
            let labels: Vec<_> = metric
                .labels
                .iter()
                .map(|label| serde_json::json!({ "name": label.name, "values": label.values }))
                .collect();
            serde_json::json!({
                "name": metric.name, "type": metric.kind.as_str(), "unit": metric.unit(), "help": metric.help,
                "labels": labels, "exemplars": metric.has_exemplars(), "go_compat": metric.is_go_compat(),
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Array(metrics))
}

fn table(style: Style) -> String {
    let width = METRICS.iter().map(|metric| metric.name.len()).max().unwrap_or(0);
    let mut out =
        format!("{}\n", style.bold(&format!("{:width$}  {:9}  {:25}  {}", "METRIC", "TYPE", "LABELS", "MEANING")));
    for metric in METRICS {
        let labels: Vec<&str> = metric.labels.iter().map(|label| label.name).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        let kind = style.cyan(&format!("{:9}", metric.kind.as_str()));
        out.push_str(&format!("{:width$}  {kind}  {labels:25}  {}\n", metric.name, style.dim(metric.help)));
    }
    out
}
