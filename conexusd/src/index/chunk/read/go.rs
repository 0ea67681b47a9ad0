//! Go: receivers, grouped declarations, import blocks.

use tree_sitter::Node;

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, child_of, children};
use super::import::unquote;

pub(in super::super) fn import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    let mut spec = |node: Node<'_>| {
        if let Some(path) = node.child_by_field_name("path") {
            add(unquote(site.text_of(path)).to_string());
        }
    };
    for child in site.children() {
        match child.kind() {
            "import_spec" => spec(child),
            "import_spec_list" => children(child).filter(|node| node.kind() == "import_spec").for_each(&mut spec),
            _ => {}
        }
    }
}

/// A method's scope is the type of its receiver.
pub(in super::super) fn method(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    let receiver = site.field("receiver").and_then(|list| child_of(list, "parameter_declaration"));
    let of = receiver.and_then(|parameter| parameter.child_by_field_name("type"));
    let bare =
        of.map(|node| site.text_of(node).trim_start_matches(['*', '(', ' ']).split(['[', ')']).next().unwrap_or(""));
    found.add_qualified(Kind::Method, site.text_of(name), bare);
}

pub(in super::super) fn type_(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    let of = site.field("type");
    let kind = if of.is_some_and(|of| of.kind() == "interface_type") { Kind::Interface } else { Kind::Type };
    found.add(kind, site.text_of(name));
    found.body = of
        .filter(|of| matches!(of.kind(), "struct_type" | "interface_type"))
        .and_then(|of| site.text_of(of).find('{').map(|at| of.start_byte() + at));
}

/// Constants and variables of a package; `_` is no name.
pub(in super::super) fn values(site: &Site<'_, '_>, found: &mut Found) {
    if site.place != Place::File {
        return;
    }
    let mut cursor = site.node.walk();
    for name in site.node.children_by_field_name("name", &mut cursor) {
        let text = site.text_of(name);
        if text != "_" && text != "," {
            found.add(Kind::Constant, text);
        }
    }
}
