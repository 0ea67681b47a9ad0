//! Settings: every key that can be set, once, with its type, bounds, default and words.
//!
//! The file, the environment, the flags, the default file, the schema and the reference are all driven by this table.

use std::path::PathBuf;
use std::time::Duration;

use crate::key::DefaultValue::{Derived, Is, Unset};
use crate::key::{Key, Kind, Section};
use crate::secret::{Secret, Token};
use crate::url::{Dsn, HttpUrl};
use crate::value::{Value, Values};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const MINUTE_MS: u64 = 60_000;

pub(crate) const OPENAI_URL: &str = "https://api.openai.com/v1";
const OTLP_HTTP_URL: &str = "http://localhost:4318";
const OTLP_GRPC_URL: &str = "http://localhost:4317";

/// Makes the typed sections and the table of keys from one description. `with` names the sub-sections.
macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])+
        $Section:ident at $path:literal {
            $( $(#[doc = $doc:literal])+ $field:ident: $ty:ty = $kind:expr, $default:expr $(, $extra:ident $text:literal)*; )*
        } $( with { $( $(#[doc = $sub_doc:literal])+ $sub:ident: $Sub:ident; )+ } )?
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $field: $ty, )*
                $( $( $(#[doc = $sub_doc])+ pub $sub: $Sub, )+ )?
            }

            impl $Section {
                fn from_values(values: &Values) -> Self {
                    Self {
                        $( $field: values.field(concat!($path, ".", stringify!($field))), )*
                        $( $( $sub: $Sub::from_values(values), )+ )?
                    }
                }
            }
        )+

        /// Every section in the order of the file, each with its own keys.
        pub(crate) const SECTIONS: &[Section] = &[ $( Section {
            path: $path,
            doc: concat!($($section_doc),+),
            keys: &[ $(
                Key::new(concat!($path, ".", stringify!($field)), concat!($($doc),+), $kind, $default) $( .$extra($text) )*
            ),* ],
        } ),+ ];
    };
}

/// Makes an enum of the words that a key takes.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ $Name:ident { $( $(#[doc = $word_doc:literal])+ $Word:ident = $text:literal ),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $Name { $( $(#[doc = $word_doc])+ $Word ),+ }

        impl $Name {
            /// Every word, in order.
            pub const WORDS: &[&str] = &[$($text),+];

            /// The word as it is written in the file.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$Word => $text ),+ }
            }

            /// The value for a word, if it is one of [`Self::WORDS`].
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $( $text => Some(Self::$Word), )+ _ => None }
            }
        }

        impl crate::value::Field for $Name {
            fn from_value(value: &Value) -> Option<Self> {
                match value { Value::Text(word) => Self::from_word(word), _ => None }
            }
        }
    };
}

choice! {
    /// Who turns text into vectors.
    Provider {
        /// The model that ships with the program.
        Static = "static",
        /// Any endpoint that speaks OpenAI's embeddings API.
        Openai = "openai",
    }
}

choice! {
    /// The lowest level that is logged.
    LogLevel {
        /// Everything, for finding a fault.
        Debug = "debug",
        /// What happened.
        Info = "info",
        /// What may need a look.
        Warn = "warn",
        /// What went wrong.
        Error = "error",
    }
}

choice! {
    /// What a search's order is made from.
    SearchMethod {
        /// Words and vectors, fused, then ranked by all evidence.
        Full = "full",
        /// The same without vectors.
        FullWithoutVectors = "full_without_vectors",
        /// Words and vectors, fused by their ranks alone.
        Fused = "fused",
        /// BM25 alone.
        Words = "words",
        /// Vectors alone.
        Vectors = "vectors",
    }
}

choice! {
    /// How a log line is written.
    LogFormat {
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Text = "text",
    }
}

choice! {
    /// How often a new log file is begun.
    LogRotation {
        /// At midnight UTC.
        Daily = "daily",
        /// On the hour.
        Hourly = "hourly",
    }
}

choice! {
    /// How spans travel to the collector.
    TracingProtocol {
        /// OTLP over HTTP with protobuf bodies.
        Http = "http",
        /// OTLP over gRPC.
        Grpc = "grpc",
    }
}

/// A TCP port to listen on; 0 lets the system choose.
const PORT: Kind = Kind::Integer { min: 0, max: 65_535 };

