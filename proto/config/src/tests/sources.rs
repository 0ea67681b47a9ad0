//! Sources: flags, environment, file and defaults, and which of them decides.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use super::{Sandbox, besides, loaded, mistakes, other_value};
use crate::settings::{LogFormat, LogLevel, LogRotation, Provider, TracingProtocol};
use crate::{Inputs, Origin, Token, keys};

/// A file that sets one key, and on which line.
fn file_with(path: &str, value: &str) -> (String, usize) {
    let parts: Vec<&str> = path.split('.').collect();
    let lines: Vec<String> =
        parts.iter().enumerate().map(|(depth, part)| format!("{}{part}:", "  ".repeat(depth))).collect();
    (format!("{} {value}\n", lines.join("\n")), parts.len())
}

#[test]
fn every_key_can_be_set_in_the_file_the_environment_and_by_a_flag() {
    for key in keys() {
        let (in_file, in_env) = other_value(key.path());
        let (text, line) = file_with(key.path(), in_file);
        let besides = besides(key.path());

        let sandbox = Sandbox::with_file(&text);
        let from_file = loaded(&sandbox.inputs(besides));
        let file = sandbox.path().join(".config/conexus/config.yml");
        assert_eq!(from_file.origins[key.path()], Origin::File { path: file.clone(), line }, "{}", key.path());
        assert_eq!(from_file.file, Some(file));

        let sandbox = Sandbox::new();
        let default = loaded(&sandbox.inputs(&[]));
        let flagged = loaded(&sandbox.inputs(besides).flag(key.path(), "--flag", in_env));
        assert_eq!(flagged.origins[key.path()], Origin::Flag("--flag".into()));
        assert_ne!(flagged.values.get(key.path()), default.values.get(key.path()), "{}", key.path());
        assert_eq!(flagged.values.get(key.path()), from_file.values.get(key.path()), "{}", key.path());
        for name in key.env_names() {
            let set = [besides, &[(name.as_str(), in_env)]].concat();
            let from_env = loaded(&sandbox.inputs(&set));
            assert_eq!(from_env.origins[key.path()], Origin::Env(name.clone()));
            assert_eq!(from_env.values.get(key.path()), flagged.values.get(key.path()), "{name}");
            assert_eq!(from_env.config, flagged.config, "{name}");
        }
    }
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let sandbox = Sandbox::with_file("server:\n  port: 1001\n  host: localhost\nsearch:\n  top_k: 5\n");
    let inputs = sandbox.inputs(&[("CONEXUS_PORT", "1002"), ("CONEXUS_SEARCH_TOP_K", "6")]);
    let from_env = loaded(&inputs);
    assert_eq!((from_env.config.server.port, from_env.config.search.top_k), (1002, 6));
    let inputs = inputs.flag("server.port", "--port", "1003").flag("server.port", "--port", "1004");
    let flagged = loaded(&inputs);
    assert_eq!((flagged.config.server.port, flagged.config.server.host.as_str()), (1004, "localhost"));
    assert_eq!(flagged.origins["server.port"].to_string(), "flag --port");
    assert_eq!(flagged.origins["search.top_k"].to_string(), "environment CONEXUS_SEARCH_TOP_K");
    assert!(flagged.origins["server.host"].to_string().ends_with(".config/conexus/config.yml:3"));
}

