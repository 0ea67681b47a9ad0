//! Grammars: for each language that has one, what its node kinds mean to the tree walk.

use std::sync::OnceLock;

use tree_sitter::Node;

use super::mask::Mask;
use super::outline::name;
use super::rules;
use super::{Kind, Language};

/// What the walk does with a node.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Nothing, but its children may matter if it is on several lines.
    None,
    /// Nothing, and nothing inside matters.
    Leaf,
    /// Its children matter, also on a single line.
    Group,
    /// A nameless function or type: what is inside is at another place.
    Enter(Place),
    /// A comment or attribute: belongs to what follows it.
    Lead,
    /// An import.
    Import(ImportReader),
    /// Perhaps a definition: the reader says.
    Define(Reader),
}

/// Reads a definition.
pub(super) type Reader = fn(&Site<'_, '_>, &mut Found);
/// Reads an import.
pub(super) type ImportReader = fn(&Site<'_, '_>, &mut dyn FnMut(String));

/// Where a node stands: what a variable means depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In no function and no type.
    File,
    /// In a type.
    Member,
    /// In a function.
    Local,
}

/// A node and what a reader may want to know about it.
pub(super) struct Site<'a, 't> {
    pub(super) text: &'a str,
    pub(super) path: &'a str,
    pub(super) node: Node<'t>,
    pub(super) place: Place,
}

impl<'a, 't> Site<'a, 't> {
    /// The text of a node; empty where it is cut inside a character, which only masked macros could cause.
    pub(super) fn text_of(&self, node: Node<'_>) -> &'a str {
        self.text.get(node.byte_range()).unwrap_or("")
    }

    pub(super) fn field(&self, field: &str) -> Option<Node<'t>> {
        self.node.child_by_field_name(field)
    }

    /// Named children, without recursion and without an index scan each.
    pub(super) fn children(&self) -> impl Iterator<Item = Node<'t>> + use<'t> {
        children(self.node)
    }
}

/// The named children of a node.
pub(super) fn children(node: Node<'_>) -> impl Iterator<Item = Node<'_>> + use<'_> {
    let mut cursor = node.walk();
    let mut more = cursor.goto_first_child();
    std::iter::from_fn(move || {
        while more {
            let child = cursor.node();
            more = cursor.goto_next_sibling();
            if child.is_named() {
                return Some(child);
            }
        }
        None
    })
}

/// The first child of a kind.
pub(super) fn child_of<'t>(node: Node<'t>, kind: &str) -> Option<Node<'t>> {
    children(node).find(|child| child.kind() == kind)
}

/// What a reader found: nothing if there are no names.
pub(super) struct Found {
    pub(super) kind: Kind,
    /// Names with what qualifies them.
    pub(super) names: Vec<(Box<str>, Option<Box<str>>)>,
    /// Members that are no nodes of their own to visit, with their rows.
    pub(super) members: Vec<(Box<str>, usize)>,
    /// See [`super::outline::Item::defines`].
    pub(super) defines: bool,
    /// See [`super::outline::Item::unit`].
    pub(super) unit: bool,
    /// First byte of the body, where the grammar's own idea of it is not it.
    pub(super) body: Option<usize>,
    /// Last row, where it is behind the node's.
    pub(super) end_row: Option<usize>,
    /// It is a kind of comment or attribute after all.
    pub(super) is_lead: bool,
    /// It defines nothing itself, and what is inside matters also on a single line.
    pub(super) is_group: bool,
    pub(super) imports: Vec<String>,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            kind: Kind::Block,
            names: Vec::new(),
            members: Vec::new(),
            defines: true,
            unit: true,
            body: None,
            end_row: None,
            is_lead: false,
            is_group: false,
            imports: Vec::new(),
        }
    }
}

impl Found {
    /// As new, with its memory kept.
    pub(super) fn clear(&mut self) {
        let (mut names, mut imports) = (std::mem::take(&mut self.names), std::mem::take(&mut self.imports));
        names.clear();
        imports.clear();
        *self = Self { names, imports, ..Self::default() };
    }

