//! Server: the one dispatcher behind every transport.
//!
//! Each method is taken up, traced, answered and ended here, in that order; what the answer is, tools and resources know.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conexus_proto::facts::Method;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, DiscoverResult, Implementation, InitializeRequestParams, InitializeResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProgressToken, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ErrorData, Peer, RoleServer, ServerHandler};
use tokio::sync::Semaphore;

use super::error::{PANICKED, without_secrets};
use super::request::{Asked, Desk, Ending, Request};
use super::tools::Call;
use super::{GREPS_MAX, REQUESTS_MAX, resources, tools};
use crate::app::Services;
use crate::telemetry::AttributeValue;

const INSTRUCTIONS: &str = "Conexus indexes a codebase. Start with context_search (plain language, identifiers, error \
messages) to find where something is; use context_grep for every occurrence of an exact text or pattern; read whole files \
as engine://file/{path}. Paths are relative to the indexed root.";

/// Answers MCP requests, from any number of connections. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    services: Arc<Services>,
    desk: Desk,
    tools: Arc<Vec<Tool>>,
    greps: Arc<Semaphore>,
}

impl Server {
    /// A server for one root.
    pub fn new(services: Arc<Services>) -> Self {
        let desk = Desk::new(services.telemetry.clone(), REQUESTS_MAX);
        let tools = Arc::new(tools::all(services.top_k));
        Self { services, desk, tools, greps: Arc::new(Semaphore::new(GREPS_MAX)) }
    }

    /// The program's parts.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Where requests are taken up.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Takes a request up and begins its trace. `name` is the MCP method, `method` what it is counted as.
    fn begin(
        &self,
        method: Method,
        name: &'static str,
        context: &RequestContext<RoleServer>,
    ) -> Result<(Request, Call), ErrorData> {
        let request = match taken_up(context) {
            Some(request) => request,
            None => self.desk.take(Asked::new(method, name, Some(context.id.clone())))?,
        };
        let progress = context.meta.get_progress_token().map(|token| Progress::new(context.peer.clone(), token));
        let trace = request.trace();
        let mut call = Call::new(self.services.clone(), context.ct.clone(), progress, self.greps.clone(), trace);
        call.cache = context.meta.get("conexus/cache") != Some(&serde_json::Value::Bool(false));
        Ok((request, call))
    }
}

/// The request as the transport took it up.
fn taken_up(context: &RequestContext<RoleServer>) -> Option<Request> {
    let direct = context.extensions.get::<Request>();
    let over_http = || context.extensions.get::<axum::http::request::Parts>()?.extensions.get::<Request>();
    direct.or_else(over_http).cloned()
}

/// Ends a request whose answer is a result or a protocol error. `results` counts what is in the answer.
fn end<T>(
    request: &Request,
    call: Call,
    outcome: Result<T, ErrorData>,
    results: impl FnOnce(&T) -> Option<usize>,
) -> Result<T, ErrorData> {
    let ending = match &outcome {
        Ok(answer) => Ending::well(results(answer)),
        Err(error) => Ending::refused(error),
    };
    request.end(ending, call.into_trace());
    outcome.map_err(without_secrets)
}