settings! {
    /// Where clients reach conexusd over HTTP.
    Server at "server" {
        /// Address that the MCP and health endpoints bind. Anything but loopback needs `auth.enabled` with tokens, or
        /// `server.allow_unauthenticated`.
        host: String = Kind::Host, Is("127.0.0.1"), short_env "CONEXUS_HOST";
        /// Port of the MCP and health endpoints; 0 takes any free port.
        port: u16 = PORT, Is("8080"), short_env "CONEXUS_PORT";
        /// Values of the `Host` header that are served. `localhost` stands for 127.0.0.1 and ::1 as well. An entry
        /// without a port matches every port.
        allowed_hosts: Vec<String> = Kind::Hosts, Is("localhost");
        /// Browser origins that may call the MCP endpoint besides its own; a request with another `Origin` header is refused.
        allowed_origins: Vec<String> = Kind::Origins, Is("");
        /// Serve without authentication off loopback, because something in front of conexusd authenticates.
        allow_unauthenticated: bool = Kind::Switch, Is("false");
    }

    /// Where the index is kept.
    Database at "database" {
        /// Folder that holds one sub-folder for each indexed root.
        path: PathBuf = Kind::Path, Derived("`$XDG_DATA_HOME/conexus`, else `~/.local/share/conexus`", |s| {
            s.paths.data_dir().map(Value::Path).map(Some)
        }), short_env "CONEXUS_DB_PATH", example "/var/lib/conexus";
    }

    /// What is indexed, and how.
    Indexer at "indexer" {
        /// Folder to index. A relative one is relative to the working directory of the process.
        root_path: PathBuf = Kind::WorkingPath, Is("."), short_env "CONEXUS_ROOT_PATH";
        /// Threads that read, chunk and embed files.
        workers: usize = Kind::Integer { min: 1, max: 1024 }, Derived("the number of CPU cores", |s| {
            Ok(Some(Value::Integer(s.cores.clamp(1, 1024) as u64)))
        }), example "4";
        /// Index only files that match one of these globs; with none, every file.
        include: Vec<String> = Kind::Globs, Is("");
        /// Skip files that match one of these globs, besides what .conexusignore and, in a git repository, .gitignore name.
        ignore: Vec<String> = Kind::Globs, Is("");
        /// Skip files larger than this.
        max_file_size: u64 = Kind::Bytes { min: 1, max: GIB }, Is("1 MiB");
        /// Follow changes of the files while serving.
        watch: bool = Kind::Switch, Is("true");
    }

    /// How text becomes vectors.
    Embedding at "embedding" {
        /// `static` is the model that ships with the program and needs no network; `openai` is any endpoint that
        /// speaks OpenAI's embeddings API.
        provider: Provider = Kind::Choice(Provider::WORDS), Is("static");
        /// Model to ask the endpoint for. Required with `provider: openai`.
        model: Option<String> = Kind::Text { max_bytes: 256 }, Unset, example "text-embedding-3-small";
        /// Numbers in a vector. Asked of the endpoint, and checked against what it answers.
        dimensions: Option<usize> = Kind::Integer { min: 1, max: 16_384 }, Unset, example "1536";
        /// Address of the endpoint, up to where `/embeddings` follows.
        base_url: Option<HttpUrl> = Kind::Url, Derived("none, or `https://api.openai.com/v1` with `provider: openai`", |s| {
            let openai = s.values.is_word("embedding.provider", Provider::Openai.as_str());
            Ok(openai.then(|| Value::Url(HttpUrl::known(OPENAI_URL))))
        }), example "http://localhost:11434/v1";
        /// Key that is sent to the endpoint. Better set in the environment than in a file.
        api_key: Option<Secret> = Kind::Secret, Unset, example "your-api-key";
        /// How long one request to the endpoint may take.
        timeout: Duration = Kind::Time { min_ms: 1, max_ms: 60 * MINUTE_MS }, Is("30s");
        /// Retries of a request that failed for a passing reason.
        max_retries: u32 = Kind::Integer { min: 0, max: 20 }, Is("3");
        /// Chunks in one request.
        batch_size: usize = Kind::Integer { min: 1, max: 2_048 }, Is("64");
        /// Vectors kept in memory for texts seen before; 0 keeps none.
        cache_size: usize = Kind::Integer { min: 0, max: 100_000_000 }, Is("100000");
        /// Reuse the vectors that the index holds. Without it a changed or rebuilt file is embedded whole, but for what is in memory.
        persistent_cache: bool = Kind::Switch, Is("true");
    }

    /// What a search answers.
    Search at "search" {
        /// Results of a search that does not say how many.
        top_k: usize = Kind::Integer { min: 1, max: 100 }, Is("20");
        /// Answers kept in memory until the index moves; 0 keeps none.
        cache_entries: usize = Kind::Integer { min: 0, max: 1_000_000 }, Is("1000");
        /// The most tokens that one answer may hold; without it an answer is as long as its results.
        max_tokens: Option<usize> = Kind::Integer { min: 100, max: 1_000_000 }, Unset, example "8000";
        /// What the order is made from: `full` is best; the others leave parts out, to see what each is worth.
        method: SearchMethod = Kind::Choice(SearchMethod::WORDS), Is("full");
    }

    /// Who may call the MCP endpoint over HTTP.
    Auth at "auth" {
        /// Ask every MCP request over HTTP for a bearer token.
        enabled: bool = Kind::Switch, Is("false");
        /// Tokens that are accepted, each with the name of who uses it. In the file an item is `name:token` or a
        /// mapping of `name` and `token`. Better set in the environment than in a file.
        tokens: Vec<Token> = Kind::Tokens, Is("");
    }

    /// What is logged, measured, traced and reported.
    Observability at "observability" {
        /// The lowest level that is logged. SIGHUP rereads it.
        log_level: LogLevel = Kind::Choice(LogLevel::WORDS), Is("info");
        /// `json` is one object a line; `text` is for people.
        log_format: LogFormat = Kind::Choice(LogFormat::WORDS), Is("json");
        /// Folder of the log files that the sidecar writes.
        log_dir: PathBuf = Kind::Path, Derived("`$XDG_STATE_HOME/conexus`, else `~/.local/state/conexus`", |s| {
            s.paths.state_dir().map(Value::Path).map(Some)
        }), example "/var/log/conexus";
        /// When a new log file is begun.
        log_rotation: LogRotation = Kind::Choice(LogRotation::WORDS), Is("daily");
        /// Log files that are kept.
        log_max_files: usize = Kind::Integer { min: 1, max: 10_000 }, Is("14");
        /// Size of all kept log files together.
        log_max_bytes: u64 = Kind::Bytes { min: MIB, max: 64 * TIB }, Is("1 GiB");
    } with {
        /// Prometheus metrics.
        metrics: Metrics;
        /// OTLP traces.
        tracing: Tracing;
        /// Error reports.
        sentry: Sentry;
        /// The channel between the two processes.
        telemetry: Telemetry;
        /// Profiles.
        debug: Debug;
    }

    /// Prometheus metrics, served by the sidecar.
    Metrics at "observability.metrics" {
        /// Serve the metrics endpoint.
        enabled: bool = Kind::Switch, Is("true");
        /// Address that the metrics and the sidecar's health endpoints bind.
        host: String = Kind::Host, Is("127.0.0.1");
        /// Port of the metrics and the sidecar's health endpoints; 0 takes any free port.
        port: u16 = PORT, Is("9091");
        /// Path of the metrics endpoint.
        path: String = Kind::UrlPath, Is("/metrics");
        /// Also serve the `go_*` names, for dashboards written for the Go server.
        go_compat: bool = Kind::Switch, Is("true");
    }

    /// Traces, exported by the sidecar over OTLP.
    Tracing at "observability.tracing" {
        /// Export traces.
        enabled: bool = Kind::Switch, Is("false");
        /// Address of the collector. Over HTTP, `/v1/traces` is added to it.
        endpoint: HttpUrl = Kind::Url, Derived("`http://localhost:4318`, or `http://localhost:4317` with `protocol: grpc`", |s| {
            let grpc = s.values.is_word("observability.tracing.protocol", TracingProtocol::Grpc.as_str());
            Ok(Some(Value::Url(HttpUrl::known(if grpc { OTLP_GRPC_URL } else { OTLP_HTTP_URL }))))
        }), example "http://localhost:4318";
        /// How spans travel: OTLP over HTTP or over gRPC.
        protocol: TracingProtocol = Kind::Choice(TracingProtocol::WORDS), Is("http");
        /// Share of traces that are kept by chance. Errors and slow requests are always kept.
        sample_rate: f64 = Kind::Ratio, Is("1.0");
        /// An MCP request that takes longer than this is always kept.
        slow_threshold: Duration = Kind::Time { min_ms: 0, max_ms: 60 * MINUTE_MS }, Is("1s");
    }

    /// Error reports, sent by the sidecar to Sentry.
    Sentry at "observability.sentry" {
        /// Send error reports.
        enabled: bool = Kind::Switch, Is("false");
        /// Where reports go. Required with `enabled: true`.
        dsn: Option<Dsn> = Kind::Dsn, Unset, example "https://your-key@sentry.example.com/1";
        /// Environment that reports carry.
        environment: String = Kind::Text { max_bytes: 64 }, Is("development");
        /// Release that reports carry.
        release: String = Kind::Text { max_bytes: 200 }, Derived("the version of the program", |_| {
            Ok(Some(Value::Text(env!("CARGO_PKG_VERSION").to_owned())))
        }), example "v1.0.0";
        /// Share of errors that are reported. Crashes always are.
        sample_rate: f64 = Kind::Ratio, Is("1.0");
        /// Share of tool calls that are sent as transactions.
        traces_sample_rate: f64 = Kind::Ratio, Is("1.0");
    }

    /// The channel from conexusd to the sidecar, and what each keeps while the other is away.
    Telemetry at "observability.telemetry" {
        /// Unix socket on which the sidecar listens.
        socket: PathBuf = Kind::SocketPath, Derived(
            "`$XDG_RUNTIME_DIR/conexus/telemetry.sock`, else `conexus-UID/telemetry.sock` in the temp folder",
            |s| Ok(Some(Value::Path(s.paths.telemetry_socket()))),
        ), example "/run/conexus/telemetry.sock";
        /// Spans and log lines that each thread of conexusd can hold before the newest are dropped.
        ring_records: usize = Kind::Integer { min: 64, max: 1 << 24 }, Is("16384");
        /// Batches that conexusd keeps until the sidecar has acknowledged them.
        unsent_max_bytes: u64 = Kind::Bytes { min: 64 * KIB, max: 64 * GIB }, Is("16 MiB");
        /// What the sidecar keeps on disk until an exporter is reachable again.
        spool_max_bytes: u64 = Kind::Bytes { min: MIB, max: 64 * TIB }, Is("64 MiB");
        /// Folder in which the sidecar keeps its counters and its spool.
        state_dir: PathBuf = Kind::Path, Derived("`$XDG_STATE_HOME/conexus`, else `~/.local/state/conexus`", |s| {
            s.paths.state_dir().map(Value::Path).map(Some)
        }), example "/var/lib/conexus-sidecar";
    }

    /// Profiles for a fault hunt, on loopback only.
    Debug at "observability.debug" {
        /// Serve CPU and heap profiles in pprof's format.
        enabled: bool = Kind::Switch, Is("false");
        /// Port of conexusd's profiles on loopback, the next one is the sidecar's; 0 takes any free port.
        port: u16 = PORT, Is("6060");
    }
}

