//! Files: which files below the root may be searched and shown?
//!
//! Those that the index would look at, of any size: its filter applies even to a path that is asked for by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ignore::{WalkBuilder, WalkState};

use super::{GrepError, Stop};
use crate::index::walk::Scope;
use crate::index::walk::filter::Filter;
use crate::root::Root;

/// A file to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// As answers spell it, relative to the root.
    pub text: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The files at or below `path` (the root if `None`), in the order of their names.
pub fn below(
    root: &Root,
    filter: &Filter,
    path: Option<&str>,
    threads: usize,
    stop: &Stop<'_>,
) -> Result<Vec<Candidate>, GrepError> {
    let asked = path.unwrap_or("");
    let target = root.resolve(asked)?.absolute;
    let mut walk = walk(root, filter, &target);
    let found = Mutex::new((Vec::new(), target == root.path()));
    walk.threads(threads).build_parallel().run(|| {
        Box::new(|entry| {
            if stop.now() {
                return WalkState::Quit;
            }
            let Ok(entry) = entry else { return WalkState::Continue };
            let reached = entry.path() == target;
            let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
            if reached || is_file {
                let mut found = found.lock().expect("no walker panics while it holds the list");
                found.1 |= reached;
                if is_file {
                    found.0.push(Candidate { text: root.relative_text(entry.path()), path: entry.into_path() });
                }
            }
            WalkState::Continue
        })
    });
    let (mut files, reached) = found.into_inner().expect("no walker panics while it holds the list");
    if !reached && !stop.now() {
        return Err(GrepError::Ignored(asked.to_owned()));
    }
    files.sort_unstable_by(|a, b| a.text.cmp(&b.text));
    Ok(files)
}

/// Whether the index would look at a file or folder inside the root (`absolute` without symlinks).
pub fn is_visible(root: &Root, filter: &Filter, absolute: &Path) -> bool {
    let depth = absolute.strip_prefix(root.path()).map_or(0, |relative| relative.components().count());
    let mut walk = walk(root, filter, absolute);
    walk.max_depth(Some(depth)).build().flatten().any(|entry| entry.path() == absolute)
}

/// A walk from the root that goes only towards and below `target`, so that every ignore rule on the way counts.
fn walk(root: &Root, filter: &Filter, target: &Path) -> WalkBuilder {
    let relative = target.strip_prefix(root.path()).unwrap_or(target);
    let scope = match relative.as_os_str().is_empty() {
        true => Scope::All,
        false => Scope::Paths(Arc::new(BTreeSet::from([relative.to_path_buf()]))),
    };
    filter.builder(&scope)
}