/// Runs to the end, even if that is a panic: without an answer the client would wait for ever.
async fn guarded<T>(work: impl Future<Output = Result<T, ErrorData>>) -> Result<T, ErrorData> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)))
            .unwrap_or_else(|_| std::task::Poll::Ready(Err(ErrorData::internal_error(PANICKED, None))))
    })
    .await
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        let implementation = Implementation::new("conexus", env!("CARGO_PKG_VERSION"))
            .with_title("Conexus")
            .with_description("Search over an indexed codebase");
        ServerConfig::new(capabilities).with_server_info(implementation).with_instructions(INSTRUCTIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let name = tools::canonical(name)?;
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn initialize(
        &self,
        params: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let (request, call) = self.begin(Method::Initialize, "initialize", &context)?;
        context.peer.set_peer_info(params.clone());
        end(&request, call, self.negotiate_initialize(&params), |_| None)
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let (request, call) = self.begin(Method::Discover, "server/discover", &context)?;
        let versions = self.supported_protocol_versions().into_owned();
        end(&request, call, Ok(DiscoverResult::from_server_info(versions, self.get_info())), |_| None)
    }

    async fn ping(&self, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        let (request, call) = self.begin(Method::Ping, "ping", &context)?;
        end(&request, call, Ok(()), |()| None)
    }

    async fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (request, call) = self.begin(Method::ToolsList, "tools/list", &context)?;
        let outcome = match params.and_then(|params| params.cursor) {
            None => Ok(ListToolsResult::with_all_items(self.tools.to_vec())),
            Some(_) => Err(ErrorData::invalid_params("cursor: tools/list has one page, so there is no cursor", None)),
        };
        end(&request, call, outcome, |list| Some(list.tools.len()))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let (request, mut call) = self.begin(tools::method(&params.name), "tools/call", &context)?;
        let Some(tool) = tools::canonical(&params.name) else {
            let name: String = params.name.chars().take(100).collect();
            let message = format!("unknown tool `{name}`; the tools are {}", tools::names());
            return end(&request, call, Err(ErrorData::invalid_params(message, None)), |_| None);
        };
        call.note("gen_ai.operation.name", AttributeValue::Static("execute_tool"));
        call.note("gen_ai.tool.name", AttributeValue::Static(tool));
        let arguments = params.arguments.unwrap_or_default();
        // Outside, a tool's failure is a result; only a panic is a protocol error.
        match guarded(async { Ok(tools::run(tool, &arguments, &mut call).await) }).await {
            Ok(outcome) => {
                let ending = match &outcome {
                    Ok(answer) => Ending::well(answer.results),
                    Err(error) => {
                        call.note("error.type", AttributeValue::Static("tool_error"));
                        Ending::failed(error.class(), error.summary()).with_parameters(arguments)
                    }
                };
                request.end(ending, call.into_trace());
                Ok(tools::to_result(tool, outcome).into())
            }
            Err(error) => end(&request, call, Err(error), |_| None),
        }
    }

    async fn list_resources(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let (request, call) = self.begin(Method::ResourcesList, "resources/list", &context)?;
        let cursor = params.and_then(|params| params.cursor);
        let outcome = guarded(resources::list(self.services.clone(), cursor)).await;
        end(&request, call, outcome, |list| Some(list.resources.len()))
    }

    async fn list_resource_templates(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let (request, call) = self.begin(Method::ResourcesTemplatesList, "resources/templates/list", &context)?;
        let outcome = match params.and_then(|params| params.cursor) {
            None => Ok(resources::templates()),
            Some(_) => Err(ErrorData::invalid_params("cursor: there is one page of templates, so no cursor", None)),
        };
        end(&request, call, outcome, |list| Some(list.resource_templates.len()))
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let (request, mut call) = self.begin(Method::ResourcesRead, "resources/read", &context)?;
        call.note("mcp.resource.uri", params.uri.as_str());
        let outcome = guarded(resources::read(self.services.clone(), params.uri)).await;
        end(&request, call, outcome, |read| Some(read.contents.len())).map(ReadResourceResponse::from)
    }

    async fn on_initialized(&self, _: NotificationContext<RoleServer>) {
        tracing::debug!("client initialized");
    }
}

/// Where a call reports how far it is.
pub(crate) struct Progress {
    peer: Peer<RoleServer>,
    token: ProgressToken,
    latest: AtomicU64,
}

impl Progress {
    fn new(peer: Peer<RoleServer>, token: ProgressToken) -> Self {
        Self { peer, token, latest: AtomicU64::new(u64::MAX) }
    }

    /// Tells the client, if there is anything new: progress must grow from one notification to the next.
    pub(crate) async fn report(&self, done: u64, total: u64, message: String) {
        let latest = self.latest.load(Ordering::Relaxed);
        if latest != u64::MAX && done <= latest {
            return;
        }
        self.latest.store(done, Ordering::Relaxed);
        let mut progress = ProgressNotificationParam::new(self.token.clone(), done as f64).with_message(message);
        if total > 0 {
            progress = progress.with_total(total as f64);
        }
        if let Err(error) = self.peer.notify_progress(progress).await {
            tracing::debug!(%error, "progress could not be reported");
        }
    }
}
