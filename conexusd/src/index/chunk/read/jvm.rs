//! Java, Kotlin, Scala: imports, fields, and Kotlin's declarations without a field for the name.

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, child_of, children};
use super::import::expand;

pub(in super::super) fn java_import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    let text = site.text_of(site.node).trim_end_matches(';').trim();
    let text = text.strip_prefix("import").unwrap_or(text).trim_start();
    add(text.strip_prefix("static ").unwrap_or(text).trim().to_string());
}

/// `static final` is a constant, the rest are fields.
pub(in super::super) fn java_field(site: &Site<'_, '_>, found: &mut Found) {
    let modifiers = child_of(site.node, "modifiers").map_or("", |modifiers| site.text_of(modifiers));
    let has = |word: &str| modifiers.split_whitespace().any(|other| other == word);
    let constant = (has("static") && has("final")) || site.node.kind() == "constant_declaration";
    let kind = if constant { Kind::Constant } else { Kind::Field };
    found.unit = !constant;
    let mut cursor = site.node.walk();
    for declarator in site.node.children_by_field_name("declarator", &mut cursor) {
        if let Some(name) = declarator.child_by_field_name("name") {
            found.add(kind, site.text_of(name));
        }
    }
}

pub(in super::super) fn kotlin_import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    let text = site.text_of(site.node).trim();
    let text = text.strip_prefix("import").unwrap_or(text).lines().next().unwrap_or("");
    expand(text.trim().trim_end_matches(';'), &[" as "], add);
}

pub(in super::super) fn kotlin_class(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    let mut cursor = site.node.walk();
    let is_interface = site.node.children(&mut cursor).any(|child| child.kind() == "interface");
    found.add(if is_interface { Kind::Interface } else { Kind::Type }, site.text_of(name));
}

pub(in super::super) fn kotlin_property(site: &Site<'_, '_>, found: &mut Found) {
    let kind = match site.place {
        Place::File => Kind::Constant,
        Place::Member => Kind::Field,
        Place::Local => return,
    };
    let variable = child_of(site.node, "variable_declaration");
    if let Some(name) = variable.and_then(|variable| child_of(variable, "identifier")) {
        found.add(kind, site.text_of(name));
    }
}

pub(in super::super) fn kotlin_constructor(_: &Site<'_, '_>, found: &mut Found) {
    found.add(Kind::Method, "constructor");
}

pub(in super::super) fn kotlin_alias(site: &Site<'_, '_>, found: &mut Found) {
    let name = site.field("type").or_else(|| child_of(site.node, "identifier"));
    if let Some(name) = name {
        found.add(Kind::Type, site.text_of(name));
    }
}

pub(in super::super) fn kotlin_entry(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(name) = child_of(site.node, "identifier") {
        found.add(Kind::Field, site.text_of(name));
    }
}

/// `import a.b.{C, D => E}`, `import a.B, c.D`.
pub(in super::super) fn scala_import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    let text = site.text_of(site.node).trim();
    let text = text.strip_prefix("import").unwrap_or(text).trim();
    expand(text, &["=>", " as "], add);
}

/// With a body it encloses definitions; without, it is only a line.
pub(in super::super) fn scala_package(site: &Site<'_, '_>, found: &mut Found) {
    if let (Some(name), Some(_)) = (site.field("name"), site.field("body")) {
        found.add_scope(Kind::Module, site.text_of(name));
    }
}

pub(in super::super) fn scala_value(site: &Site<'_, '_>, found: &mut Found) {
    let kind = match site.place {
        Place::File => Kind::Constant,
        Place::Member => Kind::Field,
        Place::Local => return,
    };
    let Some(pattern) = site.field("pattern").or_else(|| site.field("name")) else { return };
    match pattern.kind() {
        "identifier" => found.add(kind, site.text_of(pattern)),
        "identifiers" => children(pattern).for_each(|name| found.add(kind, site.text_of(name))),
        _ => {}
    }
}
