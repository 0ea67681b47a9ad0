//! Haskell and Lua: equations with signatures, functions as values of tables.

use tree_sitter::Node;

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, child_of, children};

pub(in super::super) fn haskell_import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    if let Some(module) = site.field("module") {
        add(site.text_of(module).to_string());
    }
}

/// A signature or an equation; of a local one only what is inside matters.
pub(in super::super) fn haskell_function(site: &Site<'_, '_>, found: &mut Found) {
    if site.place == Place::Local {
        return;
    }
    if let Some(name) = site.field("name") {
        found.add(Kind::Function, bare_operator(site.text_of(name)));
    } else if let Some(names) = site.field("names") {
        children(names).for_each(|name| found.add(Kind::Function, bare_operator(site.text_of(name))));
    } else if let Some(operator) = child_of(site.node, "infix").and_then(|infix| infix.child_by_field_name("operator"))
    {
        found.add(Kind::Function, bare_operator(site.text_of(operator)));
    }
}

/// `(<+>)` and `` `on` `` without their wrapping.
fn bare_operator(text: &str) -> &str {
    text.trim_matches(['(', ')', '`', ' '])
}

pub(in super::super) fn haskell_foreign(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(name) = site.field("signature").and_then(|signature| signature.child_by_field_name("name")) {
        found.add(Kind::Function, site.text_of(name));
    }
}

/// `instance Show Color` encloses methods, defines nothing.
pub(in super::super) fn haskell_instance(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    let of = site.field("patterns").map_or("", |patterns| site.text_of(patterns));
    found.add_scope(Kind::Type, &format!("{} {of}", site.text_of(name)));
}

/// A constructor and, of a record, its fields: they are functions.
pub(in super::super) fn haskell_constructor(site: &Site<'_, '_>, found: &mut Found) {
    let holder = site.field("constructor").filter(|node| node.kind() != "constructor").unwrap_or(site.node);
    let name = holder.child_by_field_name("name").or_else(|| holder.child_by_field_name("operator"));
    if let Some(name) = name {
        found.add(Kind::Field, site.text_of(name));
    }
    let record = child_of(holder, "fields").or_else(|| child_of(holder, "record")).or_else(|| site.field("field"));
    for field in record.into_iter().flat_map(children).filter(|node| node.kind() == "field") {
        for name in children(field).filter(|node| node.kind() == "field_name") {
            found.members.push((site.text_of(name).into(), name.start_position().row));
        }
    }
}

pub(in super::super) fn haskell_pattern(site: &Site<'_, '_>, found: &mut Found) {
    let text = site.text_of(site.node);
    let name = text.strip_prefix("pattern").and_then(|rest| rest.split_whitespace().next()).unwrap_or("");
    found.add(Kind::Constant, name);
}

/// `function name`, `function M.name`, `function M:name`.
pub(in super::super) fn lua_function(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(name) = site.field("name") {
        lua_name(site, found, name, Kind::Function);
    }
}

fn lua_name(site: &Site<'_, '_>, found: &mut Found, name: Node<'_>, kind: Kind) {
    let text = site.text_of(name);
    match text.rsplit_once([':', '.']) {
        Some((table, last)) => {
            let kind = if kind == Kind::Function && text.contains(':') { Kind::Method } else { kind };
            found.add_qualified(kind, last, Some(&table.replace(':', ".")));
        }
        None => found.add(kind, text),
    }
}

/// `M.f = function`, `local f = function`, and constants of the file.
pub(in super::super) fn lua_assignment(site: &Site<'_, '_>, found: &mut Found) {
    let assignment = child_of(site.node, "assignment_statement").unwrap_or(site.node);
    let first = |list: &str| child_of(assignment, list).and_then(|list| children(list).next());
    let (Some(name), Some(value)) = (first("variable_list"), first("expression_list")) else { return };
    if !matches!(name.kind(), "identifier" | "dot_index_expression") {
        return;
    }
    if value.kind() == "function_definition" {
        lua_name(site, found, name, Kind::Function);
        found.body = value.child_by_field_name("body").map(|body| body.start_byte());
    } else if site.place == Place::File && !site.text_of(value).starts_with("require") {
        lua_name(site, found, name, Kind::Constant);
    }
}

/// `name = function` in a table.
pub(in super::super) fn lua_field(site: &Site<'_, '_>, found: &mut Found) {
    if let (Some(name), Some(value)) = (site.field("name"), site.field("value"))
        && value.kind() == "function_definition"
        && name.kind() == "identifier"
    {
        found.add(Kind::Function, site.text_of(name));
    }
}
