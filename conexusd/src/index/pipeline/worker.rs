//! Worker: a thread that turns jobs into outcomes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use conexus_proto::facts::{Fact, FileError, SkipReason};
use crossbeam_channel::{Receiver, Sender};
use rustc_hash::FxHashMap;

use super::budget::Loan;
use super::prepare::{Group, Vectorizer, prepare};
use super::read::{Job, ReadFile, Reading, read};
use super::{Context, Outcome};
use crate::index::embed::{self, Effort};
use crate::index::store::record::Entry;
use crate::telemetry::{AttributeValue, Tick, Trace};

/// A file in memory costs about so many times its size: text, terms, vectors, rows.
const BYTES_FACTOR: usize = 6;

/// Files that are embedded together at most.
const GROUP_FILES_MAX: usize = 32;

/// Works until there are no more jobs, nobody takes the outcomes, or the run is cancelled.
pub(super) fn work(context: &Context, jobs: &Receiver<Job>, outcomes: &Sender<Outcome>) {
    let batch = context.core.embedder.batch_size();
    while let Ok(job) = jobs.recv() {
        let Some(loan) = context.budget.take(cost(&job), &|| context.is_cancelled()) else { return };
        let mut gathering = Gathering { group: Group::default(), loans: FxHashMap::default() };
        let mut go_on = gathering.add(context, job, loan, outcomes);
        // A remote embedder is asked once for several files; nothing is waited for.
        while go_on && gathering.group.missing() < batch && gathering.loans.len() < GROUP_FILES_MAX {
            let Ok(job) = jobs.try_recv() else { break };
            match context.budget.try_take(cost(&job)) {
                Some(loan) => go_on = gathering.add(context, job, loan, outcomes),
                None => {
                    go_on = gathering.finish(context, outcomes);
                    let Some(loan) = context.budget.take(cost(&job), &|| context.is_cancelled()) else { return };
                    gathering = Gathering { group: Group::default(), loans: FxHashMap::default() };
                    go_on = go_on && gathering.add(context, job, loan, outcomes);
                }
            }
        }
        if !go_on || !gathering.finish(context, outcomes) {
            return;
        }
    }
}

fn cost(job: &Job) -> usize {
    (job.stat.bytes as usize).saturating_mul(BYTES_FACTOR) + 4096
}

/// Files on their way to the embedder.
struct Gathering {
    group: Group,
    /// The trace of each, and its share of the budget.
    loans: FxHashMap<Vec<u8>, (Trace, Loan)>,
}

impl Gathering {
    /// Reads a file and adds it, or hands on why it is left out.
    fn add(&mut self, context: &Context, job: Job, loan: Loan, outcomes: &Sender<Outcome>) -> bool {
        if context.is_cancelled() {
            return false;
        }
        let mut trace = context.core.telemetry.trace("indexer.process_file");
        let root = trace.root();
        trace.link(root, context.span);
        trace.set(root, "path", &*String::from_utf8_lossy(&job.path));
        let read = || read(&job, &context.core.store, context.filter.max_file_size(), context.anew);
        let reading = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| Reading::Failed {
            error: FileError::Parse,
            message: format!("{}: parsing panicked: {}", job.absolute.display(), panic_text(&panic)),
            remove: false,
        });
        let outcome = match reading {
            Reading::File(file) => {
                trace.add(root, "indexer.chunk", root.start(), Tick::now());
                trace.set(root, "language", AttributeValue::Static(file.language.name()));
                trace.set(root, "chunks", file.parsed.chunks.len());
                self.loans.insert(file.path.clone(), (trace, loan));
                self.group.add(*file, &vectorizer(context));
                return true;
            }
            Reading::Same(record) => {
                trace.set(root, "skipped", AttributeValue::Static(SkipReason::Unchanged.as_str()));
                Outcome::Entry(job.path, Entry::Indexed(record), SkipReason::Unchanged)
            }
            Reading::Skip(stat, reason) => {
                trace.set(root, "skipped", AttributeValue::Static(reason.as_str()));
                Outcome::Entry(job.path, Entry::Skipped { stat, reason: reason as u8 }, reason)
            }
            Reading::Unfit(reason) => {
                trace.set(root, "skipped", AttributeValue::Static(reason.as_str()));
                if reason == SkipReason::Ignored {
                    context.control.forget();
                }
                context.skip(reason, 1);
                Outcome::Remove(job.path)
            }
            Reading::Gone => {
                context.control.forget();
                Outcome::Remove(job.path)
            }
            Reading::Failed { error, message, remove } => {
                trace.set(root, "error", AttributeValue::Static(error.as_str()));
                trace.fail(root, &message);
                fail(context, error, message, !remove);
                if !remove {
                    return true;
                }
                Outcome::Remove(job.path)
            }
        };
        context.hand(outcomes, outcome)
    }

    /// Embeds, derives, and hands everything on.
    fn finish(mut self, context: &Context, outcomes: &Sender<Outcome>) -> bool {
        let embedding = Tick::now();
        let mut effort = Effort::default();
        let files = std::mem::take(&mut self.group).finish(&vectorizer(context), &mut effort);
        let embedded_at = Tick::now();
        for (file, vectors) in files {
            if context.is_cancelled() {
                return false;
            }
            let Some((mut trace, loan)) = self.loans.remove(&file.path) else { continue };
            let root = trace.root();
            let span = trace.add(root, "embedding.generate", embedding, embedded_at);
            let made = vectors.as_ref().map_or(1, |(_, made)| *made);
            let known = (file.parsed.chunks.len() as u64).saturating_sub(made);
            if known > 0 && vectors.is_ok() {
                let what = ("what", AttributeValue::Static("vector"));
                trace.event(span, "cache_hit", &[what, ("count", known.into())]);
            }
            embed::describe(&mut trace, span, &*context.core.embedder, &effort, made == 0);
            let path = String::from_utf8_lossy(&file.path).into_owned();
            let (vectors, embedded) = match vectors {
                Ok(vectors) => vectors,
                Err(error) => {
                    trace.set(span, "error.type", AttributeValue::Static(error.class.as_str()));
                    trace.fail(span, &error.message);
                    trace.set(root, "error", AttributeValue::Static(FileError::Embed.as_str()));
                    fail(context, FileError::Embed, format!("{path}: {}", error.message), true);
                    continue;
                }
            };
            let file: ReadFile = file;
            let prepare = || prepare(file, &vectors, embedded, &context.fields, &*context.core.embedder);
            match catch_unwind(AssertUnwindSafe(prepare)) {
                Ok(prepared) => {
                    let prepared = Box::new(prepared);
                    if !context.hand(outcomes, Outcome::Indexed { prepared, trace, loan }) {
                        return false;
                    }
                }
                Err(panic) => {
                    fail(context, FileError::Other, format!("{path}: panicked: {}", panic_text(&panic)), true)
                }
            }
        }
        true
    }
}

fn vectorizer(context: &Context) -> Vectorizer<'_> {
    Vectorizer {
        store: &context.core.store,
        embedder: &*context.core.embedder,
        recent: &context.recent,
        reuse: context.settings.reuse_vectors,
        telemetry: &context.core.telemetry,
        control: &context.control,
    }
}

/// Counts a file that cannot be indexed. `settled`: nothing about it goes to the writer.
fn fail(context: &Context, error: FileError, message: String, settled: bool) {
    if settled {
        context.settle(1);
    }
    context.core.telemetry.emit(Fact::FileFailed { error });
    context.control.add_failed(error, message);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
