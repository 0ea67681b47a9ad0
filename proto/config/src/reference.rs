//! Reference: the page of the documentation about every key, generated so that it cannot differ from the program.

use crate::key::{DefaultValue, Key, Section};
use crate::load::constant;
use crate::settings::{SECTIONS, keys};

const INTRODUCTION: &str = include_str!("reference/introduction.md");

/// The configuration reference in Markdown, as `docs/configuration.md` holds it.
pub fn reference_markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    for section in SECTIONS {
        push_section(&mut text, section);
    }
    text.push_str("\n## The default file\n\n`conexusd config default` prints it.\n\n```yaml\n");
    text.push_str(&crate::default_file());
    text.push_str("```\n\n## Environment variables\n\n| variable | key |\n|---|---|\n| `CONEXUS_CONFIG_FILE` | the configuration file |\n");
    let mut names: Vec<(String, &str)> =
        keys().flat_map(|key| key.env_names().into_iter().map(|name| (name, key.path()))).collect();
    names.sort();
    for (name, path) in names {
        text.push_str(&format!("| `{name}` | `{path}` |\n"));
    }
    text
}

fn push_section(text: &mut String, section: &Section) {
    text.push_str(&format!("\n## `{}`\n\n{}\n\n", section.path, joined(section.doc)));
    text.push_str("| key | value | default | environment | meaning |\n|---|---|---|---|---|\n");
    for key in section.keys {
        let environment = key.env_names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let cells =
            [format!("`{}`", key.path()), escaped(&key.kind().allowed()), default(key), environment, joined(key.doc)];
        text.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
}

fn default(key: &Key) -> String {
    match key.default {
        DefaultValue::Unset => "none".into(),
        DefaultValue::Derived(words, _) => words.into(),
        DefaultValue::Is(text) => match constant(key, text).to_yaml().as_str() {
            "[]" => "none".into(),
            text => format!("`{text}`"),
        },
    }
}

/// Plain text without what Markdown would take for emphasis.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| "*_~".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

fn joined(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
