//! Tail: which of the passing records does a reader want?

use std::sync::Arc;

use conexus_proto::v1::{self, attribute, record, tail_event};
use tokio::sync::broadcast;

use crate::export::{RecordBatch, RecordSink};

/// Batches that wait for a slow reader before it misses some.
const BATCHES: usize = 256;
/// The kinds that a reader may ask for.
pub const KINDS: [&str; 4] = ["span", "log", "error", "measure"];

/// The passing records. Costs nothing while nobody looks.
#[derive(Debug)]
pub struct Live(broadcast::Sender<Arc<RecordBatch>>);

impl Default for Live {
    fn default() -> Self {
        Self(broadcast::Sender::new(BATCHES))
    }
}

impl Live {
    /// Everything that passes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<RecordBatch>> {
        self.0.subscribe()
    }
}

impl RecordSink for Live {
    fn offer(&self, batch: &Arc<RecordBatch>) {
        if self.0.receiver_count() > 0 {
            // The last reader may have gone meanwhile.
            let _ = self.0.send(batch.clone());
        }
    }
}

/// What a reader wants.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    kinds: Vec<String>,
    contains: String,
}

impl Filter {
    /// The filter that was asked for, or what is wrong with it.
    pub fn new(request: v1::TailRequest) -> Result<Self, String> {
        let unknown = request.kinds.iter().find(|kind| !KINDS.contains(&kind.as_str()));
        match unknown {
            Some(kind) => Err(format!("kind {kind:?} is none of {}", KINDS.join(", "))),
            None => Ok(Self { kinds: request.kinds, contains: request.contains }),
        }
    }

    fn wants(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind)
    }

    fn fits(&self, text: &str) -> bool {
        text.contains(&self.contains)
    }

    /// Whether measures are wanted at all.
    pub fn measures(&self) -> bool {
        self.wants("measure")
    }

    /// Whether a measure of this name is wanted.
    pub fn measure(&self, metric: &str) -> bool {
        self.fits(metric)
    }

    /// The wanted records of a batch.
    pub fn records(&self, batch: &RecordBatch) -> Vec<v1::TailEvent> {
        let wanted = batch.records.iter().filter(|record| self.record(record));
        wanted
            .map(|record| v1::TailEvent {
                boot_epoch: batch.epoch,
                event: Some(tail_event::Event::Record(record.clone())),
            })
            .collect()
    }

    fn record(&self, record: &v1::Record) -> bool {
        match &record.record {
            Some(record::Record::Span(span)) => {
                self.wants("span") && (self.fits(&span.name) || self.method(&span.attributes))
            }
            Some(record::Record::Log(log)) => {
                self.wants("log") && (self.fits(&log.message) || self.method(&log.fields))
            }
            Some(record::Record::Error(error)) => {
                self.wants("error") && (self.fits(&error.message) || self.fits(&error.method) || self.fits(&error.tool))
            }
            None => false,
        }
    }

    fn method(&self, attributes: &[v1::Attribute]) -> bool {
        attributes
            .iter()
            .filter(|attribute| attribute.key == "method")
            .any(|attribute| matches!(&attribute.value, Some(attribute::Value::Text(text)) if self.fits(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> RecordBatch {
        let span = v1::Span { name: "mcp.search".into(), ..v1::Span::default() };
        let log = v1::Log { message: "indexer started".into(), ..v1::Log::default() };
        let error = v1::Error { message: "boom".into(), method: "context_search".into(), ..v1::Error::default() };
        let records = [record::Record::Span(span), record::Record::Log(log), record::Record::Error(error)];
        RecordBatch::new(7, records.into_iter().map(|r| v1::Record { record: Some(r) }).collect())
    }

    fn count(kinds: &[&str], contains: &str) -> usize {
        let kinds = kinds.iter().map(|kind| kind.to_string()).collect();
        Filter::new(v1::TailRequest { kinds, contains: contains.into() }).unwrap().records(&batch()).len()
    }

    #[test]
    fn a_filter_picks_by_kind_and_text() {
        assert_eq!(count(&[], ""), 3);
        assert_eq!(count(&["span", "log"], ""), 2);
        assert_eq!(count(&[], "search"), 2);
        assert_eq!(count(&["log"], "search"), 0);
    }

    #[test]
    fn an_unknown_kind_is_named_with_those_that_exist() {
        let request = v1::TailRequest { kinds: vec!["trace".into()], contains: String::new() };
        let error = Filter::new(request).unwrap_err();
        assert!(error.contains("\"trace\"") && error.contains("span, log, error, measure"), "{error}");
    }

    #[tokio::test]
    async fn a_slow_reader_misses_batches_and_delays_nobody() {
        let live = Live::default();
        let mut reader = live.subscribe();
        for _ in 0..BATCHES + 5 {
            live.offer(&Arc::new(batch()));
        }
        assert!(matches!(reader.recv().await, Err(broadcast::error::RecvError::Lagged(5))));
        assert!(reader.recv().await.is_ok());
    }
}
