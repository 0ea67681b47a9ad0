//! Mistakes: what is said about them, that all are said at once, and that no secret is.

use super::{Sandbox, env_mistakes, file_mistakes, mistakes};
use crate::settings::LogFormat;
use crate::{keys, load};

#[test]
fn all_mistakes_of_all_sources_are_reported_at_once_in_order() {
    let sandbox = Sandbox::with_file(
        "server:\n  port: 80800\n  prot: 1\nobservability:\n  log_level: loud\n  metrics:\n    port: nine\nserch: {top_k: 1}\nsearch:\n  top_k: 0\n",
    );
    let inputs = sandbox
        .inputs(&[("CONEXUS_LOG_LEVL", "debug"), ("CONEXUS_TRACING_SAMPLE_RATE", "2"), ("CONEXUS_LOG_FORMAT", "text")])
        .flag("server.port", "--port", "8080.5")
        .flag("server.ports", "--set", "1");
    let expect = [
        "flag --set: unknown key \"server.ports\"; did you mean server.port?",
        "flag --port: server.port is \"8080.5\": must be a whole number from 0 to 65535",
        "environment CONEXUS_LOG_LEVL: unknown variable; did you mean CONEXUS_LOG_LEVEL?",
        "environment CONEXUS_TRACING_SAMPLE_RATE: observability.tracing.sample_rate is \"2\": must be a number from 0 to 1",
        "~/.config/conexus/config.yml:2: server.port is \"80800\": must be a whole number from 0 to 65535",
        "~/.config/conexus/config.yml:3: unknown key \"server.prot\"; did you mean server.port?",
        "~/.config/conexus/config.yml:5: observability.log_level is \"loud\": must be one of debug, info, warn, error",
        "~/.config/conexus/config.yml:7: observability.metrics.port is \"nine\": must be a whole number from 0 to 65535",
        "~/.config/conexus/config.yml:8: unknown key \"serch\"; did you mean search?",
        "~/.config/conexus/config.yml:10: search.top_k is \"0\": must be a whole number from 1 to 100",
    ];
    assert_eq!(mistakes(&sandbox, &inputs), expect);
    let errors = load(&inputs).unwrap_err();
    assert_eq!((errors.mistakes().len(), errors.log_format()), (expect.len(), LogFormat::Text));
}

#[test]
fn every_kind_says_what_it_allows() {
    for (name, value, expect) in [
        ("CONEXUS_INDEXER_WATCH", "maybe", "indexer.watch is \"maybe\": must be true or false"),
        ("CONEXUS_PORT", "-1", "server.port is \"-1\": must be a whole number from 0 to 65535"),
        ("CONEXUS_INDEXER_MAX_FILE_SIZE", "1M", "is \"1M\": must be a size from 1 B to 1 GiB (such as 64 MiB)"),
        ("CONEXUS_INDEXER_MAX_FILE_SIZE", "2 GiB", "is \"2 GiB\": must be a size from 1 B to 1 GiB"),
        (
            "CONEXUS_EMBEDDING_TIMEOUT",
            "30",
            "is \"30\": must be a time from 1ms to 1h with its unit (such as 250ms, 30s or 1m)",
        ),
        ("CONEXUS_EMBEDDING_TIMEOUT", "0s", "must be a time from 1ms"),
        ("CONEXUS_EMBEDDING_PROVIDER", "onnx", "is \"onnx\": must be one of static, openai"),
        ("CONEXUS_HOST", "http://a", "is \"http://a\": must be a host name or an IP address"),
        ("CONEXUS_SERVER_ALLOWED_HOSTS", "a b", "item 1 is \"a b\"; must be a list of at least one host name"),
        ("CONEXUS_SERVER_ALLOWED_ORIGINS", "a", "item 1 is \"a\"; must be a list of origins"),
        ("CONEXUS_INDEXER_IGNORE", "a[", "item 1 is \"a[\", unclosed character class"),
        ("CONEXUS_METRICS_PATH", "/healthz", "is \"/healthz\": must be a path that starts with / and is not /health"),
        ("CONEXUS_TRACING_ENDPOINT", "localhost:4318", "must be an http:// or https:// URL with a host"),
        ("CONEXUS_TRACING_ENDPOINT", "http://", "(its host or port is not valid)"),
        ("CONEXUS_EMBEDDING_BASE_URL", "ftp://a", "(its scheme is not http or https)"),
        (
            "CONEXUS_SENTRY_DSN",
            "nonsense",
            "is ***: must be a Sentry DSN (https://KEY@HOST/PROJECT) (it has no scheme)",
        ),
        ("CONEXUS_SENTRY_ENVIRONMENT", "a\nb", "is \"a\\nb\": must be one line of text of 1 to 64 bytes"),
        (
            "CONEXUS_AUTH_TOKENS",
            "abc",
            "auth.tokens is ***: item 1: it is not name:token; must be a list of name:token",
        ),
        ("CONEXUS_TELEMETRY_RING_RECORDS", "1", "must be a whole number from 64 to 16777216"),
        (
            "CONEXUS_DB_PATH",
            "~other/x",
            "database.path is \"~other/x\": must be an absolute path or one that starts with ~/",
        ),
    ] {
        let found = env_mistakes(&[(name, value)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("environment {name}: ")) && found[0].contains(expect), "{found:?}");
    }
}