    /// A definition; without a name there is none.
    pub(super) fn add(&mut self, kind: Kind, text: &str) {
        self.add_qualified(kind, text, None);
    }

    /// A definition whose name is qualified where it stands.
    pub(super) fn add_qualified(&mut self, kind: Kind, text: &str, qualifier: Option<&str>) {
        let text = name(text);
        if !text.is_empty() {
            self.kind = kind;
            self.names.push((text, qualifier.map(name).filter(|qualifier| !qualifier.is_empty())));
        }
    }

    /// Something that encloses definitions and is none.
    pub(super) fn add_scope(&mut self, kind: Kind, text: &str) {
        self.defines = false;
        self.add(kind, text);
    }
}

/// A language's grammar and rules.
pub(super) struct Grammar {
    pub(super) language: tree_sitter::Language,
    /// What is blanked out before parsing.
    pub(super) mask: Option<Mask>,
    /// Whether definitions of the same name that follow each other are one.
    pub(super) joins_clauses: bool,
    /// By kind number.
    rules: Vec<Rule>,
    /// By kind number: what a signature ends before, where there is no field `body`.
    bodies: Vec<bool>,
    body_field: u16,
    /// Calls whose text argument is an import wherever they stand (`require(`).
    pub(super) import_calls: &'static [&'static str],
}

impl Grammar {
    /// The grammar of a language, if there is one.
    pub(super) fn of(language: Language) -> Option<&'static Grammar> {
        static GRAMMARS: [OnceLock<Option<Grammar>>; 256] = [const { OnceLock::new() }; 256];
        GRAMMARS[usize::from(language.number())].get_or_init(|| rules::of(language).map(Grammar::new)).as_ref()
    }

    fn new(table: rules::Table) -> Self {
        let language = table.grammar;
        let count = language.node_kind_count() as u16;
        let mut rules = vec![Rule::None; usize::from(count)];
        let mut bodies = vec![false; usize::from(count)];
        for id in 0..count {
            let (Some(kind), true) = (language.node_kind_for_id(id), language.node_kind_is_named(id)) else { continue };
            let listed = |(kinds, _): &&(&str, Rule)| kinds.split_whitespace().any(|word| word == kind);
            if let Some((_, rule)) = table.rules.iter().find(listed) {
                rules[usize::from(id)] = *rule;
            }
            bodies[usize::from(id)] = table.bodies.split_whitespace().any(|word| word == kind);
        }
        let body_field = language.field_id_for_name("body").map_or(0, std::num::NonZeroU16::get);
        Self {
            language,
            mask: table.mask,
            joins_clauses: table.joins_clauses,
            rules,
            bodies,
            body_field,
            import_calls: table.import_calls,
        }
    }

    pub(super) fn rule(&self, kind: u16) -> Rule {
        self.rules.get(usize::from(kind)).copied().unwrap_or(Rule::None)
    }

    /// The first byte of a node behind the attributes it begins with.
    pub(super) fn after_attributes(&self, node: Node<'_>) -> usize {
        let is_lead = |node: &Node<'_>| matches!(self.rule(node.kind_id()), Rule::Lead) || node.is_extra();
        let mut cursor = node.walk();
        let mut more = cursor.goto_first_child();
        while more {
            let child = cursor.node();
            if child.kind() == "modifiers" {
                if let Some(keyword) = (0..child.child_count()).filter_map(|i| child.child(i)).find(|n| !is_lead(n)) {
                    return keyword.start_byte();
                }
            } else if !is_lead(&child) {
                return child.start_byte();
            }
            more = cursor.goto_next_sibling();
        }
        node.start_byte()
    }

    /// Where the body of a node begins.
    pub(super) fn body_start(&self, node: Node<'_>) -> Option<usize> {
        if self.body_field != 0
            && let Some(body) = node.child_by_field_id(self.body_field)
        {
            return Some(body.start_byte());
        }
        children(node)
            .find(|child| self.bodies[usize::from(child.kind_id()).min(self.bodies.len() - 1)])
            .map(|body| body.start_byte())
    }
}
