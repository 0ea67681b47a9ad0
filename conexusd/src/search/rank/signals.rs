//! Signals: where the query's symbols are defined, which files its paths name, what the asker works on.

use std::collections::HashMap;

use super::Evidence;
use super::paths;
use crate::index::chunk::Kind;
use crate::index::snapshot::{ChunkRow, DefinitionHit, FileRow, Snapshot};
use crate::search::query::{Certainty, PathMention, QueryKind, SymbolMention, count_terms, split_words};

/// Definitions of one name that are looked at.
const DEFINITIONS_MAX: usize = 512;

/// The tier of the path asked for, of a definition of the symbol asked for, and of a lesser one (another case, another
/// qualifier, a field).
const TIER_PATH: u8 = 3;
const TIER_DEFINITION: u8 = 2;
const TIER_LESSER: u8 = 1;

/// Where a file holds what the query names.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedPlace {
    pub(super) chunk: ChunkRow,
    /// How well the place fits the name, 0 to 1.
    pub(super) strength: f32,
    /// See [`super::ScoredFile::tier`].
    pub(super) tier: u8,
}

/// The best place of each file that defines a symbol of the query or is at a path of it.
pub(super) fn named_places(evidence: &Evidence<'_>) -> HashMap<FileRow, NamedPlace> {
    let mut places: HashMap<FileRow, NamedPlace> = HashMap::new();
    let mut offer = |file: FileRow, place: NamedPlace| {
        let best = places.entry(file).or_insert(place);
        if (place.tier, place.strength) > (best.tier, best.strength) {
            *best = place;
        }
    };
    for symbol in &evidence.query.symbols {
        let hits = evidence.snapshot.definitions(&symbol.name, DEFINITIONS_MAX);
        let has_body = |hit: &DefinitionHit| hit.kind == Kind::Type && hit.end_line > hit.start_line;
        let bodies = hits.iter().any(|hit| has_body(hit) && hit.same_case);
        for hit in hits.iter().filter(|hit| (evidence.keep)(hit.file)) {
            // `class Router;` beside a definition with a body only announces it.
            let announces = bodies && hit.kind == Kind::Type && !has_body(hit);
            offer(hit.file, definition_place(evidence, symbol, hit, announces));
        }
    }
    // Python prints the innermost frame last, everyone else first.
    let frames: Vec<&PathMention> = match evidence.query.parts[0].text.starts_with("Traceback") {
        true => evidence.query.paths.iter().rev().collect(),
        false => evidence.query.paths.iter().collect(),
    };
    for (order, mention) in frames.into_iter().enumerate() {
        for (file, strength) in files_at(evidence.snapshot, &mention.path) {
            if (evidence.keep)(file) {
                offer(file, path_place(evidence, mention, file, strength * 0.9_f32.powi(order as i32)));
            }
        }
    }
    places
}

fn definition_place(
    evidence: &Evidence<'_>,
    symbol: &SymbolMention,
    hit: &DefinitionHit,
    announces: bool,
) -> NamedPlace {
    let case = if hit.same_case { 1.0 } else { 0.6 };
    let weak_kind = announces || matches!(hit.kind, Kind::Field | Kind::Section | Kind::Block);
    let kind = if weak_kind { 0.5 } else { 1.0 };
    let qualified = qualifiers_fit(evidence.snapshot, symbol, hit);
    let home = paths::standing(&evidence.snapshot.file(hit.file), evidence.query.wants_tests);
    let certainty = if symbol.certainty == Certainty::Sure { 1.0 } else { 0.5 };
    let strength = case * kind * home * certainty * if qualified { 1.0 } else { 0.4 };
    let tier = match evidence.query.kind {
        QueryKind::Symbol if hit.same_case && qualified && !weak_kind => TIER_DEFINITION,
        QueryKind::Symbol => TIER_LESSER,
        _ => 0,
    };
    NamedPlace { chunk: hit.chunk, strength, tier }
}

/// Whether the last qualifier names what encloses the definition: its scope, its file or its folder.
fn qualifiers_fit(snapshot: &Snapshot, symbol: &SymbolMention, hit: &DefinitionHit) -> bool {
    let Some(wanted) = symbol.qualifiers.last() else { return true };
    let chunk = snapshot.chunk(hit.chunk);
    let in_scope = chunk.scope.split('.').any(|part| part.eq_ignore_ascii_case(wanted));
    // A small method stands in its class's chunk, whose symbol is then the class.
    let in_symbol = chunk.symbol.eq_ignore_ascii_case(wanted);
    let path = snapshot.file(hit.file).path;
    in_scope || in_symbol || path.split(['/', '.']).any(|part| part.eq_ignore_ascii_case(wanted))
}

fn path_place(evidence: &Evidence<'_>, mention: &PathMention, file: FileRow, strength: f32) -> NamedPlace {
    let view = evidence.snapshot.file(file);
    let rows = view.first_chunk.0..view.first_chunk.0 + view.chunks;
    let at_line = mention.line.and_then(|line| {
        let holding = rows.clone().map(ChunkRow).filter(|&row| {
            let chunk = evidence.snapshot.chunk(row);
            (chunk.start_line..=chunk.end_line).contains(&line)
        });
        holding.min_by_key(|&row| {
            let chunk = evidence.snapshot.chunk(row);
            chunk.end_line - chunk.start_line
        })
    });
    let tier = if evidence.query.kind == QueryKind::Path { TIER_PATH } else { 0 };
    NamedPlace { chunk: at_line.unwrap_or(view.first_chunk), strength, tier }
}