#[test]
fn a_value_of_the_wrong_shape_is_a_mistake_for_every_key() {
    for key in keys() {
        let parts: Vec<&str> = key.path().split('.').collect();
        let lines: Vec<String> =
            parts.iter().enumerate().map(|(depth, part)| format!("{}{part}:", "  ".repeat(depth))).collect();
        for wrong in ["{a: 1}", "[[1]]"] {
            let found = file_mistakes(&format!("{} {wrong}\n", lines.join("\n")));
            assert_eq!(found.len(), 1, "{found:?}");
            let expect = format!("config.yml:{}: {} is ", parts.len(), key.path());
            assert!(found[0].contains(&expect) && found[0].contains("must be"), "{found:?}");
        }
    }
}

#[test]
fn an_unknown_key_leads_to_the_known_one_or_to_what_there_is() {
    for (text, expect) in [
        ("metrics: {port: 1}", ":1: unknown key \"metrics\"; did you mean observability.metrics?"),
        ("log_level: debug", ":1: unknown key \"log_level\"; did you mean observability.log_level?"),
        ("server.port: 1", ":1: unknown key \"server.port\"; in the file keys are nested: server: port:"),
        (
            "colour: red",
            ":1: unknown key \"colour\"; the sections are server, database, indexer, embedding, search, auth, observability",
        ),
        (
            "observability:\n  debug:\n    colour: red",
            ":3: unknown key \"observability.debug.colour\"; observability.debug has enabled, port",
        ),
        (
            "observability: {colour: red}",
            "observability has log_level, log_format, log_dir, log_rotation, log_max_files, log_max_bytes, metrics, tracing, sentry, telemetry, debug",
        ),
        ("server: 8080", ":1: server must be a mapping of keys, such as \"host:\""),
        ("- a", ":1: must be a mapping of sections, such as \"server:\""),
        ("\"a\\e[31m\": 1", "unknown key \"a\\u{1b}[31m\""),
    ] {
        let found = file_mistakes(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expect), "{text}: {found:?}");
    }
    assert_eq!(
        env_mistakes(&[("CONEXUS_COLOUR", "red")]),
        ["environment CONEXUS_COLOUR: unknown variable; every variable that begins with CONEXUS_ must set a key"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let sandbox = Sandbox::new();
    let named = |path: std::path::PathBuf| {
        let mut inputs = sandbox.inputs(&[]);
        inputs.config_file = Some(path);
        mistakes(&sandbox, &inputs)
    };
    let found = named(sandbox.path().join("none.yml"));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("~/none.yml: cannot read the configuration file that --config names: No such file"),
        "{found:?}"
    );
    assert!(named(sandbox.path().to_owned())[0].contains("Is a directory"));
    let big = sandbox.write("big.yml", "#".repeat((1 << 20) + 1));
    assert!(named(big)[0].ends_with("it is larger than 1024 KiB"));
    let latin = sandbox.write("latin.yml", b"a: 1\nb: \xe9\n");
    assert!(named(latin)[0].ends_with("line 2 is not valid UTF-8"));
    let broken = sandbox.write("broken.yml", "server:\n  port: [1\nsearch: }\n");
    let found = named(broken);
    assert!(found[0].starts_with("~/broken.yml:") && found[0].contains(": is not valid YAML: "), "{found:?}");
    let inputs = sandbox.inputs(&[("CONEXUS_CONFIG_FILE", "/none/of/these.yml")]);
    assert!(mistakes(&sandbox, &inputs)[0].contains("that CONEXUS_CONFIG_FILE names: No such file"));
    std::fs::create_dir_all(sandbox.path().join(".config/conexus/config.yml")).unwrap();
    let found = mistakes(&sandbox, &sandbox.inputs(&[]));
    assert!(
        found[0].starts_with("~/.config/conexus/config.yml: cannot read the configuration file: Is a directory"),
        "{found:?}"
    );
}

