//! Sessions: clients that went through the handshake, so many at most.
//!
//! The library keeps sessions for as long as they are used and never counts them. Here the one that was used longest ago
//! makes room for a new one; its client is told to start again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, LocalSessionManagerError};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use tokio_stream::Stream;

/// Sessions at a time.
const SESSIONS_MAX: usize = 512;

/// How long a session lives without a message: longer than an agent's pause.
const IDLE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The sessions of one server.
pub(super) struct Sessions {
    inner: LocalSessionManager,
    used: Mutex<HashMap<SessionId, Instant>>,
}

impl Default for Sessions {
    fn default() -> Self {
        let mut inner = LocalSessionManager::default();
        inner.session_config.keep_alive = Some(IDLE_MAX);
        inner.session_config.init_timeout = Some(Duration::from_secs(20));
        Self { inner, used: Mutex::default() }
    }
}

impl Sessions {
    fn touch(&self, id: &SessionId) {
        if let Some(used) = self.used().get_mut(id) {
            *used = Instant::now();
        }
    }

    fn used(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Instant>> {
        self.used.lock().expect("nothing panics while it holds the sessions")
    }

    /// The session to end so that there is room for another.
    fn surplus(&self) -> Option<SessionId> {
        let mut used = self.used();
        if used.len() < SESSIONS_MAX {
            return None;
        }
        let oldest = used.iter().min_by_key(|(_, used)| **used).map(|(id, _)| id.clone())?;
        used.remove(&oldest);
        Some(oldest)
    }
}

type SessionResult<T> = Result<T, LocalSessionManagerError>;

impl SessionManager for Sessions {
    type Error = LocalSessionManagerError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> SessionResult<(SessionId, Self::Transport)> {
        if let Some(id) = self.surplus() {
            tracing::warn!(
                sessions = SESSIONS_MAX,
                "ended the MCP session that was used longest ago: there are too many"
            );
            self.inner.close_session(&id).await?;
        }
        let (id, transport) = self.inner.create_session().await?;
        self.used().insert(id.clone(), Instant::now());
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> SessionResult<ServerJsonRpcMessage> {
        self.inner.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> SessionResult<bool> {
        self.touch(id);
        self.inner.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> SessionResult<()> {
        self.used().remove(id);
        self.inner.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> SessionResult<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        self.inner.create_stream(id, message).await
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> SessionResult<()> {
        self.inner.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> SessionResult<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        self.inner.create_standalone_stream(id).await
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> SessionResult<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        self.inner.resume(id, last_event_id).await
    }
}
