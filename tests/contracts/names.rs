//! Names: whatever a dashboard, rule, runbook or the guide names exists in the catalogue.

use std::collections::BTreeMap;
use std::process::Command;

use conexus_tests::{program, workspace};
use serde_json::Value;

use crate::promql::{Names, names};
use crate::shipped;

/// Series that Prometheus makes of every scrape.
const OF_PROMETHEUS: [&str; 3] = ["up", "scrape_duration_seconds", "scrape_samples_scraped"];
/// Labels that Prometheus gives to every series.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

/// The catalogue: metric to its entry.
fn catalogue() -> BTreeMap<String, Value> {
    let printed = Command::new(program("conexus-sidecar")).args(["metrics", "--json"]).output().expect("it prints");
    let metrics: Vec<Value> = serde_json::from_slice(&printed.stdout).expect("the catalogue is JSON");
    metrics.into_iter().map(|metric| (metric["name"].as_str().expect("a name").to_owned(), metric)).collect()
}

/// The metric that a series belongs to, and the label that its kind adds.
fn metric_of<'a>(catalogue: &'a BTreeMap<String, Value>, series: &str) -> Option<(&'a Value, Option<&'static str>)> {
    if let Some(metric) = catalogue.get(series) {
        return (metric["type"] != "histogram").then_some((metric, None));
    }
    for (suffix, label) in [("_bucket", Some("le")), ("_sum", None), ("_count", None)] {
        if let Some(metric) = series.strip_suffix(suffix).and_then(|stem| catalogue.get(stem))
            && (metric["type"] == "histogram" || (metric["type"] == "summary" && suffix != "_bucket"))
        {
            return Some((metric, label));
        }
    }
    None
}

/// What is wrong with the names of an expression.
fn problems(catalogue: &BTreeMap<String, Value>, recorded: &[String], named: &Names) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: Vec<String> = OF_TARGETS.map(str::to_owned).to_vec();
    for selector in &named.selectors {
        let series = selector.metric.as_str();
        if OF_PROMETHEUS.contains(&series) || recorded.iter().any(|rule| rule == series) {
            continue;
        }
        let Some((metric, added)) = metric_of(catalogue, series) else {
            problems.push(format!("no such series: {series}"));
            continue;
        };
        let labels = metric["labels"].as_array().expect("labels");
        let find = |name: &str| labels.iter().find(|label| label["name"] == name);
        for (label, operator, value) in &selector.matchers {
            if OF_TARGETS.contains(&label.as_str()) || added == Some(label) {
                continue;
            }
            let Some(set) = find(label) else {
                problems.push(format!("{series} has no label {label}"));
                continue;
            };
            let allowed = set["values"].as_array().expect("values");
            let values = if operator.contains('~') { value.split('|').collect() } else { vec![value.as_str()] };
            for value in
                values.into_iter().filter(|value| !allowed.is_empty() && !allowed.contains(&Value::from(*value)))
            {
                problems.push(format!("{series}: {label} is never {value:?}"));
            }
        }
        known.extend(labels.iter().filter_map(|label| label["name"].as_str().map(str::to_owned)));
        known.extend(added.map(str::to_owned));
    }
    let unknown = named.labels.iter().filter(|label| !known.contains(label));
    problems.extend(unknown.map(|label| format!("no selected series has the label {label}")));
    problems
}

