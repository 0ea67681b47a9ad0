//! Wiring: the one place that joins the parts of conexusd.
//!
//! ```text
//! config → embedder → index ─┬─ searching ─┐
//!                            ├─ indexing ──┼─ services → MCP: HTTP, control socket, a pipe in memory
//!                            └─ watcher    ┘
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use conexus_config::Config;
use conexus_config::settings::{Provider, SearchMethod};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{Indexer, Indexing as _, Job, Services};
use crate::grep::GrepLimits;
use crate::index::embed::{self, Embedder, EmbedderOptions, OpenAiOptions, StaticOptions};
use crate::index::watch::Watcher;
use crate::index::{Index, IndexError, IndexOptions, folder};
use crate::mcp;
use crate::mcp::server::Server;
use crate::owner::BoxedStream;
use crate::owner::socket::Control;
use crate::root::Root;
use crate::search::{Method, Options, SearchEngine};
use crate::telemetry::Telemetry;

/// How long a run may take to notice that it should stop.
const RUN_STOPS_WITHIN: Duration = Duration::from_millis(1500);

/// Bytes of a pipe in memory, each way.
const PIPE_BYTES: usize = 1 << 20;

/// An index that this process owns, and everything that answers from it.
pub struct App {
    server: Server,
    folder: PathBuf,
    indexing: Arc<Indexer>,
    watcher: Option<Watcher>,
    stop: CancellationToken,
    control: Option<JoinHandle<()>>,
}

/// The folder that is indexed, as an absolute path without symlinks.
pub fn root(config: &Config) -> Result<PathBuf, String> {
    folder::resolve_root(&config.indexer.root_path).map_err(|error| format!("indexer.root_path: {error}"))
}

/// Where the index of a root is.
pub fn folder(config: &Config, root: &Path) -> PathBuf {
    config.database.path.join(folder::folder_name(root))
}

/// The embedder that the configuration asks for.
pub fn embedder(config: &Config, telemetry: &Telemetry) -> Result<Arc<dyn Embedder>, String> {
    let embedding = &config.embedding;
    let options = match embedding.provider {
        Provider::Static => EmbedderOptions::Static(StaticOptions {
            model: embedding.model.as_ref().map(PathBuf::from),
            dimensions: embedding.dimensions,
            batch_size: embedding.batch_size,
        }),
        Provider::Openai => EmbedderOptions::OpenAi(OpenAiOptions {
            base_url: embedding.base_url.as_ref().map(ToString::to_string).unwrap_or_default(),
            model: embedding.model.clone().unwrap_or_default(),
            api_key: embedding.api_key.as_ref().map(|key| key.expose().to_owned()),
            dimensions: embedding.dimensions,
            timeout: embedding.timeout,
            max_retries: embedding.max_retries,
            batch_size: embedding.batch_size,
        }),
    };
    embed::build(options, telemetry.clone()).map_err(|error| error.to_string())
}

/// What orders are made from, as configured.
pub fn method(configured: SearchMethod) -> Method {
    match configured {
        SearchMethod::Full => Method::Full,
        SearchMethod::FullWithoutVectors => Method::FullWithoutVectors,
        SearchMethod::Fused => Method::Fused,
        SearchMethod::Words => Method::Words,
        SearchMethod::Vectors => Method::Vectors,
    }
}

impl App {
    /// Becomes the owner of the configured root's index.
    pub fn open(config: &Config, telemetry: &Telemetry) -> Result<Self, IndexError> {
        let root = root(config).map_err(IndexError::Root)?;
        let embedder = embedder(config, telemetry).map_err(IndexError::Options)?;
        let indexer = &config.indexer;
        let options = IndexOptions {
            workers: indexer.workers,
            include: indexer.include.clone(),
            ignore: indexer.ignore.clone(),
            max_file_size: indexer.max_file_size,
            embedding_cache: config.embedding.cache_size,
            reuse_vectors: config.embedding.persistent_cache,
            ..IndexOptions::new(&root, &config.database.path)?
        };
        let (root, folder) = (options.root.clone(), options.folder.clone());
        let index = Index::open(options, Arc::clone(&embedder), telemetry.clone())?;
        let search = Options {
            cache_entries: config.search.cache_entries,
            max_tokens: config.search.max_tokens,
            method: method(config.search.method),
        };
        let engine = SearchEngine::new(search, index.current(), embedder, telemetry.clone());
        let indexing = Arc::new(Indexer::new(Arc::clone(&index)));
        let services = Arc::new(Services {
            root: Root::new(&root).map_err(|error| IndexError::Root(error.to_string()))?,
            filter: index.filter().clone(),
            search: Arc::new(engine),
            index: indexing.clone(),
            telemetry: telemetry.clone(),
            top_k: config.search.top_k,
            max_tokens: config.search.max_tokens,
            grep: GrepLimits::default(),
            started: Instant::now(),
        });
        let server = Server::new(services);
        Ok(Self { server, folder, indexing, watcher: None, stop: CancellationToken::new(), control: None })
    }

    /// The dispatcher behind every transport.
    pub fn server(&self) -> Server {
        self.server.clone()
    }

    /// Cancelled when this process gives up the index.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Lets other processes of this user in, through the control socket. Needs a tokio runtime.
    pub fn listen(&mut self) -> std::io::Result<()> {
        let control = Control::bind(&self.folder)?;
        let (server, stop) = (self.server(), self.stop.clone());
        self.control = Some(tokio::spawn(async move {
            while let Some(accepted) = stop.run_until_cancelled(control.accept()).await {
                match accepted {
                    Ok(stream) => serve(server.clone(), stream, stop.child_token()),
                    Err(error) => {
                        tracing::warn!(%error, "the control socket accepts no connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }));
        Ok(())
    }

    /// An MCP connection to this process itself. Needs a tokio runtime.
    pub fn connect(&self) -> BoxedStream {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        serve(self.server(), far, self.stop.child_token());
        Box::new(near)
    }

    /// Brings the index up to date, and keeps it so if `watch`.
    pub fn keep_fresh(&mut self, watch: bool) {
        if let Err(error) = self.indexing.start(Job::Changed) {
            tracing::error!(%error, "indexer cannot start");
        }
        if watch {
            match Watcher::start(self.indexing.index()) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => tracing::warn!(%error, "indexer cannot watch the files: changes are seen by runs only"),
            }
        }
    }

    /// Stops what runs and gives up the index; what is committed stays.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Some(control) = self.control.take() {
            let _ = control.await;
        }
        let indexing = Arc::clone(&self.indexing);
        let watcher = self.watcher.take();
        let stopped = tokio::task::spawn_blocking(move || {
            drop(watcher);
            indexing.stop();
            let until = Instant::now() + RUN_STOPS_WITHIN;
            while indexing.status().running && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            !indexing.status().running
        });
        if !stopped.await.unwrap_or(false) {
            tracing::warn!("indexer is still committing: the rest is done at the next start");
        }
    }
}

fn serve(
    server: Server,
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
    stop: CancellationToken,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (reader, writer) = (Box::pin(reader), Box::pin(writer));
    tokio::spawn(async move {
        if let Err(error) = mcp::stream::serve(server, reader, writer, stop).await {
            tracing::debug!(%error, "an MCP connection ended");
        }
    });
}