/// Everything that can be set, valid as a whole. Fields are named like the keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients reach conexusd over HTTP.
    pub server: Server,
    /// Where the index is kept.
    pub database: Database,
    /// What is indexed, and how.
    pub indexer: Indexer,
    /// How text becomes vectors.
    pub embedding: Embedding,
    /// What a search answers.
    pub search: Search,
    /// Who may call the MCP endpoint over HTTP.
    pub auth: Auth,
    /// What is logged, measured, traced and reported.
    pub observability: Observability,
}

impl Config {
    pub(crate) fn from_values(values: &Values) -> Self {
        Config {
            server: Server::from_values(values),
            database: Database::from_values(values),
            indexer: Indexer::from_values(values),
            embedding: Embedding::from_values(values),
            search: Search::from_values(values),
            auth: Auth::from_values(values),
            observability: Observability::from_values(values),
        }
    }
}

impl Server {
    /// What to hand to a listener: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
    pub fn listen_address(&self) -> String {
        crate::parse::host::with_port(&self.host, self.port)
    }

    /// The `Host` values to serve, with `localhost` spelled out as `localhost`, `127.0.0.1` and `::1`.
    pub fn allowed_hosts_expanded(&self) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::new();
        for host in &self.allowed_hosts {
            let (name, port) = crate::parse::host::split_port(host);
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let names: Vec<String> = match name.eq_ignore_ascii_case("localhost") {
                true if port.is_empty() => vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
                true => ["localhost", "127.0.0.1", "[::1]"].iter().map(|name| format!("{name}{port}")).collect(),
                false => vec![host.clone()],
            };
            hosts.extend(names.into_iter().filter(|name| !hosts.contains(name)).collect::<Vec<_>>());
        }
        hosts
    }
}

impl Metrics {
    /// What to hand to a listener: `127.0.0.1:9091`, `[::1]:9091`, `localhost:9091`.
    pub fn listen_address(&self) -> String {
        crate::parse::host::with_port(&self.host, self.port)
    }
}

/// Every key, in the order of the file.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

pub(crate) fn key(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}