#[test]
fn a_broken_file_does_not_hide_mistakes_elsewhere() {
    let sandbox = Sandbox::with_file("a: [\n");
    assert_eq!(mistakes(&sandbox, &sandbox.inputs(&[("CONEXUS_PORT", "x")])).len(), 2);
}

#[test]
fn one_key_under_two_names_must_have_one_value() {
    let found = env_mistakes(&[("CONEXUS_PORT", "1"), ("CONEXUS_SERVER_PORT", "2")]);
    assert_eq!(
        found,
        [
            "environment CONEXUS_SERVER_PORT: server.port is \"2\", but environment CONEXUS_PORT says \"1\"; set one of them"
        ]
    );
    let sandbox = Sandbox::new();
    assert!(load(&sandbox.inputs(&[("CONEXUS_PORT", "1"), ("CONEXUS_SERVER_PORT", "1")])).is_ok());
}

#[test]
fn a_socket_path_that_the_system_could_not_bind_is_refused_wherever_it_comes_from() {
    let path = |length: usize| format!("/{}", "s".repeat(length - 1));
    let sandbox = Sandbox::new();
    assert!(load(&sandbox.inputs(&[("CONEXUS_TELEMETRY_SOCKET", &path(107))])).is_ok());
    let found = env_mistakes(&[("CONEXUS_TELEMETRY_SOCKET", &path(108))]);
    assert!(found[0].contains("of at most 107 bytes; this one has 108"), "{found:?}");
    let mut inputs = sandbox.inputs(&[]);
    inputs.env.retain(|(name, _)| name != "XDG_RUNTIME_DIR");
    inputs.env.push(("XDG_RUNTIME_DIR".into(), path(100).into()));
    let found = mistakes(&sandbox, &inputs);
    assert!(found[0].starts_with("observability.telemetry.socket would be \"/sss"), "{found:?}");
    inputs.env.push(("CONEXUS_TELEMETRY_SOCKET".into(), "/run/conexus/telemetry.sock".into()));
    assert!(load(&inputs).is_ok(), "a default that is not used does not matter");
}

#[test]
fn without_a_home_only_what_is_not_set_is_missing() {
    let sandbox = Sandbox::new();
    let mut inputs = sandbox.inputs(&[("CONEXUS_DB_PATH", "/data")]);
    inputs.env.retain(|(name, _)| name != "HOME");
    let found = mistakes(&sandbox, &inputs);
    assert_eq!(found.len(), 2);
    assert!(
        found[0].starts_with("observability.log_dir has no default, because neither XDG_STATE_HOME nor HOME"),
        "{found:?}"
    );
    inputs.env.push(("XDG_STATE_HOME".into(), "/state".into()));
    assert!(load(&inputs).is_ok());
}

#[test]
fn no_message_and_no_output_repeats_a_secret() {
    let wrong = "server: {api_key: SECRET}\nembedding:\n  api_key: [SECRET]\n  api_kye: SECRET\n  base_url: 'ftp://SECRET:SECRET@a'\n\
                 auth: {tokens: ['SECRET', {name: a, token: SECRET, SECRETS: 1}]}\n\
                 observability: {sentry: {dsn: 'https://SECRET/1'}, tracing: {endpoint: 'http://SECRET@'}}\n";
    let found = file_mistakes(wrong);
    assert_eq!(found.len(), 7, "{found:?}");
    assert!(!found.join("\n").contains("SECRET"), "{found:?}");
    let sandbox = Sandbox::with_file(
        "embedding: {provider: openai, model: m, api_key: SECRET, base_url: 'https://u:SECRET@a.example'}\n\
         auth: {enabled: true, tokens: ['ana:SECRETSECRETSECRET']}\n\
         observability: {sentry: {enabled: true, dsn: 'https://SECRET@sentry.example.com/1'}, tracing: {endpoint: 'http://SECRET@b'}}\n",
    );
    let loaded = load(&sandbox.inputs(&[])).unwrap();
    for text in [loaded.show(), loaded.show_json().to_string(), format!("{:?}", loaded.config), format!("{loaded:?}")] {
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains("***"), "{text}");
    }
    let wrong_both = env_mistakes(&[("CONEXUS_SECRET_KEY", "SECRET2"), ("CONEXUS_EMBEDDING_API_KEY", "a\nSECRET2")]);
    assert!(!wrong_both.join("\n").contains("SECRET2"), "{wrong_both:?}");
}
