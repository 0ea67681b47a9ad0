//! C#: usings, fields, operators.

use super::super::Kind;
use super::super::grammar::{Found, Site, child_of, children};

/// The namespace, or what an alias stands for.
pub(in super::super) fn import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    let alias = site.field("name");
    if let Some(target) = site.children().filter(|child| Some(*child) != alias).last() {
        add(site.text_of(target).to_string());
    }
}

pub(in super::super) fn field(site: &Site<'_, '_>, found: &mut Found) {
    let Some(declaration) = child_of(site.node, "variable_declaration") else { return };
    let mut modifiers = site.children().filter(|child| child.kind() == "modifier");
    let kind = if modifiers.any(|modifier| site.text_of(modifier) == "const") { Kind::Constant } else { Kind::Field };
    for declarator in children(declaration).filter(|child| child.kind() == "variable_declarator") {
        if let Some(name) = declarator.child_by_field_name("name") {
            found.add(kind, site.text_of(name));
        }
    }
}

pub(in super::super) fn destructor(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(name) = site.field("name") {
        found.add(Kind::Method, &format!("~{}", site.text_of(name)));
    }
}

/// `operator +`, `operator int`, `this[]`.
pub(in super::super) fn operator(site: &Site<'_, '_>, found: &mut Found) {
    let name = match site.node.kind() {
        "indexer_declaration" => "this[]".to_string(),
        "conversion_operator_declaration" => {
            format!("operator {}", site.field("type").map_or("", |node| site.text_of(node)))
        }
        _ => format!("operator {}", site.field("operator").map_or("", |node| site.text_of(node))),
    };
    found.add(Kind::Method, &name);
}