/// Files whose path ends like the one asked for, with the share of its components that agree. A path from a stack
/// trace may begin on another machine, so its file name and one folder are enough.
fn files_at(snapshot: &Snapshot, wanted: &str) -> Vec<(FileRow, f32)> {
    let components: Vec<&str> = wanted.rsplit('/').filter(|part| !part.is_empty()).collect();
    let Some(name) = components.first() else { return Vec::new() };
    let mut found: Vec<(FileRow, usize)> = (0..snapshot.file_rows())
        .map(FileRow)
        .filter(|&file| snapshot.is_live(file))
        .map(|file| (file, snapshot.file(file)))
        .filter(|(_, view)| view.chunks > 0 && is_called(view.path, name))
        .map(|(file, view)| {
            let path = view.path;
            let same = path.rsplit('/').zip(&components).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
            (file, same)
        })
        .collect();
    let most = found.iter().map(|&(_, same)| same).max().unwrap_or(0);
    found.retain(|&(_, same)| same == most);
    found.into_iter().map(|(file, same)| (file, same as f32 / components.len() as f32)).collect()
}

/// Whether the last component of a path is this name, in any ASCII case.
fn is_called(path: &str, name: &str) -> bool {
    let (path, name) = (path.as_bytes(), name.as_bytes());
    let Some(start) = path.len().checked_sub(name.len()) else { return false };
    path[start..].eq_ignore_ascii_case(name) && (start == 0 || path[start - 1] == b'/')
}

/// The innermost definition that holds all lines of a chunk and more.
pub(in crate::search) fn enclosing_definition(snapshot: &Snapshot, chunk: ChunkRow) -> Option<DefinitionHit> {
    let view = snapshot.chunk(chunk);
    let names = [view.symbol, view.scope.rsplit('.').next().unwrap_or_default()];
    names.into_iter().filter(|name| !name.is_empty()).find_map(|name| {
        let holding = snapshot.definitions(name, DEFINITIONS_MAX).into_iter().filter(|hit| {
            let lines = (hit.start_line, hit.end_line);
            let holds = lines.0 <= view.start_line && view.end_line <= lines.1;
            hit.file == view.file && holds && lines != (view.start_line, view.end_line)
        });
        holding.min_by_key(|hit| hit.end_line - hit.start_line)
    })
}

/// What the asker works on, ready to be compared with files. Boosts only.
#[derive(Clone, Debug, Default)]
pub struct Context {
    active: Option<String>,
    words: Vec<String>,
    tickets: Vec<String>,
}

/// The most that a work context adds to a score, as a share of it: enough to decide between near equals.
const SAME_FOLDER: f32 = 0.05;
const NEAR_FOLDER: f32 = 0.02;
const BRANCH: f32 = 0.05;
const TICKET: f32 = 0.05;

/// Branch names' words that say nothing of the work.
const BRANCH_WORDS: &[&str] = &[
    "main", "master", "dev", "develop", "feature", "feat", "fix", "bugfix", "hotfix", "release", "chore", "wip",
    "issue",
];

impl Context {
    /// Reads a work context.
    pub fn of(work: &crate::search::WorkContext) -> Self {
        let mut words = Vec::new();
        split_words(work.git_branch.as_deref().unwrap_or_default(), &mut |word| {
            if word.len() > 2 && !BRANCH_WORDS.contains(&word) && !word.chars().all(|c| c.is_ascii_digit()) {
                words.push(word.to_owned());
            }
        });
        let tickets = work.open_ticket_ids.iter().flat_map(|id| count_terms(id)).map(|(term, _)| term);
        let tickets = tickets.filter(|term| term.len() > 2).take(16).collect();
        let active = work.active_file.as_deref().map(|path| path.trim_start_matches("./").replace('\\', "/"));
        Self { active, words, tickets }
    }

    /// What is added to a file's score, as a share of it.
    pub(super) fn boost(&self, snapshot: &Snapshot, file: FileRow) -> f32 {
        if self.active.is_none() && self.words.is_empty() && self.tickets.is_empty() {
            return 0.0;
        }
        let path = snapshot.file(file).path;
        let mut boost = 0.0;
        if let Some(active) = &self.active {
            let (folder, active_folder) = (folder_of(path), folder_of(active));
            let near = folder_of(folder) == folder_of(active_folder) || folder_of(active_folder) == folder;
            boost += if folder == active_folder {
                SAME_FOLDER
            } else if near {
                NEAR_FOLDER
            } else {
                0.0
            };
        }
        if !self.words.is_empty() {
            let mut named = 0;
            split_words(path, &mut |word| named += usize::from(self.words.iter().any(|other| other == word)));
            boost += BRANCH * (named.min(self.words.len()) as f32 / self.words.len() as f32);
        }
        if self.tickets.iter().any(|ticket| snapshot.term_frequency(file, ticket) > 0) {
            boost += TICKET;
        }
        boost
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
