//! The table of keys: names, defaults and words.

use std::collections::BTreeSet;

use super::{Sandbox, loaded};
use crate::key::DefaultValue;
use crate::parse::{Bases, parse};
use crate::raw::Raw;
use crate::settings::{self, Config};
use crate::value::{Value, Values};
use crate::{Kind, keys};

#[test]
fn every_key_of_the_contract_has_the_contracts_default() {
    let sandbox = Sandbox::new();
    let loaded = loaded(&sandbox.inputs(&[]));
    let shown = loaded.show_json();
    let home = sandbox.path().display().to_string();
    let contract = [
        ("server.host", "\"127.0.0.1\""),
        ("server.port", "8080"),
        ("server.allowed_hosts", "[\"localhost\"]"),
        ("server.allowed_origins", "[]"),
        ("server.allow_unauthenticated", "false"),
        ("database.path", "\"~/.local/share/conexus\""),
        ("indexer.root_path", "\".\""),
        ("indexer.include", "[]"),
        ("indexer.ignore", "[]"),
        ("indexer.max_file_size", "\"1 MiB\""),
        ("indexer.watch", "true"),
        ("embedding.provider", "\"static\""),
        ("embedding.model", "null"),
        ("embedding.dimensions", "null"),
        ("embedding.base_url", "null"),
        ("embedding.api_key", "null"),
        ("embedding.timeout", "\"30s\""),
        ("embedding.max_retries", "3"),
        ("embedding.batch_size", "64"),
        ("embedding.cache_size", "100000"),
        ("embedding.persistent_cache", "true"),
        ("search.top_k", "20"),
        ("search.cache_entries", "1000"),
        ("search.max_tokens", "null"),
        ("search.method", "\"full\""),
        ("auth.enabled", "false"),
        ("auth.tokens", "[]"),
        ("observability.log_level", "\"info\""),
        ("observability.log_format", "\"json\""),
        ("observability.log_dir", "\"~/.local/state/conexus\""),
        ("observability.log_rotation", "\"daily\""),
        ("observability.log_max_files", "14"),
        ("observability.log_max_bytes", "\"1 GiB\""),
        ("observability.metrics.enabled", "true"),
        ("observability.metrics.host", "\"127.0.0.1\""),
        ("observability.metrics.port", "9091"),
        ("observability.metrics.path", "\"/metrics\""),
        ("observability.metrics.go_compat", "true"),
        ("observability.tracing.enabled", "false"),
        ("observability.tracing.endpoint", "\"http://localhost:4318\""),
        ("observability.tracing.protocol", "\"http\""),
        ("observability.tracing.sample_rate", "1.0"),
        ("observability.tracing.slow_threshold", "\"1s\""),
        ("observability.sentry.enabled", "false"),
        ("observability.sentry.dsn", "null"),
        ("observability.sentry.environment", "\"development\""),
        ("observability.sentry.release", concat!("\"", env!("CARGO_PKG_VERSION"), "\"")),
        ("observability.sentry.sample_rate", "1.0"),
        ("observability.sentry.traces_sample_rate", "1.0"),
        ("observability.telemetry.socket", "\"~/conexus/telemetry.sock\""),
        ("observability.telemetry.ring_records", "16384"),
        ("observability.telemetry.unsent_max_bytes", "\"16 MiB\""),
        ("observability.telemetry.spool_max_bytes", "\"64 MiB\""),
        ("observability.telemetry.state_dir", "\"~/.local/state/conexus\""),
        ("observability.debug.enabled", "false"),
        ("observability.debug.port", "6060"),
    ];
    for (path, expect) in contract {
        let entry = &shown[path];
        assert_eq!(entry["value"].to_string().replace(&home, "~"), expect, "{path}");
        assert_eq!(entry["origin"], "default", "{path}");
    }
    let cores = std::thread::available_parallelism().unwrap().get().min(1024);
    assert_eq!(loaded.config.indexer.workers, cores);
    let named: BTreeSet<_> = contract.iter().map(|(path, _)| *path).chain(["indexer.workers"]).collect();
    assert_eq!(named, keys().map(|key| key.path()).collect(), "no key besides the contract's");
}

#[test]
fn environment_names_are_the_contracts_and_no_two_keys_share_one() {
    let mut seen = BTreeSet::new();
    for name in keys().flat_map(|key| key.env_names()) {
        assert!(seen.insert(name.clone()), "{name}");
        let hidden = name.contains("_SERVICE_") || name.contains("_PORT_");
        assert!(!hidden, "{name}: a mistyped form of it would be taken for Kubernetes'");
    }
    for (path, names) in [
        ("observability.log_level", vec!["CONEXUS_LOG_LEVEL"]),
        ("observability.metrics.port", vec!["CONEXUS_METRICS_PORT"]),
        ("observability.tracing.sample_rate", vec!["CONEXUS_TRACING_SAMPLE_RATE"]),
        ("observability.sentry.dsn", vec!["CONEXUS_SENTRY_DSN"]),
        ("observability.telemetry.socket", vec!["CONEXUS_TELEMETRY_SOCKET"]),
        ("embedding.provider", vec!["CONEXUS_EMBEDDING_PROVIDER"]),
        ("server.host", vec!["CONEXUS_SERVER_HOST", "CONEXUS_HOST"]),
        ("server.port", vec!["CONEXUS_SERVER_PORT", "CONEXUS_PORT"]),
        ("database.path", vec!["CONEXUS_DATABASE_PATH", "CONEXUS_DB_PATH"]),
        ("indexer.root_path", vec!["CONEXUS_INDEXER_ROOT_PATH", "CONEXUS_ROOT_PATH"]),
    ] {
        assert_eq!(settings::key(path).unwrap().env_names(), names);
    }
}

#[test]
fn every_range_fits_the_type_of_its_field_at_both_ends() {
    let all_defaults = loaded(&Sandbox::new().inputs(&[])).values;
    for key in keys() {
        let ends: Vec<Value> = match key.kind() {
            Kind::Integer { min, max } => vec![Value::Integer(min), Value::Integer(max)],
            Kind::Bytes { min, max } => vec![Value::Bytes(min), Value::Bytes(max)],
            _ => continue,
        };
        for end in ends {
            let mut values: Values = all_defaults.clone();
            values.set(key.path, end);
            let _ = Config::from_values(&values);
        }
    }
}

#[test]
fn every_key_has_a_sentence_and_either_a_default_or_a_valid_example() {
    for key in keys() {
        assert!(key.doc().ends_with('.'), "{}: {}", key.path(), key.doc());
        if matches!(key.default, DefaultValue::Is(_)) {
            assert!(key.example.is_none(), "{} needs no example", key.path());
            continue;
        }
        let example = Raw::Scalar(key.example.unwrap_or_default().into());
        let result = parse(key.kind(), &example, Bases { home: None, relative: None });
        assert!(result.is_ok(), "{}: {result:?}", key.path());
    }
}

#[test]
fn only_the_inputs_read_the_environment_and_no_file_holds_a_static() {
    fn visit(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                visit(&entry.path(), found);
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                found.push((entry.path().display().to_string(), std::fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    visit(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    assert!(files.len() > 20);
    for (path, text) in files.iter().filter(|(path, _)| !path.contains("tests")) {
        let reads = text.contains("std::env::") && !path.ends_with("src/inputs.rs");
        assert!(!reads, "{path} reads the environment");
        assert!(
            !text.lines().any(|line| line.trim_start().trim_start_matches("pub ").starts_with("static ")),
            "{path}"
        );
    }
}
