//! Swift: one node kind for classes, structs, enums, actors and extensions.

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, child_of};

pub(in super::super) fn import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    if let Some(module) = child_of(site.node, "identifier") {
        add(site.text_of(module).to_string());
    }
}

pub(in super::super) fn class(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    let declared = site.field("declaration_kind").map_or("", |kind| site.text_of(kind));
    let text = site.text_of(name).split('<').next().unwrap_or("");
    if declared == "extension" { found.add_scope(Kind::Type, text) } else { found.add(Kind::Type, text) }
}

/// Operators have no name node of their own: the word after `func` is it.
pub(in super::super) fn function(site: &Site<'_, '_>, found: &mut Found) {
    let text = site.text_of(site.node);
    let after = text.split_once("func ").map_or("", |(_, rest)| rest.trim_start());
    let operator: &str = &after[..after.find(|c: char| c.is_alphanumeric() || " (<_`".contains(c)).unwrap_or(0)];
    if !operator.is_empty() {
        found.add(Kind::Function, operator);
    } else if let Some(name) = site.field("name") {
        found.add(Kind::Function, site.text_of(name).trim_matches('`'));
    }
}

pub(in super::super) fn special(site: &Site<'_, '_>, found: &mut Found) {
    let name = match site.node.kind() {
        "init_declaration" => "init",
        "deinit_declaration" => "deinit",
        _ => "subscript",
    };
    found.add(Kind::Method, name);
}

pub(in super::super) fn property(site: &Site<'_, '_>, found: &mut Found) {
    let kind = match site.place {
        Place::File => Kind::Constant,
        Place::Member => Kind::Field,
        Place::Local => return,
    };
    let Some(pattern) = site.field("name") else { return };
    let name = pattern.child_by_field_name("bound_identifier").unwrap_or(pattern);
    if name.kind() == "simple_identifier" {
        found.add(kind, site.text_of(name));
    }
}

pub(in super::super) fn entries(site: &Site<'_, '_>, found: &mut Found) {
    let mut cursor = site.node.walk();
    for name in site.node.children_by_field_name("name", &mut cursor) {
        if name.kind() == "simple_identifier" {
            found.add(Kind::Field, site.text_of(name));
        }
    }
}
