//! Zig: types are values of constants, tests have text for names.

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, child_of};
use super::import::unquote;

/// `const Name = struct { … }` is a type; `@import` is none of a file's own names.
pub(in super::super) fn zig_variable(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = child_of(site.node, "identifier") else { return };
    let value = site.children().last().filter(|value| *value != name);
    let kind = match value.map(|value| value.kind()) {
        Some("struct_declaration" | "enum_declaration" | "union_declaration" | "opaque_declaration") => Kind::Type,
        Some("error_set_declaration") => Kind::Type,
        _ if site.place == Place::Local => return,
        _ if value.is_some_and(|value| site.text_of(value).starts_with("@import")) => return,
        _ => Kind::Constant,
    };
    found.add(kind, site.text_of(name));
    if kind == Kind::Type
        && let Some(value) = value
    {
        found.body = site.text_of(value).find('{').map(|at| value.start_byte() + at);
    }
}

pub(in super::super) fn zig_test(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(name) = site.children().next().filter(|name| matches!(name.kind(), "string" | "identifier")) {
        found.add(Kind::Function, unquote(site.text_of(name)));
        found.body = child_of(site.node, "block").map(|body| body.start_byte());
    }
}

/// Members of enums and unions; a struct's fields are not of note.
pub(in super::super) fn zig_field(site: &Site<'_, '_>, found: &mut Found) {
    let parent = site.node.parent().map(|parent| parent.kind());
    if matches!(parent, Some("enum_declaration" | "union_declaration"))
        && let Some(name) = site.field("name")
    {
        found.add(Kind::Field, site.text_of(name));
    }
}
