//! Order: ranked files and found chunks in, one list of places out, none of which overlaps another.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Ranked, ScoredFile};
use crate::index::chunk::Kind;
use crate::index::snapshot::{ChunkRow, FileRow, Snapshot};

/// What each further chunk of a file is worth beside the one before it.
const DECAY: f32 = 0.5;

/// A function of at most this many lines is shown whole when a part of it was found.
const WHOLE_LINES_MAX: u32 = 120;

/// Places after so many show the chunk that was found and no more: looking for its definition costs a microsecond or
/// two, and few read so far.
const WHOLE_PLACES: usize = 50;

/// One chunk of each of the first `distinct` files, then the other files and further chunks by score, at most `limit`.
pub(super) fn arrange(
    snapshot: &Snapshot,
    files: &[ScoredFile],
    fused: &[(ChunkRow, f32)],
    distinct: usize,
    limit: usize,
) -> Vec<Ranked> {
    let top = files.iter().map(|file| file.score).fold(f32::MIN_POSITIVE, f32::max);
    let mut shown = Shown::default();
    let mut ranking = Vec::with_capacity(files.len() + fused.len());
    for file in files.iter().take(distinct) {
        let place = whole(snapshot, place_of(snapshot, file.chunk, file.score / top));
        shown.add(&place);
        ranking.push(place);
    }
    let mut rest: Vec<Ranked> = Vec::with_capacity(files.len() + fused.len());
    rest.extend(files.iter().skip(distinct).map(|file| place_of(snapshot, file.chunk, file.score / top)));
    rest.extend(further_chunks(snapshot, files, fused, top));
    rest.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| super::by_place(snapshot, a.chunk, b.chunk)));
    for place in rest {
        if ranking.len() == limit {
            break;
        }
        let place = if ranking.len() < WHOLE_PLACES { whole(snapshot, place) } else { place };
        if shown.add(&place) {
            ranking.push(place);
        }
    }
    let mut ceiling = 1.0_f32;
    for place in &mut ranking {
        place.score = place.score.clamp(0.0, ceiling);
        ceiling = place.score;
    }
    ranking
}

/// The same chunks: each file's first in their order, then the others; the n-th is worth 1 / n.
pub(super) fn files_first(snapshot: &Snapshot, chunks: Vec<(ChunkRow, f32)>) -> Vec<(ChunkRow, f32)> {
    let mut seen = FxHashSet::default();
    let (mut first, further): (Vec<_>, Vec<_>) =
        chunks.into_iter().partition(|&(chunk, _)| seen.insert(snapshot.chunk(chunk).file));
    first.extend(further);
    first.iter().enumerate().map(|(place, &(chunk, _))| (chunk, 1.0 / (place as f32 + 1.0))).collect()
}

/// The found chunks beside each file's best, a file's n-th worth `DECAY^n` of the file. Files that were not looked at
/// closely are worth a share of the least of those that were.
fn further_chunks(snapshot: &Snapshot, files: &[ScoredFile], fused: &[(ChunkRow, f32)], top: f32) -> Vec<Ranked> {
    let least = files.iter().map(|file| file.score).fold(top, f32::min).max(0.0) / top;
    let best_fused = fused.first().map_or(1.0, |&(_, score)| score.max(f32::MIN_POSITIVE));
    let mut worth: FxHashMap<FileRow, f32> =
        files.iter().map(|file| (file.file, file.score.max(0.0) / top * DECAY)).collect();
    let mut further = Vec::with_capacity(fused.len());
    for &(chunk, score) in fused {
        let file = snapshot.chunk(chunk).file;
        match worth.get_mut(&file) {
            Some(worth) => {
                further.push(place_of(snapshot, chunk, *worth));
                *worth *= DECAY;
            }
            None => further.push(place_of(snapshot, chunk, least * DECAY * score / best_fused)),
        }
    }
    further
}

fn place_of(snapshot: &Snapshot, chunk: ChunkRow, score: f32) -> Ranked {
    let view = snapshot.chunk(chunk);
    Ranked { file: view.file, chunk, start_line: view.start_line, end_line: view.end_line, score }
}

/// The place with all lines of the function that it is a part of, if that is not long. A method is whole without the
/// rest of its class.
fn whole(snapshot: &Snapshot, place: Ranked) -> Ranked {
    let is_code = |kind| matches!(kind, Kind::Function | Kind::Method | Kind::Macro | Kind::Constant);
    match super::signals::enclosing_definition(snapshot, place.chunk) {
        Some(outer) if is_code(outer.kind) && outer.end_line - outer.start_line < WHOLE_LINES_MAX => Ranked {
            start_line: place.start_line.min(outer.start_line),
            end_line: place.end_line.max(outer.end_line),
            ..place
        },
        _ => place,
    }
}

/// The lines already in the ranking.
#[derive(Default)]
struct Shown(FxHashMap<FileRow, Vec<(u32, u32)>>);

impl Shown {
    /// Adds a place unless it overlaps one that is shown.
    fn add(&mut self, place: &Ranked) -> bool {
        let spans = self.0.entry(place.file).or_default();
        let free = spans.iter().all(|&(start, end)| place.end_line < start || end < place.start_line);
        if free {
            spans.push((place.start_line, place.end_line));
        }
        free
    }
}
