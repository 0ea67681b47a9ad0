//! Watch: changes on disk in, runs over the changed paths out, a fifth of a second later.
//!
//! Only folders that the filter takes are watched, each by itself: build output and dependencies cost no watches.
//! Where the system cannot watch (too many folders, no support), everything is walked every half minute instead, and
//! the status says so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use ignore::IncrementalIgnore;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::folder::Place;
use super::run::{Run, RunControl, lock};
use super::walk::filter::IGNORE_FILE;
use super::walk::{Found, Scope, walk};
use super::{Index, IndexError};

/// Changes are gathered until it was quiet for so long,
const QUIET: Duration = Duration::from_millis(200);
/// but no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often everything is walked where nothing can be watched.
const RESCAN: Duration = Duration::from_secs(30);
/// How often it is looked whether the root still is the folder that is watched, and whether one that was lost is back.
const ROOT_CHECK: Duration = Duration::from_secs(1);
/// How long after a run that failed the next one is tried.
const RETRY: Duration = Duration::from_secs(5);
/// More changes than this are cheaper found by a walk.
const CHANGES_MAX: usize = 4096;
/// Events that wait to be looked at; when there are more, everything is walked.
const EVENTS_MAX: usize = 65_536;

/// How changes are noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchState {
    /// They are not.
    #[default]
    Off,
    /// The system tells.
    Live {
        /// Watched folders.
        folders: usize,
    },
    /// By walking everything now and then.
    Rescan {
        /// How often.
        every: Duration,
        /// Why the system does not tell.
        reason: String,
    },
}

