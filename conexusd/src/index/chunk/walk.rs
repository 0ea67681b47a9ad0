//! The tree walk: what the nodes of a tree mean for a file's outline.
//!
//! One pass of a cursor over the nodes that matter: those on several lines, and those that hold definitions. Nothing
//! recurses over the depth of the tree, which the text decides.

use tree_sitter::{Node, Tree};

use super::Kind;
use super::grammar::{Found, Grammar, Place, Reader, Rule, Site};
use super::outline::{self, COST_MAX, Item, Lines, NEVER, Outline};
use super::split::text_cost;
use crate::ablation::{Signal, off};

/// An open node.
#[derive(Clone, Copy)]
struct Frame {
    /// The innermost item.
    item: Option<u32>,
    place: Place,
    /// Whether this node is that item's own.
    owns: bool,
}

pub(super) struct Walk<'a> {
    grammar: &'a Grammar,
    path: &'a str,
    lines: &'a Lines<'a>,
    outline: Outline,
    /// Changes of nesting depth from one line to the next, to be summed.
    depth: Vec<i32>,
    /// Lines that are only comment or attribute.
    lead: Vec<Lead>,
    /// How many stretches that the grammar could not parse a line is in; changes only, like `depth`.
    broken: Vec<i32>,
    frames: Vec<Frame>,
    found: Found,
    /// The item that was finished last, to join clauses.
    last_unit: Option<u32>,
    /// The line asked for last and its answer: many items may begin on one line.
    last_lead: (usize, usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lead {
    No,
    First,
    Later,
}

impl<'a> Walk<'a> {
    pub(super) fn new(grammar: &'a Grammar, path: &'a str, lines: &'a Lines<'a>) -> Self {
        Self {
            grammar,
            path,
            lines,
            outline: Outline::default(),
            depth: vec![0; lines.count() + 2],
            lead: vec![Lead::No; lines.count() + 1],
            broken: vec![0; lines.count() + 2],
            frames: vec![Frame { item: None, place: Place::File, owns: false }],
            found: Found::default(),
            last_unit: None,
            last_lead: (usize::MAX, 0),
        }
    }

    pub(super) fn run(mut self, tree: &Tree) -> Outline {
        let mut cursor = tree.walk();
        let mut descend = cursor.goto_first_child();
        while descend {
            let inside = self.visit(cursor.node());
            if let Some(frame) = inside
                && cursor.goto_first_child()
            {
                self.frames.push(frame);
                continue;
            }
            if let Some(Frame { item: Some(item), owns: true, .. }) = inside {
                self.close(item);
            }
            while !cursor.goto_next_sibling() {
                descend = cursor.goto_parent() && self.frames.len() > 1;
                if !descend {
                    break;
                }
                if let Some(Frame { item: Some(item), owns: true, .. }) = self.frames.pop() {
                    self.close(item);
                }
            }
        }
        self.finish()
    }

    /// Takes one node in. Returns the frame for its children if they are to be visited.
    fn visit(&mut self, node: Node<'_>) -> Option<Frame> {
        let (from, to) = self.rows(node);
        let rule = self.grammar.rule(node.kind_id());
        let several = to > from;
        if several {
            self.depth[from + 1] += 1;
            self.depth[to + 1] -= 1;
        }
        let frame = *self.frames.last().expect("the file's own frame is never popped");
        let inside = Frame { owns: false, ..frame };
        match rule {
            Rule::None => {
                if several && node.is_error() {
                    self.broken[from + 1] += 1;
                    self.broken[to + 1] -= 1;
                }
                several.then_some(inside)
            }
            Rule::Leaf => None,
            Rule::Group => Some(inside),
            Rule::Enter(place) => several.then_some(Frame { place, ..inside }),
            Rule::Lead => {
                self.mark_lead(node, from, to);
                None
            }
            Rule::Import(read) => {
                let at = node.start_byte() as u32;
                let site = self.site(node, frame);
                let imports = &mut self.outline.imports;
                read(&site, &mut |import| imports.push((at, import)));
                None
            }
            Rule::Define(read) => self.define(node, read, frame, several),
        }
    }

    fn define(&mut self, node: Node<'_>, read: Reader, frame: Frame, several: bool) -> Option<Frame> {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        read(&self.site(node, frame), &mut found);
        let inside = Frame { owns: false, ..frame };
        self.outline.imports.extend(found.imports.drain(..).map(|import| (node.start_byte() as u32, import)));
        if found.is_lead {
            let (from, to) = self.rows(node);
            self.mark_lead(node, from, to);
        }
        let result = if found.names.is_empty() {
            (several || found.is_group).then_some(inside)
        } else {
            let item = self.add(node, &found, frame);
            let container = matches!(found.kind, Kind::Type | Kind::Interface | Kind::Module);
            let place = match found.kind {
                Kind::Type | Kind::Interface => Place::Member,
                Kind::Module => Place::File,
                _ => Place::Local,
            };
            if several || container {
                Some(Frame { item: Some(item), place, owns: true })
            } else {
                self.close(item);
                None
            }
        };
        self.found = found;
        result
    }

    fn site<'s, 't>(&self, node: Node<'t>, frame: Frame) -> Site<'s, 't>
    where
        'a: 's,
    {
        Site { text: self.lines.text, path: self.path, node, place: frame.place }
    }

    /// Adds what a node defines; the first name is the item that encloses what is inside.
    fn add(&mut self, node: Node<'_>, found: &Found, frame: Frame) -> u32 {
        let (first, last) = self.rows(node);
        let last = found.end_row.map_or(last, |row| row.clamp(last, self.lines.count().saturating_sub(1)));
        if last > first && found.end_row.is_some() {
            self.depth[first + 1] += 1;
            self.depth[last + 1] -= 1;
        }
        let signature = self.signature_of(node, found);
        let start = self.lines.line_of(signature.0 as usize).clamp(first, last);
        self.lead[first] = Lead::No;
        let lead = if off(Signal::DocComments) { first } else { self.lead_of(first) };
        let kind = match found.kind {
            Kind::Function if frame.place == Place::Member => Kind::Method,
            kind => kind,
        };
        let unit = found.unit && (kind != Kind::Field || last > first);
        if let Some(earlier) = self.same_clause(found, frame, kind, lead) {
            self.extend_clause(earlier, lead, last);
            return earlier;
        }
        let index = self.outline.items.len() as u32;
        for (i, (name, qualifier)) in found.names.iter().enumerate() {
            self.outline.items.push(Item {
                kind,
                name: name.clone(),
                qualifier: qualifier.clone(),
                parent: frame.item,
                end_item: index + i as u32 + 1,
                lead: lead as u32,
                start: start as u32,
                end: last as u32,
                signature,
                defines: found.defines,
                unit: unit && i == 0,
            });
        }
        // Fields of a constructor are its type's.
        let parent = if kind == Kind::Field { frame.item } else { Some(index) };
        for (name, row) in &found.members {
            let at = self.outline.items.len() as u32;
            self.outline.items.push(member(name, *row as u32, parent, at));
        }
        // What is inside belongs to the first name: the others follow it as empty siblings.
        self.outline.items[index as usize].end_item = self.outline.items.len() as u32;
        index
    }

    /// The item before, where this one is another clause of the same definition.
    fn same_clause(&self, found: &Found, frame: Frame, kind: Kind, lead: usize) -> Option<u32> {
        let last = self.last_unit?;
        let item = &self.outline.items[last as usize];
        let same = self.grammar.joins_clauses
            && found.names.len() == 1
            && item.parent == frame.item
            && item.kind == kind
            && item.name == found.names[0].0
            && lead <= item.end as usize + 2;
        same.then_some(last)
    }

    fn extend_clause(&mut self, item: u32, lead: usize, end: usize) {
        let item = &mut self.outline.items[item as usize];
        self.depth[item.end as usize + 1] += 1;
        self.depth[lead.max(item.end as usize + 1) + 1] -= 1;
        item.end = item.end.max(end as u32);
    }

    fn close(&mut self, item: u32) {
        self.outline.items[item as usize].end_item = self.outline.items.len() as u32;
        self.last_unit = Some(item);
    }

    /// Rows of a node: an end at the start of a row is the end of the row before.
    fn rows(&self, node: Node<'_>) -> (usize, usize) {
        let last = self.lines.count().saturating_sub(1);
        let from = node.start_position().row.min(last);
        let end = node.end_position();
        let to = if end.column == 0 && end.row > from { end.row - 1 } else { end.row };
        (from, to.clamp(from, last))
    }

    /// Notes lines that hold nothing but a comment or an attribute.
    fn mark_lead(&mut self, node: Node<'_>, from: usize, to: usize) {
        let text = self.lines.text.as_bytes();
        let line_start = self.lines.start(from) as usize;
        let before = &text[line_start..node.start_byte().max(line_start)];
        let end = node.end_byte().min(text.len());
        // Some comment nodes take their newline in.
        let after = text[end..].iter().take_while(|&&b| b != b'\n' && text[end - 1] != b'\n');
        let alone = before.iter().all(u8::is_ascii_whitespace) || before.trim_ascii().starts_with(b"template");
        if !alone || !after.into_iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.lead[from] = Lead::First;
        self.lead[from + 1..=to].fill(Lead::Later);
    }

    /// The first of the comment and attribute lines that stand directly above a line, as far indented.
    fn lead_of(&mut self, line: usize) -> usize {
        if self.last_lead.0 == line {
            return self.last_lead.1;
        }
        let mut lead = line;
        let mut at = line;
        while at > 0 && self.lead[at - 1] != Lead::No {
            at -= 1;
            if self.lead[at] == Lead::First {
                if self.lines.indent(at) != self.lines.indent(line) {
                    break;
                }
                lead = at;
            }
        }
        self.last_lead = (line, lead);
        lead
    }

    /// From behind the attributes, or the start of the line where only keywords stand before, to the body.
    fn signature_of(&self, node: Node<'_>, found: &Found) -> (u32, u32) {
        let text = self.lines.text;
        let start = self.grammar.after_attributes(node);
        let line_start = self.lines.start(self.lines.line_of(start)) as usize;
        let before = text.get(line_start..start).unwrap_or("");
        let keywords = before.bytes().all(|b| b.is_ascii_alphanumeric() || b" \t_<>,:".contains(&b));
        let start = if keywords { start - before.trim_start().len() } else { start };
        let end = match found.body.or_else(|| self.grammar.body_start(node)) {
            Some(body) if body > start => body,
            _ => {
                let line = self.lines.line_of(start);
                let line_end = self.lines.start((line + 1).min(self.lines.count())) as usize;
                node.end_byte().min(line_end).max(start)
            }
        };
        (start as u32, end as u32)
    }

    fn finish(mut self) -> Outline {
        let (mut depth, mut broken) = (0, 0);
        let mut costs = Vec::with_capacity(self.lines.count());
        costs.push(0);
        for line in 1..self.lines.count() {
            depth += self.depth[line];
            broken += self.broken[line];
            if self.lines.is_blank(line) {
                costs.push(NEVER);
                continue;
            }
            let level = depth + i32::from(self.lead[line - 1] != Lead::No);
            let by_text = if broken > 0 { i32::from(text_cost(self.lines, line)) } else { 0 };
            let cost = level * 2 + i32::from(!self.lines.is_blank(line - 1)) + by_text;
            costs.push(cost.clamp(0, i32::from(COST_MAX)) as u8);
        }
        self.outline.costs = costs;
        self.outline
    }
}

/// A member of an item: a definition on one line and no chunk.
fn member(name: &str, row: u32, parent: Option<u32>, index: u32) -> Item {
    Item {
        kind: Kind::Field,
        name: outline::name(name),
        qualifier: None,
        parent,
        end_item: index + 1,
        lead: row,
        start: row,
        end: row,
        signature: (0, 0),
        defines: true,
        unit: false,
    }
}
