//! Show: the effective configuration, each value with where it came from, and no secret.

use serde_json::{Map, json};

use crate::load::{Loaded, Origin};
use crate::settings::{SECTIONS, keys};

impl Loaded {
    /// The effective configuration as YAML, the origin of each value in a comment behind it, secrets masked.
    pub fn show(&self) -> String {
        let mut lines: Vec<(String, String)> = Vec::new();
        for section in SECTIONS {
            let depth = section.path.matches('.').count();
            let name = section.path.rsplit('.').next().unwrap_or_default();
            lines.push((format!("{}{name}:", "  ".repeat(depth)), String::new()));
            for key in section.keys {
                let value = self.values.get(key.path).map_or_else(|| "~".to_owned(), |value| value.to_yaml());
                let origin = self.origins.get(key.path).unwrap_or(&Origin::Default);
                lines.push((format!("{}{}: {value}", "  ".repeat(depth + 1), key.name()), origin.to_string()));
            }
        }
        const COLUMN_MAX: usize = 60;
        let width = |line: &str| line.chars().count();
        let column =
            lines.iter().map(|(line, _)| width(line)).filter(|width| *width <= COLUMN_MAX).max().unwrap_or_default();
        let mut text = String::new();
        for (line, origin) in lines {
            let comment = match origin.as_str() {
                "" => String::new(),
                origin => format!("{}  # {}", " ".repeat(column.saturating_sub(width(&line))), origin.escape_debug()),
            };
            text.push_str(&format!("{line}{comment}\n"));
        }
        text
    }

    /// The same as JSON: for each key path `{"value", "origin"}`, secrets masked, `null` for what is not set.
    pub fn show_json(&self) -> serde_json::Value {
        let entries = keys().map(|key| {
            let value = self.values.get(key.path).map(|value| value.to_json());
            let origin = self.origins.get(key.path).unwrap_or(&Origin::Default).to_string();
            (key.path.to_owned(), json!({ "value": value, "origin": origin }))
        });
        serde_json::Value::Object(entries.collect::<Map<_, _>>())
    }
}
