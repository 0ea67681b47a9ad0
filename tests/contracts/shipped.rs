//! Shipped: the expressions and commands in dashboards, rules, runbooks and the guide.

use std::fs;
use std::path::{Path, PathBuf};

use conexus_tests::workspace;
use serde_json::Value;

/// An expression or a command, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// File and panel, rule or line.
    pub(crate) place: String,
    /// Itself.
    pub(crate) text: String,
}

/// A panel of a dashboard.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// File, number and title.
    pub(crate) place: String,
    /// Its JSON.
    pub(crate) json: Value,
}

impl Panel {
    /// Its queries: expression and legend.
    pub(crate) fn queries(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let targets = self.json["targets"].as_array().cloned().unwrap_or_default();
        targets.iter().map(|target| (text(&target["expr"]), text(&target["legendFormat"]))).collect()
    }
}

/// Every panel but row headings, of every dashboard.
pub(crate) fn panels() -> Vec<Panel> {
    let mut panels = Vec::new();
    for path in files("observability/grafana/dashboards", "json") {
        let dashboard: Value = serde_json::from_str(&read(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for json in dashboard["panels"].as_array().expect("a dashboard has panels") {
            if json["type"] != "row" {
                let place = format!("{}: panel {} {}", name(&path), json["id"], json["title"]);
                panels.push(Panel { place, json: json.clone() });
            }
        }
    }
    assert!(panels.len() > 40, "{} panels", panels.len());
    panels
}

/// An alert or recording rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    /// File and name.
    pub(crate) place: String,
    /// Its name.
    pub(crate) name: String,
    /// Whether it is an alert.
    pub(crate) alert: bool,
    /// Its expression.
    pub(crate) expression: String,
    /// Everything else, as text.
    pub(crate) rest: String,
}

/// Every rule. The files are written in one way, which is all that this reads: one key a line, blocks indented further.
pub(crate) fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for path in files("observability/prometheus/rules", "yml") {
        let mut block = None;
        for line in read(&path).lines().filter(|line| !line.trim_start().starts_with('#')) {
            let indent = line.len() - line.trim_start().len();
            let item = line.trim_start().trim_start_matches("- ");
            if let Some((kind @ ("alert" | "record"), name)) = item.split_once(": ") {
                let place = format!("{}: {name}", self::name(&path));
                rules.push(Rule { place, name: name.to_owned(), alert: kind == "alert", ..Rule::default() });
                block = None;
                continue;
            }
            let Some(rule) = rules.last_mut() else { continue };
            if let Some(text) = item.strip_prefix("expr: ") {
                block = (text == "|").then_some(indent);
                rule.expression = if text == "|" { String::new() } else { text.to_owned() };
            } else if block.is_some_and(|at| indent > at) {
                rule.expression += item;
                rule.expression += "\n";
            } else {
                block = None;
                rule.rest += line;
                rule.rest += "\n";
            }
        }
    }
    assert!(
        rules.iter().filter(|rule| rule.alert).count() >= 17 && rules.iter().all(|rule| !rule.expression.is_empty())
    );
    rules
}

/// Runbooks and the guide: file and text.
pub(crate) fn documents() -> Vec<(String, String)> {
    let mut documents: Vec<(String, String)> =
        files("observability/runbooks", "md").iter().map(|path| (name(path), read(path))).collect();
    let guide = workspace().join("docs/monitoring-guide.md");
    documents.push((name(&guide), read(&guide)));
    documents
}

/// The fenced blocks of a language, in every document.
pub(crate) fn blocks(language: &str) -> Vec<Text> {
    let mut blocks = Vec::new();
    for (file, text) in documents() {
        let mut open: Option<Text> = None;
        let mut fence = None;
        for (number, line) in text.lines().enumerate() {
            match (line.trim().strip_prefix("```"), fence) {
                (Some(tag), None) => {
                    fence = Some(());
                    let place = format!("{file}:{}", number + 2);
                    open = (tag == language).then(|| Text { place, text: String::new() });
                }
                (Some(_), Some(())) => {
                    fence = None;
                    blocks.extend(open.take());
                }
                (None, _) => {
                    if let Some(block) = &mut open {
                        block.text += line;
                        block.text += "\n";
                    }
                }
            }
        }
        assert!(fence.is_none(), "{file}: a fence is not closed");
    }
    assert!(blocks.len() > 10, "{} blocks of {language}", blocks.len());
    blocks
}

/// Every expression that people or Grafana run: panels and documents.
pub(crate) fn queries() -> Vec<Text> {
    let mut queries: Vec<Text> = Vec::new();
    for panel in panels() {
        queries.extend(panel.queries().into_iter().map(|(text, _)| Text { place: panel.place.clone(), text }));
    }
    queries.extend(blocks("promql"));
    queries
}

/// A file of the workspace.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder with an extension, by name.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(workspace().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files: Vec<PathBuf> = listed
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has no .{extension}");
    files
}

fn name(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap_or(path).display().to_string()
}
