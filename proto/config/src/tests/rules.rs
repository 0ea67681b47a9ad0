//! Rules about several keys together.

use super::{Sandbox, env_mistakes, loaded};
use crate::load;

fn accepts(env: &[(&str, &str)]) -> Vec<String> {
    loaded(&Sandbox::new().inputs(env)).warnings
}

fn refuses(env: &[(&str, &str)], expect: &str) {
    let found = env_mistakes(env);
    assert_eq!(found.len(), 1, "{env:?}: {found:?}");
    assert!(found[0].contains(expect), "{env:?}: {found:?}");
}

const TOKENS: (&str, &str) = ("CONEXUS_AUTH_TOKENS", "ana:0123456789abcdef");
const AUTH: (&str, &str) = ("CONEXUS_AUTH_ENABLED", "true");

#[test]
fn off_loopback_without_authentication_is_refused() {
    for host in ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "::1", "[::1]"] {
        accepts(&[("CONEXUS_HOST", host)]);
    }
    for host in ["0.0.0.0", "::", "10.0.0.1", "conexus.example.com", "localhost.example.com"] {
        refuses(
            &[("CONEXUS_HOST", host)],
            "which others can reach, and nothing asks who they are: set auth.enabled and auth.tokens, or server.allow_unauthenticated",
        );
        refuses(&[("CONEXUS_HOST", host), TOKENS], "nothing asks who they are");
        accepts(&[("CONEXUS_HOST", host), ("CONEXUS_SERVER_ALLOW_UNAUTHENTICATED", "true")]);
        assert!(accepts(&[("CONEXUS_HOST", host), TOKENS, AUTH]).is_empty());
    }
    assert_eq!(
        env_mistakes(&[("CONEXUS_HOST", "0.0.0.0"), AUTH]).len(),
        2,
        "authentication without a token guards nothing"
    );
}

#[test]
fn a_rule_that_reads_a_wrong_value_says_nothing_more() {
    refuses(&[("CONEXUS_HOST", "0.0.0.0"), ("CONEXUS_AUTH_TOKENS", "x"), AUTH], "auth.tokens is ***");
}

#[test]
fn authentication_needs_a_token_and_tokens_need_authentication() {
    refuses(&[AUTH], "auth.enabled is true, but auth.tokens is empty");
    assert_eq!(accepts(&[TOKENS]), ["auth.tokens is set, but auth.enabled is false: no request is asked for a token"]);
}

#[test]
fn the_openai_provider_needs_a_model_and_at_openai_a_key() {
    let provider = ("CONEXUS_EMBEDDING_PROVIDER", "openai");
    let model = ("CONEXUS_EMBEDDING_MODEL", "m");
    let key = ("CONEXUS_EMBEDDING_API_KEY", "k");
    refuses(&[provider, key], "set embedding.model");
    refuses(&[provider, model], "set embedding.api_key, or embedding.base_url");
    refuses(&[provider, model, ("CONEXUS_EMBEDDING_BASE_URL", "https://api.openai.com/v1/")], "needs a key");
    assert!(accepts(&[provider, model, ("CONEXUS_EMBEDDING_BASE_URL", "http://localhost:11434/v1")]).is_empty());
    let sent = accepts(&[provider, model, key, ("CONEXUS_EMBEDDING_BASE_URL", "http://u:p@tei.example/v1")]);
    assert_eq!(sent, ["embedding.api_key is sent unencrypted to http://***@tei.example/v1"]);
    assert_eq!(
        accepts(&[key]),
        ["embedding.base_url and embedding.api_key are not used: embedding.provider is static"]
    );
}

#[test]
fn sentry_needs_a_dsn() {
    refuses(&[("CONEXUS_SENTRY_ENABLED", "true")], "set observability.sentry.dsn");
    accepts(&[("CONEXUS_SENTRY_ENABLED", "true"), ("CONEXUS_SENTRY_DSN", "https://your-dsn@sentry.io/project-id")]);
}

#[test]
fn one_port_serves_one_purpose_on_one_address() {
    let metrics = ("CONEXUS_METRICS_PORT", "8080");
    refuses(
        &[metrics],
        "observability.metrics.port and server.port are both 8080 on the same address (127.0.0.1:8080, 127.0.0.1:8080)",
    );
    refuses(&[metrics, ("CONEXUS_METRICS_HOST", "0.0.0.0")], "choose another port");
    refuses(&[metrics, ("CONEXUS_METRICS_HOST", "localhost")], "choose another port");
    accepts(&[metrics, ("CONEXUS_METRICS_HOST", "127.0.0.2")]);
    accepts(&[metrics, ("CONEXUS_METRICS_ENABLED", "false")]);
    accepts(&[
        ("CONEXUS_PORT", "0"),
        ("CONEXUS_METRICS_PORT", "0"),
        ("CONEXUS_DEBUG_ENABLED", "true"),
        ("CONEXUS_DEBUG_PORT", "0"),
    ]);
    accepts(&[("CONEXUS_DEBUG_PORT", "8080")]);
    refuses(
        &[("CONEXUS_DEBUG_ENABLED", "true"), ("CONEXUS_DEBUG_PORT", "8080")],
        "observability.debug.port and server.port",
    );
    refuses(
        &[("CONEXUS_DEBUG_ENABLED", "true"), ("CONEXUS_DEBUG_PORT", "9091")],
        "observability.debug.port and observability.metrics.port",
    );
}

#[test]
fn a_rule_names_where_the_value_came_from() {
    let sandbox = Sandbox::with_file("\nserver:\n  host: 0.0.0.0\n");
    let error = load(&sandbox.inputs(&[])).unwrap_err().to_string();
    assert!(error.contains("config.yml:3: server.host is \"0.0.0.0\""), "{error}");
}

#[test]
fn the_endpoint_of_traces_must_fit_the_protocol() {
    let on = ("CONEXUS_TRACING_ENABLED", "true");
    let grpc = ("CONEXUS_TRACING_PROTOCOL", "grpc");
    let at = |url| ("CONEXUS_TRACING_ENDPOINT", url);
    assert!(accepts(&[on]).is_empty() && accepts(&[on, grpc]).is_empty());
    assert!(accepts(&[on, at("https://gateway.example.com/otlp")]).is_empty());
    refuses(&[on, grpc, at("http://localhost:4317/v1/traces")], "has no path: leave out /v1/traces");
    refuses(&[on, at("localhost:4318")], "observability.tracing.endpoint");
    let warned = accepts(&[on, at("http://localhost:4317")]);
    assert!(warned.len() == 1 && warned[0].contains("on port 4318 as a rule"), "{warned:?}");
    let warned = accepts(&[on, grpc, at("http://localhost:4318")]);
    assert!(warned.len() == 1 && warned[0].contains("on port 4317 as a rule"), "{warned:?}");
}
