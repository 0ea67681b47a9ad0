//! Signals: where the query's symbols are defined, which files its paths name, what the asker works on.

use rustc_hash::FxHashMap;

use super::Evidence;
use super::paths;
use crate::ablation::{Signal, off};
use crate::index::chunk::Kind;
use crate::index::snapshot::{ChunkRow, DefinitionHit, FileRow, Snapshot};
use crate::search::query::{Certainty, PathMention, QueryKind, SymbolMention, count_terms, split_words};

/// Definitions of one name that are looked at.
const DEFINITIONS_MAX: usize = 512;

/// What stands before all that is scored, the highest first: the path asked for; what a definition is worth, from its
/// kind down to another case of the name; the places of a stack trace, the innermost first.
const TIER_PATH: u16 = 900;
const TIER_DEFINITION: u16 = 500;
const TIER_FRAME: u16 = 100;

/// Within [`TIER_DEFINITION`]: steps between the worth of two definitions, each with room for how its container fits.
const STEP: u16 = 10;

/// Files named by the query that are looked at closely: of a name that hundreds of files define (`init`), the best.
const NAMED_FILES_MAX: usize = 64;

/// Frames that are put in order; those around them say little.
const FRAMES_MAX: u16 = 20;

/// Files that may be meant by one frame. A name that more files have (`index.js`) says nothing.
const FRAME_FILES_MAX: usize = 3;

/// Folders that hold what was installed and not what is worked on.
const INSTALLED: [&str; 6] = ["node_modules", "site-packages", "dist-packages", "rustc", "gems", "vendor"];

/// Definitions whose containers are read from the store where the columns do not tell.
const SCOPES_READ_MAX: usize = 32;

/// Where a file holds what the query names.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedPlace {
    pub(super) chunk: ChunkRow,
    /// How well the place fits the name, 0 to 1.
    pub(super) strength: f32,
    /// See [`super::ScoredFile::tier`].
    pub(super) tier: u16,
}

/// The best place of each file that defines a symbol of the query or is at a path of it.
pub(super) fn named_places(evidence: &Evidence<'_>) -> FxHashMap<FileRow, NamedPlace> {
    let mut places: FxHashMap<FileRow, NamedPlace> = FxHashMap::default();
    let mut offer = |file: FileRow, place: NamedPlace| {
        let best = places.entry(file).or_insert(place);
        if (place.tier, place.strength) > (best.tier, best.strength) {
            *best = place;
        }
    };
    for symbol in &evidence.query.symbols {
        let hits = evidence.snapshot.definitions(&symbol.name, DEFINITIONS_MAX);
        let family = Family::of(evidence, &hits);
        let mut found = false;
        for hit in hits.iter().filter(|hit| (evidence.keep)(hit.file)) {
            offer(hit.file, definition_place(evidence, symbol, hit, &family));
            found = true;
        }
        // One name was asked for, and what follows are other ways to read it.
        if found && evidence.query.names_one {
            break;
        }
    }
    let mut order = 0;
    for mention in frames_first(evidence) {
        let files = files_at(evidence.snapshot, &mention.path);
        let few = files.len() <= FRAME_FILES_MAX;
        let mut found = false;
        for (file, strength) in files.into_iter().filter(|&(file, _)| (evidence.keep)(file)) {
            let tier = match evidence.query.kind {
                QueryKind::Path => TIER_PATH,
                QueryKind::StackTrace | QueryKind::ErrorMessage
                    if mention.is_frame && few && is_own(evidence.snapshot, mention, file) =>
                {
                    TIER_FRAME - order.min(FRAMES_MAX)
                }
                _ => 0,
            };
            let strength = strength * 0.9_f32.powi(i32::from(order));
            offer(file, NamedPlace { chunk: chunk_at(evidence.snapshot, mention, file), strength, tier });
            found = true;
        }
        // Frames of libraries that are not in the index do not count.
        order += u16::from(found);
    }
    if places.len() > NAMED_FILES_MAX {
        let mut ranked: Vec<(FileRow, NamedPlace)> = places.into_iter().collect();
        ranked.sort_by(|(file, a), (other, b)| {
            b.tier.cmp(&a.tier).then(b.strength.total_cmp(&a.strength)).then(file.cmp(other))
        });
        ranked.truncate(NAMED_FILES_MAX);
        return ranked.into_iter().collect();
    }
    places
}

/// The paths of the query, those of a stack trace from the innermost frame outwards: Python prints it last, everyone
/// else first.
fn frames_first<'a>(evidence: &'a Evidence<'_>) -> Vec<&'a PathMention> {
    let query = evidence.query;
    match query.parts.iter().any(|part| part.text.contains("most recent call last")) {
        true => query.paths.iter().rev().collect(),
        false => query.paths.iter().collect(),
    }
}