#[test]
fn values_arrive_typed() {
    let sandbox = Sandbox::with_file(
        "server: {host: '[::1]', port: 0, allowed_hosts: [localhost, a.example]}\n\
         database: {path: ~/index}\n\
         indexer: {workers: 3, max_file_size: 64 MiB, watch: no, root_path: sub/folder}\n\
         embedding: {provider: openai, model: m, base_url: 'http://localhost:11434/v1/', api_key: k, timeout: 250ms, dimensions: 8}\n\
         auth: {enabled: true, tokens: ['ana:0123456789abcdef']}\n\
         observability:\n  log_level: warn\n  log_format: text\n  log_rotation: hourly\n  log_max_bytes: 2097152\n\
         \x20 tracing: {protocol: grpc, sample_rate: 0.1}\n\
         \x20 sentry: {release: 1.10, dsn: 'https://key@sentry.example.com/1'}\n",
    );
    let config = loaded(&sandbox.inputs(&[])).config;
    assert_eq!((config.server.host.as_str(), config.server.listen_address().as_str()), ("::1", "[::1]:0"));
    assert_eq!(config.server.allowed_hosts_expanded(), ["localhost", "127.0.0.1", "::1", "a.example"]);
    assert_eq!(config.database.path, sandbox.path().join("index"));
    assert_eq!((config.indexer.workers, config.indexer.max_file_size, config.indexer.watch), (3, 64 << 20, false));
    assert_eq!(config.indexer.root_path, Path::new("sub/folder"));
    assert_eq!((config.embedding.provider, config.embedding.timeout), (Provider::Openai, Duration::from_millis(250)));
    assert_eq!(config.embedding.base_url.as_ref().unwrap().as_str(), "http://localhost:11434/v1");
    assert_eq!(config.embedding.api_key.as_ref().unwrap().expose(), "k");
    assert_eq!(config.embedding.dimensions, Some(8));
    assert!(
        matches!(config.auth.tokens.as_slice(), [Token { name, token }] if name == "ana" && token.matches("0123456789abcdef"))
    );
    let observability = &config.observability;
    assert_eq!((observability.log_level, observability.log_format), (LogLevel::Warn, LogFormat::Text));
    assert_eq!((observability.log_rotation, observability.log_max_bytes), (LogRotation::Hourly, 2 << 20));
    assert_eq!((observability.tracing.protocol, observability.tracing.sample_rate), (TracingProtocol::Grpc, 0.1));
    assert_eq!(observability.tracing.endpoint.as_str(), "http://localhost:4317", "the port of OTLP over gRPC");
    assert_eq!(observability.sentry.release, "1.10", "not the number 1.1");
    assert_eq!(observability.metrics.listen_address(), "127.0.0.1:9091");
}

#[test]
fn the_openai_address_is_the_default_of_its_provider() {
    let env = [
        ("CONEXUS_EMBEDDING_PROVIDER", "openai"),
        ("CONEXUS_EMBEDDING_MODEL", "m"),
        ("CONEXUS_EMBEDDING_API_KEY", "k"),
    ];
    let loaded = loaded(&Sandbox::new().inputs(&env));
    assert_eq!(loaded.config.embedding.base_url.unwrap().as_str(), "https://api.openai.com/v1");
    assert_eq!(loaded.origins["embedding.base_url"], Origin::Default);
}

#[test]
fn what_is_set_to_nothing_counts_as_not_set() {
    let sandbox = Sandbox::with_file("server:\n  port:\n  host: ~\nsearch:\nauth: null\n");
    let inputs = sandbox.inputs(&[("CONEXUS_PORT", ""), ("CONEXUS_METRICS_PORT", ""), ("CONEXUS_CONFIG_FILE", "")]);
    let loaded = loaded(&inputs);
    assert_eq!((loaded.config.server.port, loaded.config.observability.metrics.port), (8080, 9091));
    assert!(loaded.origins.values().all(|origin| *origin == Origin::Default));
    assert!(loaded.file.is_some());
}

#[test]
fn the_file_is_the_first_of_flag_variable_user_and_system() {
    let sandbox = Sandbox::new();
    let top_k = |inputs: &Inputs| loaded(inputs).config.search.top_k;
    let mut inputs = sandbox.inputs(&[]);
    assert_eq!(top_k(&inputs), 20, "no file is no mistake");
    sandbox.write("etc/conexus/config.yml", "search: {top_k: 1}");
    assert_eq!(top_k(&inputs), 1);
    sandbox.write(".config/conexus/config.yml", "search: {top_k: 2}");
    assert_eq!(top_k(&inputs), 2);
    let xdg = sandbox.write("xdg/conexus/config.yml", "search: {top_k: 3}");
    let xdg_home = xdg.parent().and_then(Path::parent).unwrap();
    inputs.env.push(("XDG_CONFIG_HOME".into(), xdg_home.into()));
    assert_eq!(top_k(&inputs), 3);
    let named = sandbox.write("named.yml", "search: {top_k: 4}");
    inputs.env.push(("CONEXUS_CONFIG_FILE".into(), named.into()));
    assert_eq!(top_k(&inputs), 4);
    inputs.config_file = Some(sandbox.write("flag.yml", "search: {top_k: 5}"));
    assert_eq!(top_k(&inputs), 5);
    let mut at_home = sandbox.inputs(&[("CONEXUS_CONFIG_FILE", "~/named.yml")]);
    assert_eq!(top_k(&at_home), 4);
    at_home.env.retain(|(name, _)| name != "HOME");
    assert_eq!(mistakes(&sandbox, &at_home).len(), 1 + 3, "the file, and the folders that have no default");
}

