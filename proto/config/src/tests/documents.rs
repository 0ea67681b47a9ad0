//! Documents: the default file, the effective values, the schema and the reference.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use super::{Sandbox, loaded, other_value};
use crate::{default_file, keys, reference_markdown, schema};

#[test]
fn the_default_file_changes_nothing() {
    let without = Sandbox::new();
    let with = Sandbox::with_file(&default_file());
    let (without, with) = (loaded(&without.inputs(&[])), loaded(&with.inputs(&[])));
    assert!(with.file.is_some() && with.warnings.is_empty());
    let mut expect = without.config;
    for path in [
        &mut expect.database.path,
        &mut expect.observability.log_dir,
        &mut expect.observability.telemetry.state_dir,
        &mut expect.observability.telemetry.socket,
    ] {
        path.clear();
    }
    let mut found = with.config;
    for path in [
        &mut found.database.path,
        &mut found.observability.log_dir,
        &mut found.observability.telemetry.state_dir,
        &mut found.observability.telemetry.socket,
    ] {
        path.clear();
    }
    assert_eq!(found, expect, "all but the folders, which are below each sandbox");
}

#[test]
fn the_default_file_names_every_key_and_its_examples_are_valid() {
    let text = default_file();
    assert!(text.lines().all(|line| line.len() <= 120), "no line is too long");
    // What is commented out without a space after the key's indentation is an example.
    let mut examples = 0;
    let uncommented: Vec<String> = text
        .lines()
        .map(|line| {
            let (margin, rest) = line.split_at(line.find(|c| c != ' ').unwrap_or(line.len()));
            let key = rest.strip_prefix("# ").filter(|rest| {
                keys().any(|key| key.example.is_some_and(|example| *rest == format!("{}: {example}", key.name())))
            });
            examples += usize::from(key.is_some());
            key.map_or_else(|| line.to_owned(), |key| format!("{margin}{key}"))
        })
        .collect();
    assert_eq!(examples, keys().filter(|key| key.example.is_some()).count());
    let sandbox = Sandbox::with_file(&uncommented.join("\n"));
    let loaded = loaded(&sandbox.inputs(&[]));
    for key in keys() {
        assert_ne!(loaded.origins[key.path()], crate::Origin::Default, "{}", key.path());
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    let sandbox = Sandbox::new();
    let mut inputs = sandbox.inputs(&[]);
    let plain = |path: &str| !matches!(path, "auth.tokens" | "embedding.api_key" | "observability.sentry.dsn");
    for key in keys().filter(|key| plain(key.path())) {
        let skip = ["auth.enabled", "observability.sentry.enabled"].contains(&key.path());
        if !skip {
            inputs = inputs.flag(key.path(), "--set", other_value(key.path()).1);
        }
    }
    let first = loaded(&inputs);
    assert!(first.show().lines().any(|line| line.starts_with("  port: 18080") && line.ends_with("  # flag --set")));
    let again = Sandbox::with_file(&first.show().replace("***", "~"));
    assert_eq!(loaded(&again.inputs(&[])).config, first.config);
    assert_eq!(first.show_json().as_object().unwrap().len(), keys().count());
    assert_eq!(first.show_json()["server.port"], serde_json::json!({ "value": 18080, "origin": "flag --set" }));
}

#[test]
fn the_schema_describes_every_key_and_nothing_else() {
    fn leaves(node: &Json, path: &str, found: &mut Vec<String>) {
        let Some(properties) = node["properties"].as_object() else {
            assert!(node["anyOf"][0]["description"].is_string(), "{path}");
            return found.push(path.trim_start_matches('.').to_owned());
        };
        assert_eq!(node["additionalProperties"], false, "{path}");
        for (name, child) in properties {
            leaves(child, &format!("{path}.{name}"), found);
        }
    }
    let mut found = Vec::new();
    leaves(&schema(), "", &mut found);
    found.sort();
    let mut expect: Vec<_> = keys().map(|key| key.path().to_owned()).collect();
    expect.sort();
    assert_eq!(found, expect);
    assert_eq!(schema()["properties"]["server"]["properties"]["port"]["anyOf"][0]["default"], 8080);
}

#[test]
fn the_committed_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let expect = reference_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &expect).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expect, "docs/configuration.md is out of date; run: UPDATE_DOCS=1 cargo test -p conexus-config");
    for key in keys() {
        assert!(found.contains(&format!("| `{}` | ", key.path())) && found.contains(&format!("`{}`", key.env_name())));
    }
}
