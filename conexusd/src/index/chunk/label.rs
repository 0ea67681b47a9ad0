//! Labels: what each chunk is called, what encloses it, and its signature.

use super::split::{Span, Splitter};
use super::{Chunk, Kind};

/// The length of a signature, in bytes.
const SIGNATURE_MAX: usize = 200;

impl Splitter<'_> {
    /// The chunks of these spans.
    pub(super) fn label(&self, spans: &[Span]) -> Vec<Chunk> {
        let mut by_start: Vec<u32> = self.units.clone();
        by_start.sort_by_key(|&unit| (self.item(unit).start, unit));
        let mut chunks = Vec::with_capacity(spans.len());
        let mut next = 0;
        for &span in spans {
            let first = next;
            while by_start.get(next).is_some_and(|&unit| (self.item(unit).start as usize) < span.to) {
                next += 1;
            }
            chunks.push(self.chunk(span, &by_start[first..next], by_start[..first].last().copied()));
        }
        chunks
    }

    /// One chunk. `inside` are the items that begin in it, `before` is the last that begins before it.
    fn chunk(&self, span: Span, inside: &[u32], before: Option<u32>) -> Chunk {
        let main = self.main_item(span, inside);
        let scope = match main {
            Some(unit) => self.outline.scope_of(unit),
            None => self.outline.chain(self.around(span, inside, before), None),
        };
        Chunk {
            start_line: span.from as u32 + 1,
            end_line: span.to as u32,
            start_byte: self.lines.start(span.from),
            end_byte: self.lines.start(span.to),
            kind: main.map_or_else(|| self.common_kind(inside), |unit| self.item(unit).kind),
            symbol: main.map(|unit| self.item(unit).name.clone()).filter(|name| !name.is_empty()),
            scope,
            signature: main.and_then(|unit| signature(self.lines.text, self.item(unit).signature)),
        }
    }

    /// The item that a chunk is mainly about: the outermost one that begins in it and has half of its bytes; but of
    /// one that goes on in the next chunk a member that has half, if there is one.
    fn main_item(&self, span: Span, inside: &[u32]) -> Option<u32> {
        let total = self.size(span).max(1);
        let share = |unit: u32| {
            let item = self.item(unit);
            let from = (item.lead as usize).max(span.from);
            let to = (item.end as usize + 1).min(span.to);
            if from < to { self.size(Span { from, to }) } else { 0 }
        };
        let half = |unit: u32| share(unit) * 2 >= total;
        let mut best: Option<u32> = None;
        for &unit in inside.iter().filter(|&&unit| half(unit)) {
            let goes_on = |outer: u32| self.item(outer).end as usize >= span.to && unit < self.item(outer).end_item;
            if best.is_none_or(goes_on) {
                best = Some(unit);
            }
        }
        let largest = || inside.iter().copied().max_by_key(|&unit| share(unit));
        let sections = inside.iter().all(|&unit| self.item(unit).kind == Kind::Section);
        if best.is_none() && sections { largest() } else { best }
    }

    /// What encloses a chunk: what its items have in common, or the innermost item that holds all of its lines but
    /// closing brackets.
    fn around(&self, span: Span, inside: &[u32], before: Option<u32>) -> Option<u32> {
        if let Some(&first) = inside.first() {
            let mut outer = first;
            let parent = self.item(first).parent;
            let siblings = inside.iter().all(|&unit| {
                if unit >= self.item(outer).end_item {
                    outer = unit;
                }
                unit != outer || self.item(unit).parent == parent
            });
            if siblings && inside.len() > 1 {
                return parent;
            }
        }
        let mut last = self.last_line(span);
        while last > span.from && closes_only(self.lines.get(last)) {
            last -= 1;
        }
        let mut at = before.or(inside.first().copied());
        while let Some(unit) = at {
            let item = self.item(unit);
            if item.unit && (item.lead as usize) <= span.from && item.end as usize >= last {
                return at;
            }
            at = item.parent;
        }
        None
    }

    fn common_kind(&self, inside: &[u32]) -> Kind {
        let mut kinds = inside.iter().map(|&unit| self.item(unit).kind);
        match kinds.next() {
            Some(kind) if inside.len() > 1 && kinds.all(|other| other == kind) => kind,
            _ => Kind::Block,
        }
    }
}

/// Whether a line holds nothing but the ends of what began before it.
fn closes_only(line: &str) -> bool {
    let line = line.trim();
    line == "end" || line.bytes().all(|b| b"})];,".contains(&b))
}

/// A stretch of text on one line, cut at a word where it is too long.
fn signature(text: &str, (from, to): (u32, u32)) -> Option<Box<str>> {
    let mut line = String::new();
    for word in text.get(from as usize..to as usize)?.split_whitespace() {
        if line.len() + word.len() + 1 > SIGNATURE_MAX {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let line = line.trim_end_matches([' ', '{', ';', ',']).trim_end_matches(" =").trim_end_matches(" do");
    let line = line.strip_suffix(':').unwrap_or(line);
    if line.is_empty() { None } else { Some(line.into()) }
}