#[test]
fn the_working_directory_and_relative_variables_name_no_file() {
    let sandbox = Sandbox::new();
    for name in
        ["config.yml", "config.yaml", "conexus.yml", ".conexus.yml", "conexus/config.yml", ".conexus/config.yml"]
    {
        sandbox.write(&format!("repo/{name}"), "search: {top_k: 1}\nhostile: true\n");
    }
    let mut inputs = sandbox.inputs(&[("XDG_CONFIG_HOME", ".")]);
    inputs.machine.working_dir = Some(sandbox.path().join("repo"));
    let inputs = inputs.flag("indexer.root_path", "--root", sandbox.path().join("repo"));
    let loaded = loaded(&inputs);
    assert_eq!((loaded.file, loaded.config.search.top_k), (None, 20));
    let mut inputs = inputs;
    inputs.env.push(("CONEXUS_CONFIG_FILE".into(), "config.yml".into()));
    let found = mistakes(&sandbox, &inputs);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("environment CONEXUS_CONFIG_FILE: is \"config.yml\": must be an absolute path"),
        "{found:?}"
    );
}

#[test]
fn a_relative_path_is_taken_from_the_working_directory_except_in_the_file() {
    let sandbox = Sandbox::with_file("database: {path: data}\nindexer: {root_path: .}\n");
    let found = mistakes(&sandbox, &sandbox.inputs(&[]));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("~/.config/conexus/config.yml:1: database.path is \"data\": must be an absolute path")
    );
    let sandbox = Sandbox::new();
    let mut inputs =
        sandbox.inputs(&[("CONEXUS_DB_PATH", "data")]).flag("observability.log_dir", "--log-dir", "../logs");
    inputs.machine.working_dir = Some("/work/here".into());
    let config = loaded(&inputs).config;
    assert_eq!(config.database.path, Path::new("/work/here/data"));
    assert_eq!(config.observability.log_dir, Path::new("/work/here/../logs"));
}

#[test]
fn a_path_that_is_not_utf8_arrives_byte_for_byte() {
    let name = std::ffi::OsString::from_vec(b"/data/\xff".to_vec());
    let sandbox = Sandbox::new();
    let inputs = sandbox.inputs(&[]).flag("indexer.root_path", "--root", name.clone());
    assert_eq!(loaded(&inputs).config.indexer.root_path, Path::new(&name));
    let inputs = sandbox.inputs(&[]).flag("server.host", "--host", name);
    assert!(mistakes(&sandbox, &inputs)[0].contains("is not valid UTF-8; must be a host name"));
}

#[test]
fn variables_that_kubernetes_injects_are_ignored_with_a_warning() {
    let sandbox = Sandbox::new();
    let injected = [
        ("CONEXUS_PORT", "tcp://10.0.0.1:8080"),
        ("CONEXUS_METRICS_PORT", "tcp://10.0.0.1:9091"),
        ("CONEXUS_SIDECAR_PORT", "udp://10.0.0.1:9091"),
        ("CONEXUS_SERVICE_HOST", "10.0.0.1"),
        ("CONEXUS_SERVICE_PORT", "8080"),
        ("CONEXUS_SERVICE_PORT_HTTP", "8080"),
        ("CONEXUS_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("CONEXUS_PORT_8080_TCP_PROTO", "tcp"),
        ("CONEXUS_METRICS_SERVICE_PORT", "9091"),
        ("CONEXUS_METRICS_PORT_9091_TCP_ADDR", "10.0.0.1"),
    ];
    let loaded = loaded(&sandbox.inputs(&injected));
    assert_eq!((loaded.config.server.port, loaded.config.observability.metrics.port), (8080, 9091));
    assert_eq!(loaded.warnings.len(), injected.len());
    for (name, _) in injected {
        let expect = format!("environment {name}: ignored, because Kubernetes sets it for a service");
        assert!(loaded.warnings.contains(&expect), "{name}: {:?}", loaded.warnings);
    }
}

#[test]
fn variables_of_other_programs_are_nobodys_business() {
    let sandbox = Sandbox::new();
    let inputs = sandbox.inputs(&[("CONEXUSX", "1"), ("conexus_port", "x"), ("PORT", "x"), ("CONEXUS", "x")]);
    assert!(loaded(&inputs).warnings.is_empty());
}

#[test]
fn the_inputs_of_this_process_can_be_gathered() {
    let inputs = Inputs::from_process(vec![], None);
    assert!(inputs.machine.cores > 0 && !inputs.env.is_empty());
    assert_eq!(inputs.machine.system_file, Path::new("/etc/conexus/config.yml"));
}
