//! The splitter: an outline in, chunks out.
//!
//! Every line has a cost: how bad it is to begin a chunk there. A stretch that is too large is cut at all its cheapest
//! lines, and small neighbours are joined again up to the target size; what is still too large is cut one level deeper.
//! So a class falls into its members, a function into its statements, a document into its sections.

use super::outline::{COST_MAX, Item, Lines, NEVER, Outline};
use super::{Chunk, Kind};
use crate::ablation::{Signal, off};

/// Sizes in bytes.
pub(super) struct Sizes {
    /// What joined neighbours add up to at most.
    pub(super) target: usize,
    /// What a stretch that is no definition, or holds others, may have and stay whole.
    pub(super) whole: usize,
    /// What a definition without inner definitions may have and stay whole.
    pub(super) definition: usize,
    /// From this size on a definition is not joined with its neighbours.
    pub(super) alone: usize,
    /// Below this size nothing stands alone.
    pub(super) tiny: usize,
}

impl Sizes {
    /// Half or twice of it all where that is measured.
    pub(super) fn ablated(self) -> Self {
        let (by, over) = match (off(Signal::HalfChunks), off(Signal::DoubleChunks)) {
            (true, _) => (1, 2),
            (_, true) => (2, 1),
            _ => return self,
        };
        Self {
            target: self.target * by / over,
            whole: self.whole * by / over,
            definition: self.definition * by / over,
            ..self
        }
    }
}

/// Source code: whole functions are what readers want, and chunks of 750 to 1,500 bytes are found best.
pub(super) const CODE: Sizes = Sizes { target: 1_200, whole: 1_500, definition: 2_800, alone: 600, tiny: 160 };
/// Prose: a section of its own for each heading unless it is very short.
pub(super) const PROSE: Sizes = Sizes { target: 1_200, whole: 1_500, definition: 1_800, alone: 240, tiny: 120 };

/// Cuts a text into chunks that are in order, do not overlap, and hold every line.
pub(super) fn split(lines: &Lines<'_>, outline: &Outline, sizes: &Sizes) -> Vec<Chunk> {
    if lines.count() == 0 {
        return Vec::new();
    }
    let mut units: Vec<u32> = (0..outline.items.len() as u32).filter(|&i| outline.items[i as usize].unit).collect();
    units.sort_by_key(|&i| (outline.items[i as usize].lead, std::cmp::Reverse(outline.items[i as usize].end), i));
    let mut splitter = Splitter { lines, outline, sizes, units, spans: Vec::new() };
    splitter.cut(Span { from: 0, to: lines.count() });
    let spans = splitter.without_crumbs();
    splitter.label(&spans)
}

/// Lines `from..to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The cutting of one text.
pub(super) struct Splitter<'a> {
    pub(super) lines: &'a Lines<'a>,
    pub(super) outline: &'a Outline,
    sizes: &'a Sizes,
    /// Items worth a chunk, by first line, the longest first.
    pub(super) units: Vec<u32>,
    /// The chunks so far.
    spans: Vec<Span>,
}

