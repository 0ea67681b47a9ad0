//! Tidy: what holds for the tree as a whole, whatever the code does.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace").to_path_buf()
}

/// Files that git tracks or would (not ignored), as text; binaries are left out.
fn files() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("file names here are UTF-8");
    names
        .split_terminator('\0')
        .filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?)))
        .collect()
}

fn report(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_rust_file_says_in_its_first_line_what_it_is() {
    let headless = files()
        .into_iter()
        // A `tests.rs` belongs to the file beside it.
        .filter(|(name, text)| name.ends_with(".rs") && !name.ends_with("/tests.rs") && !text.starts_with("//! "))
        .map(|(name, _)| format!("{name}: the first line is not `//! ...`"));
    report(headless.collect());
}

#[test]
fn every_relative_link_in_the_documentation_leads_somewhere() {
    let mut dead = Vec::new();
    for (name, text) in files().into_iter().filter(|(name, _)| name.ends_with(".md")) {
        let folder = root().join(&name).parent().expect("a file has a folder").to_path_buf();
        for target in link_targets(&text) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !folder.join(path).exists() {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    report(dead);
}

/// Targets of inline links outside fenced code.
fn link_targets(markdown: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            if let Some(end) = rest.find(')') {
                targets.push(rest[..end].to_owned());
            }
        }
    }
    targets
}

#[test]
fn no_unfinished_work_and_no_private_paths() {
    // Put together here so that this file does not contain what it looks for.
    let banned = [
        "todo".to_owned() + "!(",
        "unimplemented".to_owned() + "!(",
        "#[".to_owned() + "ignore",
        "../".to_owned() + "shared",
    ];
    let mut found = Vec::new();
    for (name, text) in files() {
        for (number, line) in text.lines().enumerate() {
            for word in &banned {
                if line.contains(word.as_str()) {
                    found.push(format!("{name}:{}: {word}", number + 1));
                }
            }
        }
    }
    report(found);
}

#[test]
fn shell_scripts_parse_and_stop_at_the_first_error() {
    let mut problems = Vec::new();
    for (name, text) in files() {
        // Samples are what the chunker is tested with, not what anybody runs.
        if name.contains("/samples/") || !(name.ends_with(".sh") || text.starts_with("#!/usr/bin/env bash")) {
            continue;
        }
        if !text.contains("set -euo pipefail") {
            problems.push(format!("{name}: no `set -euo pipefail`"));
        }
        let parsed = Command::new("bash").arg("-n").arg(root().join(&name)).output().expect("bash runs");
        if !parsed.status.success() {
            problems.push(format!("{name}: {}", String::from_utf8_lossy(&parsed.stderr)));
        }
    }
    report(problems);
}

#[test]
fn one_version_of_each_library_that_both_processes_speak_through() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is there");
    let twice: Vec<String> =
        ["tonic", "prost", "hyper", "axum", "tokio", "rustls", "redb", "tower", "http", "opentelemetry"]
            .into_iter()
            .filter(|name| lock.matches(&format!("name = \"{name}\"\n")).count() > 1)
            .map(|name| format!("{name}: more than one version in Cargo.lock"))
            .collect();
    report(twice);
}

#[test]
fn conexusd_links_no_metrics_library() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "-p", "conexusd", "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout);
    let linked = ["prometheus", "prometheus-client", "opentelemetry", "opentelemetry-otlp", "sentry", "metrics"]
        .into_iter()
        .filter(|name| tree.lines().any(|line| line.split(' ').next() == Some(name)))
        .map(|name| format!("conexusd depends on {name}: facts, not metrics, leave the core"));
    report(linked.collect());
}

#[test]
fn readme_shows_both_promised_commands() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md is there");
    assert!(readme.contains("make run") && readme.contains("make test"));
}
