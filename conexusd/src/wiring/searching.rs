//! Searching: the search engine as MCP's tools ask for it.

use crate::app::{Search, SearchFailure};
use crate::search::{SearchEngine, SearchError, SearchRequest, SearchResponse};
use crate::telemetry::Trace;

/// The engine behind the tools' seam.
pub(super) struct Engine(pub(super) SearchEngine);

impl Search for Engine {
    fn search(&self, request: &SearchRequest, trace: &mut Trace) -> Result<SearchResponse, SearchFailure> {
        self.0.search(request, trace).map_err(|error| match error {
            SearchError::Index(error) => SearchFailure::Failed(error.to_string()),
            invalid => SearchFailure::Invalid(invalid.to_string()),
        })
    }
}
