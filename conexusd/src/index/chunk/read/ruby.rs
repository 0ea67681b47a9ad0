//! Ruby: methods, reopened classes, constants, and the calls that define or load things.

use tree_sitter::Node;

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, children};
use super::import::unquote;

pub(in super::super) fn method(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    let class_method = site.node.kind() == "singleton_method";
    let kind = if class_method || site.place == Place::Member { Kind::Method } else { Kind::Function };
    found.add(kind, site.text_of(name));
}

pub(in super::super) fn class(site: &Site<'_, '_>, found: &mut Found) {
    scoped(site, found, Kind::Type);
}

/// A module holds methods as a class does.
pub(in super::super) fn module(site: &Site<'_, '_>, found: &mut Found) {
    scoped(site, found, Kind::Module);
}

/// `A::B` is `B` in `A`.
fn scoped(site: &Site<'_, '_>, found: &mut Found, kind: Kind) {
    let Some(name) = site.field("name") else { return };
    match site.text_of(name).rsplit_once("::") {
        Some((scope, last)) => found.add_qualified(kind, last, Some(&scope.replace("::", "."))),
        None => found.add(kind, site.text_of(name)),
    }
}

/// `NAME = …`; with `Struct.new`, `Class.new`, `Data.define` a type.
pub(in super::super) fn assignment(site: &Site<'_, '_>, found: &mut Found) {
    let Some(left) = site.field("left").filter(|left| left.kind() == "constant") else { return };
    let right = site.field("right").map_or("", |right| site.text_of(right));
    let makes_type = ["Struct.new", "Class.new", "Data.define"].iter().any(|call| right.starts_with(call));
    found.add(if makes_type { Kind::Type } else { Kind::Constant }, site.text_of(left));
}

pub(in super::super) fn call(site: &Site<'_, '_>, found: &mut Found) {
    let Some(method) = site.field("method") else { return };
    let symbols = || site.field("arguments").into_iter().flat_map(children).filter(is_literal);
    let text = |node: Node<'_>| unquote(site.text_of(node).trim_start_matches(':')).to_string();
    match site.text_of(method) {
        "attr_accessor" | "attr_reader" | "attr_writer" | "cattr_accessor" | "mattr_accessor" | "class_attribute" => {
            symbols().for_each(|node| found.add(Kind::Field, &text(node)));
        }
        "define_method" | "alias_method" => {
            symbols().take(1).for_each(|node| found.add(Kind::Method, &text(node)));
        }
        "require" | "load" if site.field("receiver").is_none() => {
            found.imports.extend(symbols().take(1).map(text));
        }
        "require_relative" => found.imports.extend(
            symbols().take(1).map(text).map(|path| if path.starts_with('.') { path } else { format!("./{path}") }),
        ),
        _ => {}
    }
}

fn is_literal(node: &Node<'_>) -> bool {
    matches!(node.kind(), "simple_symbol" | "string" | "delimited_symbol")
}