#[test]
fn every_metric_label_and_label_value_that_is_queried_exists() {
    let catalogue = catalogue();
    let rules = shipped::rules();
    let recorded: Vec<String> = rules.iter().filter(|rule| !rule.alert).map(|rule| rule.name.clone()).collect();
    let expressions = rules
        .iter()
        .map(|rule| (rule.place.clone(), rule.expression.clone()))
        .chain(shipped::queries().into_iter().map(|query| (query.place, query.text)));
    let mut wrong = Vec::new();
    for (place, expression) in expressions {
        let found = problems(&catalogue, &recorded, &names(&expression));
        wrong.extend(found.into_iter().map(|problem| format!("{place}: {problem}\n    {expression}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_metric_that_the_documentation_mentions_exists() {
    let catalogue = catalogue();
    let mut wrong = Vec::new();
    let readme = workspace().join("README.md");
    let mut documents = shipped::documents();
    documents.push(("README.md".to_owned(), shipped::read(&readme)));
    for (file, text) in documents {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let prefixed = ["conexus_", "go_", "process_"].iter().any(|prefix| word.starts_with(prefix));
            // A recording rule's name is read in pieces, for it has colons; `process_*` is no name; `go_compat` is a key, `process_file` a span.
            let other = word.starts_with("conexus_slo_")
                || word.ends_with('_')
                || word == "go_compat"
                || word == "process_file";
            if prefixed && !other && !catalogue.contains_key(word) && metric_of(&catalogue, word).is_none() {
                wrong.push(format!("{file}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_guide_lists_the_whole_catalogue() {
    let guide = shipped::read(&workspace().join("docs/monitoring-guide.md"));
    let missing: Vec<String> = catalogue().into_keys().filter(|name| !guide.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "the guide does not mention {missing:?}");
}

#[test]
fn every_rule_selects_the_job_and_every_panel_the_chosen_one() {
    let mut wrong = Vec::new();
    let mut check = |place: &str, expression: &str, job: &str| {
        for selector in names(expression).selectors {
            if !selector.matchers.contains(&("job".to_owned(), "=".to_owned(), job.to_owned())) {
                wrong.push(format!("{place}: {} does not select job=\"{job}\"", selector.metric));
            }
        }
    };
    for rule in shipped::rules() {
        check(&rule.place, &rule.expression, "conexus");
    }
    for panel in shipped::panels() {
        for (expression, _) in panel.queries() {
            check(&panel.place, &expression, "$job");
        }
    }
    for block in shipped::blocks("promql") {
        check(&block.place, &block.text, "conexus");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_panel_has_the_unit_of_its_queries_and_legends_that_tell_series_apart() {
    let catalogue = catalogue();
    let mut wrong = Vec::new();
    for panel in shipped::panels() {
        let unit = panel.json["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default().to_owned();
        let several = panel.queries().len() > 1;
        for (expression, legend) in panel.queries() {
            let expected = units(&catalogue, &expression);
            if !expected.contains(&unit.as_str()) {
                wrong.push(format!("{}: unit {unit:?}, expected one of {expected:?}: {expression}", panel.place));
            }
            let named = names(&expression);
            let kept = named.labels.iter().filter(|label| !["le", "job", "instance"].contains(&label.as_str()));
            for label in kept {
                if !legend.contains(&format!("{{{{{label}}}}}")) {
                    wrong.push(format!("{}: the legend {legend:?} does not name {label}", panel.place));
                }
            }
            if several && legend.is_empty() {
                wrong.push(format!("{}: a query of several has no legend", panel.place));
            }
        }
        for key in ["title", "description"] {
            if panel.json[key].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{}: no {key}", panel.place));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The units that an expression of our panels can be shown in.
fn units(catalogue: &BTreeMap<String, Value>, expression: &str) -> &'static [&'static str] {
    let series = names(expression).selectors.first().map(|selector| selector.metric.clone()).unwrap_or_default();
    let kind = metric_of(catalogue, &series).map_or("", |(metric, _)| metric["type"].as_str().unwrap_or_default());
    let counts = kind == "counter" || series.ends_with("_count") || series.ends_with("_bucket");
    match expression {
        text if text.contains("histogram_quantile") || text.contains("time()") => &["s"],
        text if series.ends_with("_seconds_sum") && text.contains('/') => &["s"],
        text if text.contains(") / (") => &["percentunit"],
        text if text.contains("[1m]") || text.contains("increase(") => &["short"],
        text if text.contains("rate(process_cpu_seconds_total") => &["short"],
        text if counts && text.contains("rate(") => &["reqps", "ops"],
        _ if series.ends_with("_bytes") => &["bytes"],
        _ if series.ends_with("_seconds") => &["s"],
        _ if series.ends_with("_ratio") => &["percentunit"],
        _ if ["up", "conexus_up", "conexus_build_info", "conexus_telemetry_exporter_up"].contains(&series.as_str()) => {
            &["none"]
        }
        _ => &["short"],
    }
}
