//! HTTP: the endpoint that profiles are fetched from.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::{cpu, heap};

/// How long a CPU profile may take.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=300;
const SECONDS_DEFAULT: u64 = 30;

const INDEX: &str = "\
/debug/pprof/profile?seconds=30   CPU time of all threads over the next seconds
/debug/pprof/heap                 memory in use, by who allocated it

go tool pprof http://HOST/debug/pprof/profile?seconds=30
";

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The port cannot be listened at.
    #[error("observability.debug.port: cannot listen at {address}: {source}")]
    Bind {
        /// Loopback and the port.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// The open endpoint; closed when dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    /// Why there are no heap profiles, where there are none.
    without_heap: Option<String>,
    server: JoinHandle<()>,
}

impl Endpoint {
    /// Opens the endpoint at a port of loopback, 0 for any that is free, and begins to sample the heap. Needs a tokio runtime.
    pub async fn open(port: u16) -> Result<Self, ProfileError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let bind = |source| ProfileError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let without_heap = heap::activate().err();
        let one_at_a_time = Arc::new(Semaphore::new(1));
        let router = Router::new()
            .route("/debug/pprof/", get(INDEX))
            .route("/debug/pprof/profile", get(profile))
            .route("/debug/pprof/heap", get(heap_profile))
            .layer(from_fn(local_only))
            .with_state(one_at_a_time);
        let server = tokio::spawn(async move {
            // It ends with the process or when the endpoint is dropped; a listener on loopback does not fail.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, without_heap, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why there are no heap profiles, where there are none.
    pub fn without_heap(&self) -> Option<&str> {
        self.without_heap.as_deref()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(serde::Deserialize)]
struct Asked {
    seconds: Option<String>,
}

async fn profile(State(turn): State<Arc<Semaphore>>, Query(asked): Query<Asked>) -> Response {
    let seconds = match asked.seconds.as_deref().map_or(Ok(SECONDS_DEFAULT), str::parse) {
        Ok(seconds) if SECONDS.contains(&seconds) => seconds,
        _ => {
            let text =
                format!("seconds is {:?}: {} to {} are allowed\n", asked.seconds, SECONDS.start(), SECONDS.end());
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    answer(turn, "profile.pb.gz", move || cpu::sample(Duration::from_secs(seconds))).await
}

async fn heap_profile(State(turn): State<Arc<Semaphore>>) -> Response {
    answer(turn, "heap.pb.gz", heap::dump).await
}

/// Makes a profile on a thread of its own, one at a time: samples of two would mix.
async fn answer(
    turn: Arc<Semaphore>,
    file: &str,
    make: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
) -> Response {
    let Ok(turn) = turn.try_acquire_owned() else {
        return (StatusCode::TOO_MANY_REQUESTS, "another profile is being taken: try again when it is done\n")
            .into_response();
    };
    let made = tokio::task::spawn_blocking(move || {
        let made = make();
        drop(turn);
        made
    });
    match made.await.unwrap_or_else(|_| Err("taking the profile panicked".to_owned())) {
        Ok(body) => {
            let disposition = format!("attachment; filename=\"{file}\"");
            let headers =
                [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_DISPOSITION, &disposition)];
            (headers, body).into_response()
        }
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")).into_response(),
    }
}

/// A page in a browser must not reach it through a name that was made to point here.
async fn local_only(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]") && !headers.contains_key(header::ORIGIN) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "only from this machine, by its address or as localhost\n").into_response()
}