impl Splitter<'_> {
    /// Cuts a stretch into spans of good size. Each call goes at least one cost level deeper, so the depth is bounded.
    fn cut(&mut self, span: Span) {
        let blank = self.lines.bytes(span.from, span.to) - self.size(span);
        if self.size(span) <= self.limit(span) && blank <= self.sizes.whole {
            self.spans.push(span);
            return;
        }
        let inner = span.from + 1..span.to;
        let Some(level) = inner.clone().map(|line| self.outline.costs[line]).filter(|&cost| cost < NEVER).min() else {
            self.cut_anywhere(span);
            return;
        };
        let mut pieces = Vec::new();
        let mut from = span.from;
        for line in inner {
            if self.outline.costs[line] == level {
                pieces.push(Span { from, to: line });
                from = line;
            }
        }
        pieces.push(Span { from, to: span.to });
        self.join(&pieces);
    }

    /// Joins small neighbours, cuts large pieces further. The first and the last piece are often only the head and the
    /// closing bracket of what encloses them: they go with their neighbour whatever its size.
    fn join(&mut self, pieces: &[Span]) {
        let (mut first, mut last) = (0, pieces.len());
        let is_end = |piece: Span| self.is_tiny(piece) && !self.is_unit(piece);
        let head = (pieces.len() > 1 && is_end(pieces[0])).then(|| {
            first = 1;
            pieces[0].from
        });
        let tail = (last - first > 1 && is_end(pieces[last - 1])).then(|| {
            last -= 1;
            pieces[last].to
        });
        let made = self.spans.len();
        let mut run = first;
        for at in first..last {
            let large = self.size(pieces[at]) > self.limit(pieces[at]);
            if large || self.is_alone(pieces[at]) {
                // A tiny piece before goes with a definition that stands alone, not with one that is cut.
                let lone = !large && run + 1 == at && self.is_tiny(pieces[run]);
                if lone {
                    self.spans.push(Span { from: pieces[run].from, to: pieces[at].to });
                } else {
                    self.join_run(&pieces[run..at]);
                    self.cut(pieces[at]);
                }
                run = at + 1;
            }
        }
        self.join_run(&pieces[run..last]);
        if let Some(from) = head {
            match self.spans.get(made).copied() {
                Some(span) if self.size(span) <= self.sizes.definition => self.spans[made].from = from,
                _ => self.spans.insert(made, pieces[0]),
            }
        }
        if let Some(to) = tail {
            match self.spans.last().copied() {
                Some(span) if self.size(span) <= self.sizes.definition => {
                    self.spans.last_mut().expect("seen above").to = to
                }
                _ => self.spans.push(pieces[last]),
            }
        }
    }

    /// Joins a run of small pieces into spans of about equal size, none above the target, preferring to part them at
    /// blank lines.
    fn join_run(&mut self, pieces: &[Span]) {
        let even = |left: usize| left / left.div_ceil(self.sizes.target).max(1);
        let mut left: usize = pieces.iter().map(|&piece| self.size(piece)).sum();
        let mut made = Vec::new();
        let mut open: Option<Span> = None;
        for &piece in pieces {
            let Some(span) = open else {
                open = Some(piece);
                continue;
            };
            let (size, more) = (self.size(span), self.size(piece));
            let share = if self.lines.is_blank(piece.from - 1) { 9 } else { 10 };
            if size + more > self.sizes.target || size + more / 2 > even(left) * share / 10 {
                left = left.saturating_sub(size);
                made.push(span);
                open = Some(piece);
            } else {
                open = Some(Span { from: span.from, to: piece.to });
            }
        }
        self.spans.extend(made.into_iter().chain(open));
    }

    /// Cuts a stretch in which no line is a good one: blank lines only, say.
    fn cut_anywhere(&mut self, span: Span) {
        let mut from = span.from;
        for line in span.from + 1..span.to {
            if self.lines.bytes(from, line + 1) > self.sizes.whole {
                self.spans.push(Span { from, to: line });
                from = line;
            }
        }
        self.spans.push(Span { from, to: span.to });
    }

    /// The spans with tiny ones that define nothing joined to the neighbour from which a deeper line parts them.
    fn without_crumbs(&mut self) -> Vec<Span> {
        let spans = std::mem::take(&mut self.spans);
        let mut kept: Vec<Span> = Vec::with_capacity(spans.len());
        let mut pending: Option<usize> = None;
        for (at, &span) in spans.iter().enumerate() {
            let from = pending.take().unwrap_or(span.from);
            let crumb = self.is_tiny(span) && !self.defines(span);
            let cost = |line: usize| self.outline.costs.get(line).copied().filter(|&cost| cost < NEVER);
            let fits = |other: Span| self.size(other) + self.size(span) <= self.sizes.whole;
            let back =
                kept.last().copied().filter(|&other| from == span.from && fits(other)).and_then(|_| cost(span.from));
            let ahead = spans.get(at + 1).copied().filter(|&other| fits(other)).and_then(|_| cost(span.to));
            match kept.last_mut() {
                Some(last) if crumb && back.is_some() && back >= ahead => last.to = span.to,
                _ if crumb && ahead.is_some() => pending = Some(from),
                _ => kept.push(Span { from, to: span.to }),
            }
        }
        kept
    }

    /// Whether a unit begins in a span.
    fn defines(&self, span: Span) -> bool {
        let at = self.units.partition_point(|&unit| (self.item(unit).lead as usize) < span.from);
        self.units.get(at).is_some_and(|&unit| (self.item(unit).lead as usize) < span.to)
    }

    /// Bytes without the blank lines at the end.
    pub(super) fn size(&self, span: Span) -> usize {
        self.lines.bytes(span.from, self.last_line(span) + 1)
    }

    pub(super) fn last_line(&self, span: Span) -> usize {
        let mut last = span.to - 1;
        while last > span.from && self.lines.is_blank(last) {
            last -= 1;
        }
        last
    }

    fn limit(&self, span: Span) -> usize {
        match self.unit_over(span) {
            Some(unit) if self.is_leaf(unit) => self.sizes.definition,
            _ => self.sizes.whole,
        }
    }

    fn is_tiny(&self, span: Span) -> bool {
        self.size(span) <= self.sizes.tiny
    }

    fn is_alone(&self, span: Span) -> bool {
        self.size(span) >= self.sizes.alone && self.is_unit(span)
    }

    fn is_unit(&self, span: Span) -> bool {
        self.unit_over(span).is_some()
    }

    /// The item that begins where the span does and ends where it does.
    fn unit_over(&self, span: Span) -> Option<u32> {
        let at = self.units.partition_point(|&unit| (self.item(unit).lead as usize) < span.from);
        let last = self.last_line(span);
        let here = self.units[at..].iter().copied().take_while(|&unit| self.item(unit).lead as usize == span.from);
        here.take_while(|&unit| self.item(unit).end as usize >= last)
            .find(|&unit| (self.item(unit).end as usize) < span.to)
    }

    fn is_leaf(&self, unit: u32) -> bool {
        let inside = unit + 1..self.item(unit).end_item;
        let inner = |i: u32| {
            let item = self.item(i);
            item.unit
                && matches!(item.kind, Kind::Function | Kind::Method | Kind::Type | Kind::Interface | Kind::Section)
        };
        matches!(self.item(unit).kind, Kind::Function | Kind::Method) || !inside.into_iter().any(inner)
    }

    pub(super) fn item(&self, index: u32) -> &Item {
        &self.outline.items[index as usize]
    }
}

/// The cost of beginning a chunk at a line of text without a grammar, from its indentation and the line before.
pub(super) fn text_cost(lines: &Lines<'_>, line: usize) -> u8 {
    let indent = lines.indent(line);
    let closes = lines.get(line).trim_start().starts_with(['}', ')', ']']);
    let level = (indent / 2).min(20) as u8 + u8::from(closes);
    (level * 2 + u8::from(!lines.is_blank(line - 1))).min(COST_MAX)
}
