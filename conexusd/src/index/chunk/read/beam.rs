//! Elixir: everything is a call, so the called word decides.

use tree_sitter::Node;

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, child_of, children};
use super::import::expand;

pub(in super::super) fn call(site: &Site<'_, '_>, found: &mut Found) {
    let Some(target) = site.field("target").filter(|target| target.kind() == "identifier") else { return };
    let Some(first) = child_of(site.node, "arguments").and_then(|list| children(list).next()) else { return };
    let (kind, text) = match site.text_of(target) {
        "defmodule" => (Kind::Module, site.text_of(first)),
        "defprotocol" => (Kind::Interface, site.text_of(first)),
        "defimpl" => return found.add_scope(Kind::Module, site.text_of(first)),
        "def" | "defp" | "defdelegate" | "defn" | "defnp" => (Kind::Function, head_name(site, first)),
        "defmacro" | "defmacrop" | "defguard" | "defguardp" => (Kind::Macro, head_name(site, first)),
        "defexception" | "defstruct" => return,
        "alias" | "import" | "use" | "require" => {
            if matches!(first.kind(), "alias" | "dot") {
                expand(site.text_of(first), &[], &mut |path| found.imports.push(path));
            }
            return;
        }
        _ => return,
    };
    // `Foo.Bar` is `Bar` in `Foo`.
    match (kind, text.rsplit_once('.')) {
        (Kind::Module | Kind::Interface, Some((scope, last))) => found.add_qualified(kind, last, Some(scope)),
        _ => found.add(kind, text),
    }
}

/// The name in `name(a, b) when guard`, `name`, `a <> b`.
fn head_name<'a>(site: &Site<'a, '_>, head: Node<'_>) -> &'a str {
    let mut node = head;
    for _ in 0..4 {
        match node.kind() {
            "call" => match node.child_by_field_name("target") {
                Some(target) => node = target,
                None => return "",
            },
            "binary_operator" => {
                let operator = node.child_by_field_name("operator").map_or("", |operator| site.text_of(operator));
                match node.child_by_field_name("left") {
                    Some(left) if operator == "when" => node = left,
                    _ => return operator,
                }
            }
            "identifier" | "alias" => return site.text_of(node),
            _ => return "",
        }
    }
    ""
}

/// `@doc` and `@spec` belong to what follows; `@type t :: …`, `@callback f(…)` and `@name value` define.
pub(in super::super) fn attribute(site: &Site<'_, '_>, found: &mut Found) {
    if site.place == Place::Local || !site.text_of(site.node).starts_with('@') {
        return;
    }
    let Some(operand) = site.field("operand").filter(|operand| operand.kind() == "call") else { return };
    let Some(target) = operand.child_by_field_name("target") else { return };
    let first = child_of(operand, "arguments").and_then(|list| children(list).next());
    let declared = || {
        let left = first.and_then(|first| first.child_by_field_name("left"))?;
        Some(head_name(site, left))
    };
    match site.text_of(target) {
        "doc" | "spec" | "impl" | "deprecated" | "since" | "dialyzer" | "tag" | "describetag" | "typedoc" => {
            found.is_lead = true;
        }
        "type" | "typep" | "opaque" => found.add(Kind::Type, declared().unwrap_or("")),
        "callback" | "macrocallback" => found.add(Kind::Method, declared().unwrap_or("")),
        "moduledoc" | "behaviour" | "derive" | "enforce_keys" | "moduletag" | "before_compile" | "on_load" => {}
        attribute => {
            found.unit = false;
            found.add(Kind::Constant, attribute);
        }
    }
}
