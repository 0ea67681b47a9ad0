//! Rules: what single values cannot show, because it is about several keys together.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Mistake;
use crate::load::Origin;
use crate::parse::host;
use crate::settings::{Config, OPENAI_URL, Provider, Tracing, TracingProtocol};

/// One rule: the keys it reads, the first of which it is about, and what it finds wrong with them.
struct Rule {
    reads: &'static [&'static str],
    find: fn(&Config) -> Option<String>,
}

type Origins = BTreeMap<&'static str, Origin>;

/// Adds what is wrong, and what is merely odd. A rule that reads a wrong value says nothing.
pub(crate) fn check(
    config: &Config,
    origins: &Origins,
    bad: &BTreeSet<&'static str>,
    mistakes: &mut Vec<Mistake>,
    warnings: &mut Vec<String>,
) {
    let found = |rules: &'static [Rule]| {
        rules
            .iter()
            .filter(|rule| !rule.reads.iter().any(|key| bad.contains(key)))
            .filter_map(|rule| Some((rule.reads.first().copied()?, (rule.find)(config)?)))
    };
    for (key, message) in found(REFUSED) {
        let origin = origins.get(key).filter(|origin| **origin != Origin::Default).cloned();
        mistakes.push(Mistake::new(origin, Some(key), message));
    }
    warnings.extend(found(ODD).map(|(_, message)| message));
}

const REFUSED: &[Rule] = &[
    Rule {
        reads: &["server.host", "server.allow_unauthenticated", "auth.enabled", "auth.tokens"],
        find: |config| {
            let guarded = config.auth.enabled && !config.auth.tokens.is_empty();
            let open = !host::is_loopback(&config.server.host) && !guarded && !config.server.allow_unauthenticated;
            open.then(|| {
                format!(
                    "server.host is \"{}\", which others can reach, and nothing asks who they are: set auth.enabled and \
                     auth.tokens, or server.allow_unauthenticated if something in front of conexusd authenticates",
                    config.server.host
                )
            })
        },
    },
    Rule {
        reads: &["auth.enabled", "auth.tokens"],
        find: |config| {
            (config.auth.enabled && config.auth.tokens.is_empty())
                .then(|| "auth.enabled is true, but auth.tokens is empty: nobody could get in".into())
        },
    },
    Rule {
        reads: &["embedding.provider", "embedding.model"],
        find: |config| {
            (config.embedding.provider == Provider::Openai && config.embedding.model.is_none())
                .then(|| "embedding.provider is openai: set embedding.model to the model to ask for".into())
        },
    },
    Rule {
        reads: &["embedding.provider", "embedding.base_url", "embedding.api_key"],
        find: |config| {
            let embedding = &config.embedding;
            let at_openai = embedding.base_url.as_ref().is_some_and(|url| url.as_str() == OPENAI_URL);
            (embedding.provider == Provider::Openai && at_openai && embedding.api_key.is_none()).then(|| {
                format!("embedding.provider is openai at {OPENAI_URL}, which needs a key: set embedding.api_key, or embedding.base_url")
            })
        },
    },
    Rule {
        reads: &["observability.tracing.endpoint", "observability.tracing.enabled", "observability.tracing.protocol"],
        find: |config| {
            let Tracing { enabled, endpoint, protocol, .. } = &config.observability.tracing;
            (*enabled && *protocol == TracingProtocol::Grpc && !endpoint.path().is_empty()).then(|| {
                format!(
                    "observability.tracing.endpoint is {endpoint}, but OTLP over gRPC has no path: leave out {}, or set \
                     observability.tracing.protocol to http",
                    endpoint.path()
                )
            })
        },
    },
    Rule {
        reads: &["observability.sentry.enabled", "observability.sentry.dsn"],
        find: |config| {
            let sentry = &config.observability.sentry;
            (sentry.enabled && sentry.dsn.is_none()).then(|| {
                "observability.sentry.enabled is true: set observability.sentry.dsn to where reports go".into()
            })
        },
    },
    Rule {
        reads: &[
            "observability.metrics.port",
            "observability.metrics.host",
            "observability.metrics.enabled",
            "server.host",
            "server.port",
        ],
        find: |config| {
            let metrics = &config.observability.metrics;
            let server = ("server.port", config.server.host.as_str(), config.server.port);
            let found = ("observability.metrics.port", metrics.host.as_str(), metrics.port);
            if metrics.enabled { clash(found, server) } else { None }
        },
    },
    Rule {
        reads: &["observability.debug.port", "observability.debug.enabled", "server.host", "server.port"],
        find: |config| {
            let server = ("server.port", config.server.host.as_str(), config.server.port);
            if config.observability.debug.enabled { clash(debug(config), server) } else { None }
        },
    },
    Rule {
        reads: &[
            "observability.debug.port",
            "observability.debug.enabled",
            "observability.metrics.enabled",
            "observability.metrics.host",
            "observability.metrics.port",
        ],
        find: |config| {
            let metrics = &config.observability.metrics;
            let found = ("observability.metrics.port", metrics.host.as_str(), metrics.port);
            if config.observability.debug.enabled && metrics.enabled { clash(debug(config), found) } else { None }
        },
    },
];

const ODD: &[Rule] = &[
    Rule {
        reads: &["observability.tracing.endpoint", "observability.tracing.enabled", "observability.tracing.protocol"],
        find: |config| {
            let Tracing { enabled, endpoint, protocol, .. } = &config.observability.tracing;
            let (here, other) = match protocol {
                TracingProtocol::Http => (4318, 4317),
                TracingProtocol::Grpc => (4317, 4318),
            };
            (*enabled && endpoint.port() == other).then(|| {
                format!(
                    "observability.tracing.endpoint is {endpoint}, and observability.tracing.protocol is {}: collectors take that \
                     on port {here} as a rule, and the other protocol on {other}",
                    protocol.as_str()
                )
            })
        },
    },
    Rule {
        reads: &["auth.tokens", "auth.enabled"],
        find: |config| {
            (!config.auth.enabled && !config.auth.tokens.is_empty())
                .then(|| "auth.tokens is set, but auth.enabled is false: no request is asked for a token".into())
        },
    },
    Rule {
        reads: &["embedding.provider", "embedding.base_url", "embedding.api_key"],
        find: |config| {
            let embedding = &config.embedding;
            let unused = embedding.base_url.is_some() || embedding.api_key.is_some();
            (embedding.provider == Provider::Static && unused)
                .then(|| "embedding.base_url and embedding.api_key are not used: embedding.provider is static".into())
        },
    },
    Rule {
        reads: &["embedding.api_key", "embedding.base_url", "embedding.provider"],
        find: |config| {
            let embedding = &config.embedding;
            let url = embedding.base_url.as_ref()?;
            let in_clear = !url.is_https() && !host::is_loopback(url.host());
            (embedding.provider == Provider::Openai && in_clear && embedding.api_key.is_some())
                .then(|| format!("embedding.api_key is sent unencrypted to {url}"))
        },
    },
];

/// Key, host and port of something that listens.
type Listener<'a> = (&'static str, &'a str, u16);

fn debug(config: &Config) -> Listener<'_> {
    ("observability.debug.port", "localhost", config.observability.debug.port)
}

fn clash((key, host, port): Listener<'_>, (other_key, other_host, other_port): Listener<'_>) -> Option<String> {
    (port != 0 && port == other_port && host::overlap(host, other_host)).then(|| {
        format!(
            "{key} and {other_key} are both {port} on the same address ({}, {}): choose another port for one of them",
            host::with_port(host, port),
            host::with_port(other_host, other_port)
        )
    })
}
