//! Tests of the crate as a whole: what a user can set, from where, and what is said about mistakes.

mod documents;
mod mistakes;
mod properties;
mod rules;
mod sources;
mod table;

use std::fs;
use std::path::Path;

use crate::{Inputs, Loaded, load};

/// A folder with a user's configuration file in it, and inputs that see nothing else.
struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Sandbox { folder: tempfile::tempdir().unwrap() }
    }

    fn with_file(text: &str) -> Self {
        let sandbox = Self::new();
        sandbox.write(".config/conexus/config.yml", text);
        sandbox
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn inputs(&self, env: &[(&str, &str)]) -> Inputs {
        let mut inputs = Inputs::below(self.path());
        inputs.env.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
        inputs
    }
}

fn loaded(inputs: &Inputs) -> Loaded {
    load(inputs).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is wrong, line by line, with the sandbox's folder as `~`.
fn mistakes(sandbox: &Sandbox, inputs: &Inputs) -> Vec<String> {
    let text = load(inputs).expect_err("this configuration is wrong").to_string();
    text.replace(&sandbox.path().display().to_string(), "~").lines().map(str::to_owned).collect()
}

fn file_mistakes(text: &str) -> Vec<String> {
    let sandbox = Sandbox::with_file(text);
    mistakes(&sandbox, &sandbox.inputs(&[]))
}

fn env_mistakes(env: &[(&str, &str)]) -> Vec<String> {
    let sandbox = Sandbox::new();
    mistakes(&sandbox, &sandbox.inputs(env))
}

/// Another valid value than the default for a key, as it is written in the file on one line, and as in the
/// environment.
fn other_value(path: &str) -> (&'static str, &'static str) {
    let same = |text| (text, text);
    match path {
        "server.host" => same("localhost"),
        "observability.metrics.host" => same("0.0.0.0"),
        "server.allowed_hosts" => ("[a.example, \"b.example:80\"]", "a.example,b.example:80"),
        "server.allowed_origins" => ("[\"https://a.example:443\"]", "https://a.example:443"),
        "indexer.include" | "indexer.ignore" => ("[\"*.{rs,py}\", src/**]", "*.{rs,py},src/**"),
        "auth.tokens" => ("[{name: ana, token: 0123456789abcdef}]", "ana:0123456789abcdef"),
        "embedding.provider" => same("openai"),
        "embedding.model" | "observability.sentry.environment" => same("production"),
        "observability.sentry.release" => same("1.10"),
        "embedding.base_url" | "observability.tracing.endpoint" => same("http://other.example:4318"),
        "embedding.api_key" => same("sk-1"),
        "observability.sentry.dsn" => same("https://key@sentry.example.com/1"),
        "search.method" => same("words"),
        "observability.log_level" => same("debug"),
        "observability.log_format" => same("text"),
        "observability.log_rotation" => same("hourly"),
        "observability.tracing.protocol" => same("grpc"),
        "observability.metrics.path" => same("/m"),
        "server.port" => same("18080"),
        "embedding.max_retries" => same("7"),
        _ => match crate::settings::key(path).unwrap().kind() {
            crate::Kind::Switch if crate::settings::key(path).unwrap().default_text() == Some("true") => same("false"),
            crate::Kind::Switch => same("true"),
            crate::Kind::Integer { min, max } => same(if (min..=max).contains(&77) { "77" } else { "1001" }),
            crate::Kind::Ratio => same("0.25"),
            crate::Kind::Bytes { .. } => same("3 MiB"),
            crate::Kind::Time { .. } => same("1m30s"),
            crate::Kind::Path | crate::Kind::WorkingPath => same("/other/folder"),
            crate::Kind::SocketPath => same("/other/folder/t.sock"),
            kind => panic!("{path}: no other value for {kind:?}"),
        },
    }
}

/// What must be set besides for a key's other value to be valid.
fn besides(path: &str) -> &'static [(&'static str, &'static str)] {
    match path {
        "auth.enabled" => &[("CONEXUS_AUTH_TOKENS", "ana:0123456789abcdef")],
        "embedding.provider" => &[("CONEXUS_EMBEDDING_MODEL", "m"), ("CONEXUS_EMBEDDING_API_KEY", "k")],
        "observability.sentry.enabled" => &[("CONEXUS_SENTRY_DSN", "https://key@sentry.example.com/1")],
        _ => &[],
    }
}
