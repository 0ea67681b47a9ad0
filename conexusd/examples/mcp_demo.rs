//! Demo: MCP over the real index, for trying clients by hand until the command line exists. `mcp_demo ROOT DB [PORT]`.
use std::sync::Arc;
use std::time::Instant;

use conexusd::app::{Indexer, Indexing, Job, Services};
use conexusd::index::embed::{EmbedderOptions, StaticOptions, build};
use conexusd::index::{Index, IndexOptions};
use conexusd::mcp::http::{AccessToken, HttpOptions, bind};
use conexusd::mcp::server::Server;
use conexusd::mcp::stream;
use conexusd::root::Root;
use conexusd::search::{Options, SearchEngine};
use conexusd::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let telemetry = Telemetry::detached();
    let embedder = build(EmbedderOptions::Static(StaticOptions::default()), telemetry.clone())?;
    let index = Index::open(IndexOptions::new(args[1].as_ref(), args[2].as_ref())?, embedder.clone(), telemetry.clone())?;
    let search = SearchEngine::new(Options::default(), index.current(), embedder, telemetry.clone());
    let services = Services {
        root: Root::new(index.root())?,
        filter: index.filter().clone(),
        search: Arc::new(search),
        index: Arc::new(Indexer::new(index)),
        telemetry,
        top_k: 20,
        max_tokens: None,
        grep: Default::default(),
        started: Instant::now(),
    };
    services.index.start(Job::Changed)?;
    let server = Server::new(Arc::new(services));
    let runtime = tokio::runtime::Runtime::new()?;
    let stop = CancellationToken::new();
    runtime.block_on(async {
        let on_signal = stop.clone();
        tokio::spawn(async move {
            let _ = tokio::signal::ctrl_c().await;
            on_signal.cancel();
        });
        match args.get(3) {
            None => {
                let (read, write) = rmcp::transport::stdio_pipes();
                let end = stream::serve(server, read, write, stop).await;
                eprintln!("ended: {end:?}");
            }
            Some(port) => {
                let bound = bind("127.0.0.1", port.parse().expect("a port")).await.expect("bound");
                eprintln!("listening on {}", bound.address());
                let tokens = std::env::var("DEMO_TOKEN").ok();
                let options = HttpOptions {
                    allowed_hosts: vec!["localhost".into()],
                    allowed_origins: Vec::new(),
                    tokens: tokens.map(|secret| vec![AccessToken { name: "demo".into(), secret }]),
                };
                bound.serve(server, &options, stop).await;
            }
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    Ok(())
}
