//! Filters: which files may be in the answer, decided once a query and asked by both lanes.

use std::time::SystemTime;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Filters, SearchError};
use crate::index::classify::SourceType;
use crate::index::language::Language;
use crate::index::snapshot::{FileRow, Snapshot};

/// A compiled filter: the files that it lets through.
#[derive(Debug)]
pub struct Allowed(Option<Vec<bool>>);

impl Allowed {
    /// Checks and applies filters. Unknown names and bad globs are errors that say what is allowed.
    pub fn compile(snapshot: &Snapshot, filters: &Filters) -> Result<Self, SearchError> {
        let compiled = Compiled::of(filters)?;
        if *filters == Filters::default() {
            return Ok(Self(None));
        }
        let rows = (0..snapshot.file_rows()).map(FileRow);
        Ok(Self(Some(rows.map(|file| snapshot.is_live(file) && compiled.admits(snapshot, file)).collect())))
    }

    /// Whether a file may be in the answer.
    #[inline]
    pub fn admits(&self, file: FileRow) -> bool {
        self.0.as_ref().is_none_or(|allowed| allowed[file.0 as usize])
    }
}

struct Compiled {
    source_types: Vec<SourceType>,
    languages: Vec<Language>,
    paths: Option<GlobSet>,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
}

impl Compiled {
    fn of(filters: &Filters) -> Result<Self, SearchError> {
        let source_type = |name: &String| {
            let unknown = || SearchError::UnknownSourceType { name: name.clone() };
            SourceType::from_name(&name.trim().to_lowercase()).ok_or_else(unknown)
        };
        let source_types = filters.source_types.iter().map(source_type).collect::<Result<_, _>>()?;
        let languages = filters.languages.iter().map(|name| language(name)).collect::<Result<_, _>>()?;
        if let (Some(from), Some(to)) = (filters.modified_from, filters.modified_to)
            && from > to
        {
            return Err(SearchError::DateRange);
        }
        let paths = if filters.paths.is_empty() { None } else { Some(globs(&filters.paths)?) };
        Ok(Self { source_types, languages, paths, from: filters.modified_from, to: filters.modified_to })
    }

    fn admits(&self, snapshot: &Snapshot, file: FileRow) -> bool {
        let view = snapshot.file(file);
        (self.languages.is_empty() || self.languages.iter().any(|&other| view.language.passes(other)))
            && self.from.is_none_or(|from| view.modified >= from)
            && self.to.is_none_or(|to| view.modified <= to)
            && (self.source_types.is_empty() || self.source_types.contains(&view.class.source_type))
            && self.paths.as_ref().is_none_or(|globs| globs.is_match(view.path))
    }
}

/// The language that a filter names; an error that names the nearest ones if there is none.
pub fn language(name: &str) -> Result<Language, SearchError> {
    let lower = name.trim().to_lowercase();
    Language::from_name(&lower).ok_or_else(|| {
        let mut near: Vec<(usize, &'static str)> =
            Language::all().map(|known| (distance(&lower, known.name()), known.name())).collect();
        near.sort_unstable();
        near.truncate(3);
        SearchError::UnknownLanguage { name: name.to_owned(), near: near.into_iter().map(|(_, name)| name).collect() }
    })
}

/// `src/**`, `*.rs` (any folder), `src` and `src/` (the whole folder). `*` does not cross `/`.
fn globs(patterns: &[String]) -> Result<GlobSet, SearchError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let bad = |reason: String| SearchError::BadGlob { glob: pattern.clone(), reason };
        let plain = pattern.trim().trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
        if plain.is_empty() {
            return Err(bad("it is empty".to_owned()));
        }
        let anywhere = if plain.contains('/') { plain.to_owned() } else { format!("**/{plain}") };
        for glob in [format!("{anywhere}/**"), anywhere] {
            let glob = GlobBuilder::new(&glob).literal_separator(true).build();
            set.add(glob.map_err(|error| bad(error.kind().to_string()))?);
        }
    }
    set.build().map_err(|error| SearchError::BadGlob { glob: patterns.join(", "), reason: error.kind().to_string() })
}

/// Edits between two words (Levenshtein), for suggestions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
