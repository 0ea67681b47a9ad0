//! Python: imports as dotted paths, variables of modules and classes.

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, children};

/// `import a.b`, and `from .a import b` as `.a.b`.
pub(in super::super) fn import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    let module = site.field("module_name");
    let base = match module {
        Some(module) => site.text_of(module).to_string(),
        None if site.node.kind() == "future_import_statement" => "__future__".to_string(),
        None => String::new(),
    };
    let dot = if base.is_empty() || base.ends_with('.') { "" } else { "." };
    for child in site.children().filter(|child| Some(*child) != module) {
        match child.kind() {
            "dotted_name" => add(format!("{base}{dot}{}", site.text_of(child))),
            "aliased_import" => {
                if let Some(name) = child.child_by_field_name("name") {
                    add(format!("{base}{dot}{}", site.text_of(name)));
                }
            }
            "wildcard_import" => add(base.clone()),
            _ => {}
        }
    }
}

/// `NAME = …` in a module is a constant, in a class a field.
pub(in super::super) fn assignment(site: &Site<'_, '_>, found: &mut Found) {
    let kind = match site.place {
        Place::File => Kind::Constant,
        Place::Member => Kind::Field,
        Place::Local => return,
    };
    let Some(assignment) = site.children().next().filter(|child| child.kind() == "assignment") else { return };
    let Some(left) = assignment.child_by_field_name("left") else { return };
    match left.kind() {
        "identifier" => found.add(kind, site.text_of(left)),
        "pattern_list" | "tuple_pattern" => {
            for name in children(left).filter(|name| name.kind() == "identifier") {
                found.add(kind, site.text_of(name));
            }
        }
        _ => {}
    }
}

/// `type Name = …`
pub(in super::super) fn alias(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(left) = site.field("left") {
        found.add(Kind::Type, site.text_of(left).split('[').next().unwrap_or(""));
    }
}
