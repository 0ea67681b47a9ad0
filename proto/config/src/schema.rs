//! Schema: the file as a JSON schema, for editors and for the chart.

use serde_json::{Map, Value as Json, json};

use crate::key::{DefaultValue, Key, Kind, SOCKET_PATH_MAX};
use crate::load::constant;
use crate::settings::SECTIONS;

/// The JSON schema (draft 2020-12) of the configuration file.
pub fn schema() -> Json {
    let mut root = object("Configuration of conexusd and conexus-sidecar.", "");
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Conexus configuration");
    root
}

/// A section with what is directly in it; the empty path is the root.
fn object(doc: &str, path: &str) -> Json {
    let mut properties = Map::new();
    for section in SECTIONS {
        if section.path == path {
            properties.extend(section.keys.iter().map(|key| (key.name().to_owned(), property(key))));
        } else if let Some(name) = child(path, section.path) {
            properties.insert(name.to_owned(), object(section.doc.trim(), section.path));
        }
    }
    json!({ "type": ["object", "null"], "description": doc, "additionalProperties": false, "properties": properties })
}

fn child<'a>(parent: &str, path: &'a str) -> Option<&'a str> {
    let name = if parent.is_empty() { path } else { path.strip_prefix(parent)?.strip_prefix('.')? };
    (!name.contains('.')).then_some(name)
}

fn property(key: &Key) -> Json {
    let mut property = kind(key.kind);
    property["description"] = json!(key.doc());
    match key.default {
        DefaultValue::Is(text) => property["default"] = constant(key, text).to_json(),
        DefaultValue::Unset => {}
        DefaultValue::Derived(words, _) => property["description"] = json!(format!("{} Default: {words}.", key.doc())),
    }
    // A key with nothing behind its colon is not set.
    json!({ "anyOf": [property, { "type": "null" }] })
}

fn kind(kind: Kind) -> Json {
    let list = |item: Json| json!({ "type": "array", "items": item, "uniqueItems": true });
    match kind {
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Ratio => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Bytes { .. } => {
            json!({ "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+ *([kKmMgGtT]i?[bB]|[kKmMgGtT]i|[bB])?$" })
        }
        Kind::Time { .. } => {
            json!({ "type": "string", "pattern": "^([0-9]+(\\.[0-9]{1,9})? *(ns|us|ms|s|m|h|d) *)+$" })
        }
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::Text { max_bytes } => json!({ "type": ["string", "number"], "minLength": 1, "maxLength": max_bytes }),
        Kind::Host => json!({ "type": "string", "minLength": 1 }),
        Kind::Path | Kind::WorkingPath => json!({ "type": "string", "minLength": 1 }),
        Kind::SocketPath => json!({ "type": "string", "minLength": 1, "maxLength": SOCKET_PATH_MAX }),
        Kind::UrlPath => json!({ "type": "string", "pattern": "^/[A-Za-z0-9/._~-]+$" }),
        Kind::Url => json!({ "type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://[^/?#\\s]+[^?#\\s]*$" }),
        Kind::Secret => json!({ "type": "string", "minLength": 1, "writeOnly": true }),
        Kind::Dsn => json!({ "type": "string", "pattern": "^https?://[^@/\\s]+@[^/\\s]+/\\S+$", "writeOnly": true }),
        Kind::Hosts => {
            let mut hosts = list(json!({ "type": "string", "minLength": 1 }));
            hosts["minItems"] = json!(1);
            hosts
        }
        Kind::Origins => list(json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*://[^/\\s]+$" })),
        Kind::Globs => list(json!({ "type": "string", "minLength": 1 })),
        Kind::Tokens => list(json!({ "anyOf": [
            { "type": "string", "pattern": "^[A-Za-z0-9._@-]{1,64}:[A-Za-z0-9._~+/=-]{16,}$", "writeOnly": true },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["name", "token"],
                "properties": {
                    "name": { "type": "string", "pattern": "^[A-Za-z0-9._@-]{1,64}$" },
                    "token": { "type": "string", "pattern": "^[A-Za-z0-9._~+/=-]{16,}$", "writeOnly": true },
                },
            },
        ] })),
    }
}