/// Watches until it is dropped.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    control: Arc<Mutex<Option<Arc<RunControl>>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch the index's root. Changes from before that are for a [`Run::All`] to find, after this returned.
    pub fn start(index: &Arc<Index>) -> Result<Self, IndexError> {
        let stop = Arc::new(AtomicBool::new(false));
        let control = Arc::new(Mutex::new(None));
        let mut watching = Watching {
            index: Arc::downgrade(index),
            root: index.root().to_owned(),
            source: None,
            place: None,
            matcher: index.filter().matcher(),
            changed: BTreeSet::new(),
            everything: false,
            since: None,
            latest: Instant::now(),
            stop: Arc::clone(&stop),
            control: Arc::clone(&control),
        };
        watching.listen(index);
        let thread = std::thread::Builder::new().name("index-watch".to_owned()).spawn(move || watching.work());
        let thread = thread.map_err(|source| IndexError::io(index.root(), source))?;
        Ok(Self { stop, control, thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(control) = &*lock(&self.control) {
            control.cancel();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where events come from.
struct Source {
    watcher: RecommendedWatcher,
    events: Receiver<notify::Result<notify::Event>>,
    /// Events were lost because nobody took them in time.
    lost: Arc<AtomicBool>,
    folders: BTreeSet<PathBuf>,
}

struct Watching {
    index: Weak<Index>,
    root: PathBuf,
    source: Option<Source>,
    /// The root that is watched; `None` while there is none.
    place: Option<Place>,
    matcher: Option<IncrementalIgnore>,
    /// Relative to the root.
    changed: BTreeSet<PathBuf>,
    /// Single paths no longer say it all.
    everything: bool,
    /// The first change that waits.
    since: Option<Instant>,
    latest: Instant,
    stop: Arc<AtomicBool>,
    control: Arc<Mutex<Option<Arc<RunControl>>>>,
}

impl Watching {
    /// Starts to listen, or falls back to walks.
    fn listen(&mut self, index: &Index) {
        self.place = match Place::of(&self.root) {
            Ok(place) => Some(place),
            Err(error) => return self.lose_root(index, &error),
        };
        let state = match self.open(index) {
            Ok(source) => {
                let folders = source.folders.len();
                self.source = Some(source);
                WatchState::Live { folders }
            }
            Err(error) => {
                self.source = None;
                WatchState::Rescan { every: RESCAN, reason: reason(&error) }
            }
        };
        index.set_watch(state);
    }

    fn open(&self, index: &Index) -> notify::Result<Source> {
        let (sender, events) = bounded(EVENTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&lost);
        let watcher = RecommendedWatcher::new(
            move |event: notify::Result<notify::Event>| {
                if !matches!(&event, Ok(event) if is_read(event)) && sender.try_send(event).is_err() {
                    flag.store(true, Ordering::Relaxed);
                }
            },
            notify::Config::default().with_follow_symlinks(false),
        )?;
        let mut source = Source { watcher, events, lost, folders: BTreeSet::new() };
        source.add(index, &Scope::All)?;
        Ok(source)
    }

    fn work(mut self) {
        let (mut rescanned, mut looked) = (Instant::now(), Instant::now());
        while !self.stop.load(Ordering::Relaxed) {
            let wait = Duration::from_millis(50);
            let event = match &self.source {
                Some(source) => source.events.recv_timeout(wait),
                None => {
                    std::thread::sleep(wait);
                    Err(RecvTimeoutError::Timeout)
                }
            };
            let Some(index) = self.index.upgrade() else { return };
            if let Ok(event) = event {
                self.take(&index, event);
                // What else is there already belongs to the same burst.
                while let Some(Ok(event)) = self.source.as_ref().map(|source| source.events.try_recv()) {
                    self.take(&index, event);
                }
            }
            if self.source.as_ref().is_some_and(|source| source.lost.swap(false, Ordering::Relaxed)) {
                self.note_everything();
            }
            if looked.elapsed() >= ROOT_CHECK {
                looked = Instant::now();
                self.check_root(&index);
            }
            if self.source.is_none() && rescanned.elapsed() >= RESCAN {
                rescanned = Instant::now();
                self.note_everything();
            }
            index.set_noticed(self.changed.len() as u64 + u64::from(self.everything));
            let due = self.since.is_some_and(|since| self.latest.elapsed() >= QUIET || since.elapsed() >= PATIENCE);
            if due && self.place.is_some() {
                self.run(&index);
            }
        }
        if let Some(index) = self.index.upgrade() {
            index.set_watch(WatchState::Off);
        }
    }

    /// Its watches go with a root; another one in its place, or the same one back, is watched and walked anew.
    fn check_root(&mut self, index: &Index) {
        match Place::of(&self.root) {
            Ok(place) if self.place == Some(place) => {}
            Ok(_) => {
                tracing::info!(root = %self.root.display(), "the root is another folder now: it is indexed anew");
                self.listen(index);
                self.matcher = index.filter().matcher();
                self.note_everything();
            }
            Err(error) if self.place.is_some() || self.source.is_some() => self.lose_root(index, &error),
            Err(_) => {}
        }
    }

    /// The index stays as it is, which nobody takes for the state of the disk.
    fn lose_root(&mut self, index: &Index, error: &IndexError) {
        tracing::error!(%error, "the root cannot be read: the index stays as it is until it can be");
        (self.source, self.place) = (None, None);
        index.set_watch(WatchState::Rescan { every: ROOT_CHECK, reason: error.to_string() });
        index.set_error(error);
        self.note_everything();
    }

    fn take(&mut self, index: &Index, event: notify::Result<notify::Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => return self.give_up(index, &error),
            Err(_) => return self.note_everything(),
        };
        if event.need_rescan() {
            return self.note_everything();
        }
        for path in &event.paths {
            let Ok(relative) = path.strip_prefix(&self.root) else { continue };
            self.note(index, event.kind, relative.to_owned());
        }
    }

    fn note(&mut self, index: &Index, kind: EventKind, path: PathBuf) {
        if path.as_os_str().is_empty() {
            // Moved away, or removed: should it be back before it is missed, its watches are gone all the same.
            if matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
                self.place = None;
            }
            return;
        }
        let rules =
            path.file_name().is_some_and(|name| name == ".gitignore" || name == ".ignore" || name == IGNORE_FILE);
        let is_folder = self.root.join(&path).symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if rules {
            // What it lets through or takes out lies around it.
            self.matcher = index.filter().matcher();
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            self.watch_below(index, &folder);
            if folder.as_os_str().is_empty() {
                return self.note_everything();
            }
            self.changed.insert(folder);
        } else {
            if !index.filter().takes(&path, is_folder) || self.is_ignored(&path, is_folder) {
                return;
            }
            if is_folder {
                self.watch_below(index, &path);
            }
            self.changed.insert(path);
        }
        if self.changed.len() > CHANGES_MAX {
            self.everything = true;
        }
        self.touch();
    }

    fn note_everything(&mut self) {
        self.everything = true;
        self.touch();
    }

    fn touch(&mut self) {
        self.latest = Instant::now();
        self.since.get_or_insert(self.latest);
    }

    fn is_ignored(&mut self, path: &Path, is_folder: bool) -> bool {
        self.matcher.as_mut().is_some_and(|matcher| matcher.matched(path, is_folder).is_ignore())
    }

    /// Watches the folders at and below one: before it is walked, so that nothing falls between.
    fn watch_below(&mut self, index: &Index, folder: &Path) {
        let scope = match folder.as_os_str().is_empty() {
            true => Scope::All,
            false => Scope::Paths(Arc::new(BTreeSet::from([folder.to_owned()]))),
        };
        let Some(source) = &mut self.source else { return };
        match source.add(index, &scope) {
            Ok(()) => index.set_watch(WatchState::Live { folders: source.folders.len() }),
            Err(error) => self.give_up(index, &error),
        }
    }

    fn give_up(&mut self, index: &Index, error: &notify::Error) {
        self.source = None;
        index.set_watch(WatchState::Rescan { every: RESCAN, reason: reason(error) });
        self.note_everything();
    }

    fn run(&mut self, index: &Index) {
        let everything = std::mem::take(&mut self.everything);
        let changed = std::mem::take(&mut self.changed);
        let since = self.since.take();
        if everything {
            // Folders may have come that no event told of.
            self.watch_below(index, Path::new(""));
        }
        let run = if everything { Run::All } else { Run::Paths(changed.iter().cloned().collect()) };
        let control = Arc::new(RunControl::new());
        *lock(&self.control) = Some(Arc::clone(&control));
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        let outcome = index.run(&run, &control);
        *lock(&self.control) = None;
        index.set_noticed(0);
        // Another run goes on, or something failed: the changes are not forgotten.
        let again = match outcome {
            Ok(report) if !report.cancelled => return,
            Ok(_) | Err(IndexError::Busy) => Instant::now(),
            Err(error) => {
                tracing::error!(%error, "changes could not be indexed; it is tried again");
                Instant::now() + RETRY
            }
        };
        self.everything |= everything;
        self.changed.extend(changed);
        self.since = since.map(|_| again);
        self.latest = again;
    }
}

impl Source {
    /// Watches every folder of a scope. A folder that appeared in another before that one was watched has told nobody: so it
    /// is looked again until there is none that is not watched.
    fn add(&mut self, index: &Index, scope: &Scope) -> notify::Result<()> {
        let mut seen = BTreeSet::new();
        loop {
            let found = Mutex::new(Vec::new());
            walk(index.filter(), scope, 2, &|item| {
                if let Found::Folder(folder) = item {
                    lock(&found).push(folder);
                }
                true
            });
            let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            let unseen: Vec<PathBuf> = found.into_iter().filter(|folder| !seen.contains(folder)).collect();
            if unseen.is_empty() {
                return Ok(());
            }
            for folder in unseen {
                self.watch(&folder)?;
                seen.insert(folder);
            }
        }
    }

    fn watch(&mut self, folder: &Path) -> notify::Result<()> {
        // One that was removed and made again is watched again: the old watch went with it.
        match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => _ = self.folders.insert(folder.to_owned()),
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
            Err(error) if matches!(&error.kind, notify::ErrorKind::Io(io) if is_passing(io)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied)
}

/// Whether an event only says that somebody, ourselves perhaps, opened or read something.
fn is_read(event: &notify::Event) -> bool {
    matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
        && !event.need_rescan()
}

fn reason(error: &notify::Error) -> String {
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the system's limit of watches is reached (fs.inotify.max_user_watches)".to_owned()
        }
        _ => error.to_string(),
    }
}