/// Whether a frame is of this file and not of a library's file of the same name.
fn is_own(snapshot: &Snapshot, mention: &PathMention, file: FileRow) -> bool {
    let is_installed = |part: &str| INSTALLED.contains(&part) || part.starts_with("python3.");
    let (frame, path) = (&mention.path, snapshot.file(file).path);
    let same = path.rsplit('/').zip(frame.rsplit('/')).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    let whole = same == path.split('/').count() || same == frame.split('/').count();
    !frame.split('/').any(is_installed) && (same >= 2 || whole)
}

/// What the definitions of one name say of each other.
struct Family {
    /// Some type or function of this very name has a body: what has none, or stands in a header, announces it.
    has_type_body: bool,
    has_function_source: bool,
    /// Definitions are few enough to look closely.
    is_small: bool,
}

impl Family {
    fn of(evidence: &Evidence<'_>, hits: &[DefinitionHit]) -> Self {
        let same = || hits.iter().filter(|hit| hit.same_case);
        Self {
            has_type_body: same().any(|hit| is_type(hit.kind) && hit.end_line > hit.start_line),
            has_function_source: same()
                .any(|hit| hit.kind == Kind::Function && !paths::is_header(evidence.snapshot.file(hit.file).path)),
            is_small: hits.len() <= SCOPES_READ_MAX,
        }
    }

    /// `class Router;` beside the class, `int run(void);` of a header beside the function.
    fn announces(&self, evidence: &Evidence<'_>, hit: &DefinitionHit) -> bool {
        match hit.kind {
            kind if is_type(kind) => self.has_type_body && hit.end_line == hit.start_line,
            Kind::Function => self.has_function_source && paths::is_header(evidence.snapshot.file(hit.file).path),
            _ => false,
        }
    }
}

fn is_type(kind: Kind) -> bool {
    matches!(kind, Kind::Type | Kind::Interface)
}

fn definition_place(
    evidence: &Evidence<'_>,
    symbol: &SymbolMention,
    hit: &DefinitionHit,
    family: &Family,
) -> NamedPlace {
    let weak = family.announces(evidence, hit) || matches!(hit.kind, Kind::Field | Kind::Section | Kind::Block);
    // A class's constructor, a conversion to it and its befriending have the class's name.
    let is_line = hit.kind == Kind::Constant && hit.start_line == hit.end_line;
    let constructs = (hit.kind == Kind::Method || is_line) && family.has_type_body && symbol.qualifiers.is_empty();
    let fit = container_fit(evidence.snapshot, symbol, hit, family.is_small);
    let aside = paths::is_aside(&evidence.snapshot.file(hit.file), evidence.query.wants_tests);
    let strength = if hit.same_case { 1.0 } else { 0.6 }
        * if weak { 0.5 } else { 1.0 }
        * if aside { 0.7 } else { 1.0 }
        * if symbol.certainty == Certainty::Sure { 1.0 } else { 0.5 }
        * if fit > 0 { 1.0 } else { 0.4 };
    let worth = match () {
        _ if !hit.same_case => 0,
        _ if fit == 0 => 1,
        _ if weak => 2,
        _ if constructs => 3,
        _ if aside => 4,
        _ => 5,
    };
    let is_asked_for = evidence.query.names_one && !off(Signal::DefinitionFirst);
    let tier = if is_asked_for { TIER_DEFINITION + worth * STEP + fit } else { 0 };
    NamedPlace { chunk: hit.chunk, strength, tier }
}

/// How the last qualifier names what encloses the definition: 2 for its scope, 1 for its file or a folder, 0 for
/// neither. Without a qualifier everything fits.
fn container_fit(snapshot: &Snapshot, symbol: &SymbolMention, hit: &DefinitionHit, read: bool) -> u16 {
    let Some(wanted) = symbol.qualifiers.last() else { return 2 };
    let chunk = snapshot.chunk(hit.chunk);
    let holds = |scope: &str| scope.split(['.', ':']).any(|part| part.eq_ignore_ascii_case(wanted));
    // A small method stands in its class's chunk, whose symbol is then the class.
    let is_method = matches!(hit.kind, Kind::Method | Kind::Field | Kind::Constant | Kind::Function);
    if holds(chunk.scope) || (is_method && chunk.symbol.eq_ignore_ascii_case(wanted)) {
        return 2;
    }
    // Small classes share a chunk: what each holds is known only to the parse.
    if read && let Ok(parsed) = snapshot.file_parsed(hit.file) {
        let own = parsed.definitions.iter().filter(|own| own.start_line == hit.start_line && *own.name == *symbol.name);
        if own.filter_map(|own| own.scope.as_deref()).any(holds) {
            return 2;
        }
    }
    let path = snapshot.file(hit.file).path;
    u16::from(path.split(['/', '.']).any(|part| part.eq_ignore_ascii_case(wanted)))
}

/// The chunk of a file that holds the line of a mention; the first without a line.
fn chunk_at(snapshot: &Snapshot, mention: &PathMention, file: FileRow) -> ChunkRow {
    let at_line = mention.line.and_then(|line| snapshot.chunk_at(file, line));
    at_line.unwrap_or(snapshot.file(file).first_chunk)
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
