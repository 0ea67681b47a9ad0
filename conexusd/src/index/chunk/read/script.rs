//! JavaScript and TypeScript: functions as values of variables, properties and fields; imports and exports.

use tree_sitter::Node;

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, children};
use super::import::unquote;

pub(in super::super) fn import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    let inner = || children(site.node).find_map(|child| child.child_by_field_name("source"));
    if let Some(source) = site.field("source").or_else(inner) {
        add(unquote(site.text_of(source)).to_string());
    }
}

/// `export … from` imports; `export default` of something nameless is named after its file.
pub(in super::super) fn export(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(source) = site.field("source") {
        found.imports.push(unquote(site.text_of(source)).to_string());
        return;
    }
    let Some(value) = site.field("value") else {
        // The declaration is a child; a group is looked into also on a single line.
        found.is_group = true;
        return;
    };
    let kind = match value_kind(value) {
        Some(kind) => kind,
        None if value.kind() == "object" => Kind::Constant,
        None => return,
    };
    let file = site.path.rsplit('/').next().unwrap_or("");
    let stem = file.split('.').next().unwrap_or("");
    let folder = site.path.rsplit('/').nth(1).unwrap_or("");
    found.defines = !matches!(stem, "index" | "main" | "") && kind != Kind::Constant;
    found.add(kind, if stem == "index" && !folder.is_empty() { folder } else { stem });
    found.body = body_of(value);
}

/// `namespace A.B` and `module "x"`.
pub(in super::super) fn namespace(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(name) = site.field("name") {
        found.add(Kind::Module, unquote(site.text_of(name)));
    }
}

/// An enum and its members.
pub(in super::super) fn enumeration(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    found.add(Kind::Type, site.text_of(name));
    for member in site.field("body").into_iter().flat_map(children) {
        let key = member.child_by_field_name("name").unwrap_or(member);
        if matches!(key.kind(), "property_identifier" | "string") {
            found.members.push((unquote(site.text_of(key)).into(), key.start_position().row));
        }
    }
}

/// What a value defines for the name it is given to: a function, a class, or a function handed to a wrapper
/// (`memo(() => …)`).
fn value_kind(value: Node<'_>) -> Option<Kind> {
    match value.kind() {
        "arrow_function" | "function_expression" | "generator_function" | "function" => Some(Kind::Function),
        "class" => Some(Kind::Type),
        "call_expression" => {
            let first = value.child_by_field_name("arguments").and_then(|list| children(list).next())?;
            matches!(first.kind(), "arrow_function" | "function_expression").then_some(Kind::Function)
        }
        "parenthesized_expression" | "as_expression" | "satisfies_expression" => {
            children(value).next().filter(|inner| inner.kind() != value.kind()).and_then(value_kind)
        }
        _ => None,
    }
}

fn body_of(value: Node<'_>) -> Option<usize> {
    value.child_by_field_name("body").map(|body| body.start_byte())
}

/// `const f = () => …` anywhere; other variables in a file or namespace only.
pub(in super::super) fn variable(site: &Site<'_, '_>, found: &mut Found) {
    for declarator in site.children().filter(|child| child.kind() == "variable_declarator") {
        let Some(name) = declarator.child_by_field_name("name").filter(|name| name.kind() == "identifier") else {
            continue;
        };
        let value = declarator.child_by_field_name("value");
        let function = value.and_then(value_kind);
        let loads = || value.is_some_and(|value| site.text_of(value).starts_with("require("));
        let kind = match function {
            Some(kind) => kind,
            None if site.place == Place::File && !loads() => Kind::Constant,
            None => continue,
        };
        if found.names.is_empty() || kind == found.kind {
            found.add(kind, site.text_of(name));
            found.body = found.body.or_else(|| value.and_then(body_of));
        }
    }
}

/// `exports.f = …`, `Foo.prototype.f = function …`.
pub(in super::super) fn expression(site: &Site<'_, '_>, found: &mut Found) {
    let Some(expression) = site.children().next() else { return };
    if expression.kind() == "internal_module" {
        found.is_group = true;
        return;
    }
    if expression.kind() != "assignment_expression" {
        return;
    }
    let (Some(left), Some(right)) = (expression.child_by_field_name("left"), expression.child_by_field_name("right"))
    else {
        return;
    };
    let (Some(object), Some(property)) = (left.child_by_field_name("object"), left.child_by_field_name("property"))
    else {
        return;
    };
    let object = site.text_of(object);
    let exported = matches!(object, "exports" | "module.exports");
    let kind = match value_kind(right) {
        Some(kind) => kind,
        None if exported && site.place == Place::File && right.kind() != "identifier" => Kind::Constant,
        None => return,
    };
    let owner = object.strip_suffix(".prototype").unwrap_or(object);
    let owner = (!exported && owner != "this" && owner.len() <= 60).then_some(owner);
    let method = kind == Kind::Function && object.ends_with(".prototype");
    if site.text_of(property) != "exports" {
        found.add_qualified(if method { Kind::Method } else { kind }, site.text_of(property), owner);
        found.body = body_of(right);
    }
}

/// `name: () => …` in an object.
pub(in super::super) fn pair(site: &Site<'_, '_>, found: &mut Found) {
    let (Some(key), Some(value)) = (site.field("key"), site.field("value")) else { return };
    if matches!(key.kind(), "property_identifier" | "string")
        && let Some(kind) = value_kind(value).filter(|_| value.kind() != "call_expression")
    {
        found.add(kind, unquote(site.text_of(key)));
        found.body = body_of(value);
    }
}

/// A field of a class is a method if its value is a function.
pub(in super::super) fn field(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name").or_else(|| site.field("property")) else { return };
    let value = site.field("value");
    match value.and_then(value_kind) {
        Some(Kind::Function) => {
            found.add(Kind::Method, site.text_of(name));
            found.body = value.and_then(body_of);
        }
        _ => found.add(Kind::Field, site.text_of(name)),
    }
}
