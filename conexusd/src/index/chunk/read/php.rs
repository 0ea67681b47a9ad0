//! PHP: namespaces, `use`, constants, properties, included files.

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, child_of, children};
use super::import::{expand, unquote};

/// `use A\{B, C as D};`
pub(in super::super) fn import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    let text = site.text_of(site.node).trim_end_matches(';').trim();
    let text = text.strip_prefix("use").unwrap_or(text).trim_start();
    let text = text.strip_prefix("function ").or_else(|| text.strip_prefix("const ")).unwrap_or(text);
    expand(text, &[" as "], add);
}

/// With a body it encloses definitions; without, it is only a line.
pub(in super::super) fn namespace(site: &Site<'_, '_>, found: &mut Found) {
    if let (Some(name), Some(_)) = (site.field("name"), site.field("body")) {
        found.add_scope(Kind::Module, site.text_of(name));
    }
}

pub(in super::super) fn constants(site: &Site<'_, '_>, found: &mut Found) {
    for element in site.children().filter(|child| child.kind() == "const_element") {
        if let Some(name) = child_of(element, "name") {
            found.add(Kind::Constant, site.text_of(name));
        }
    }
}

pub(in super::super) fn properties(site: &Site<'_, '_>, found: &mut Found) {
    for element in site.children().filter(|child| child.kind() == "property_element") {
        if let Some(name) = element.child_by_field_name("name") {
            found.add(Kind::Field, site.text_of(name).trim_start_matches('$'));
        }
    }
}

/// `define('NAME', …)`, `require 'file'`.
pub(in super::super) fn statement(site: &Site<'_, '_>, found: &mut Found) {
    let Some(expression) = site.children().next() else { return };
    match expression.kind() {
        "function_call_expression" if site.place == Place::File => {
            let function = expression.child_by_field_name("function");
            let arguments = expression.child_by_field_name("arguments");
            if function.is_some_and(|function| site.text_of(function).eq_ignore_ascii_case("define"))
                && let Some(argument) = arguments.and_then(|list| children(list).next())
            {
                found.add(Kind::Constant, unquote(site.text_of(argument)));
            }
        }
        "require_expression" | "require_once_expression" | "include_expression" | "include_once_expression" => {
            let text = site.text_of(expression);
            let quoted = text.find(['\'', '"']).map(|at| &text[at..]);
            if let Some(path) = quoted.map(|rest| unquote(rest.trim_end_matches(')'))) {
                found.imports.push(path.to_string());
            }
        }
        _ => {}
    }
}
