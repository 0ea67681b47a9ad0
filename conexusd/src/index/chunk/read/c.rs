//! C and C++: declarators inside out, out-of-class definitions, macros that define.

use tree_sitter::Node;

use super::super::Kind;
use super::super::grammar::{Found, Place, Site, child_of, children};
use super::import::unquote;

/// System headers keep their brackets: `<stdio.h>`, but `list.h`.
pub(in super::super) fn include(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    if let Some(path) = site.field("path") {
        add(unquote(site.text_of(path)).to_string());
    }
}

/// `#define NAME value`; a guard has no value and is no definition.
pub(in super::super) fn macro_value(site: &Site<'_, '_>, found: &mut Found) {
    if let (Some(name), Some(_)) = (site.field("name"), site.field("value")) {
        found.add(Kind::Macro, site.text_of(name));
    }
}

/// What a declarator declares.
struct Declared<'a> {
    name: &'a str,
    /// `A::B` of `A::B::name`, without template arguments.
    qualifier: Option<String>,
    is_function: bool,
}

/// Walks a declarator down to its name: `*(*name(int a))(void)`.
fn declared<'a>(site: &Site<'a, '_>, declarator: Node<'_>) -> Option<Declared<'a>> {
    let mut node = declarator;
    let mut is_function = false;
    let mut qualifier = String::new();
    for _ in 0..24 {
        match node.kind() {
            "identifier" | "field_identifier" | "type_identifier" | "destructor_name" | "primitive_type" => {
                let name = Some(site.text_of(node)).filter(|name| !matches!(*name, "true" | "false"))?;
                return Some(Declared { name, qualifier: Some(qualifier).filter(|q| !q.is_empty()), is_function });
            }
            "operator_name" | "operator_cast" => {
                let text = site.text_of(node);
                let name = text.split('(').next().filter(|name| name.trim() != "operator").unwrap_or("operator()");
                return Some(Declared {
                    name,
                    qualifier: Some(qualifier).filter(|q| !q.is_empty()),
                    is_function: true,
                });
            }
            "qualified_identifier" => {
                if let Some(scope) = node.child_by_field_name("scope") {
                    if !qualifier.is_empty() {
                        qualifier.push('.');
                    }
                    qualifier.push_str(site.text_of(scope).split('<').next().unwrap_or(""));
                }
                node = node.child_by_field_name("name")?;
            }
            "template_function" | "template_method" => node = node.child_by_field_name("name")?,
            kind => {
                is_function |= kind == "function_declarator";
                let inner = node.child_by_field_name("declarator");
                let nested = |child: &Node<'_>| child.kind().ends_with("declarator") || child.kind() == "identifier";
                node = inner.or_else(|| children(node).find(nested))?;
            }
        }
    }
    None
}

pub(in super::super) fn function(site: &Site<'_, '_>, found: &mut Found) {
    let Some(declarator) = site.field("declarator") else { return };
    let Some(declared) = declared(site, declarator) else { return };
    if !declared.is_function && site.field("type").is_none_or(|of| of.kind() != "type_identifier") {
        return;
    }
    if is_macro_name(declared.name) && site.field("type").is_none_or(|of| of.kind() == "type_identifier") {
        return test_macro(site, found, declarator, declared.name);
    }
    let kind = if declared.qualifier.is_some() { Kind::Method } else { Kind::Function };
    found.add_qualified(kind, declared.name, declared.qualifier.as_deref());
}

/// `TEST(Suite, Name) { … }` looks like a function of that name: the arguments say what it is, unless they are the
/// parameters of one whose name is all capitals.
fn test_macro(site: &Site<'_, '_>, found: &mut Found, declarator: Node<'_>, called: &str) {
    let parameters = declarator.child_by_field_name("parameters");
    let is_name = |name: &&str| !name.contains(char::is_whitespace);
    let mut names =
        parameters.into_iter().flat_map(children).map(|parameter| site.text_of(parameter)).take_while(is_name);
    match (names.next(), names.next()) {
        (Some(suite), Some(name)) if called.contains("TEST") => found.add_qualified(Kind::Function, name, Some(suite)),
        (Some(first), _) if !first.is_empty() => found.add(Kind::Function, first),
        _ => found.add(Kind::Function, called),
    }
}

fn is_macro_name(name: &str) -> bool {
    name.len() > 2 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Variables of a file with their values, and in a class the members that look like no field (constructors).
/// Prototypes are no definitions.
pub(in super::super) fn declaration(site: &Site<'_, '_>, found: &mut Found) {
    if site.place == Place::Local {
        return;
    }
    let is_extern = |node: Node<'_>| node.kind() == "storage_class_specifier" && site.text_of(node) == "extern";
    if site.children().any(is_extern) {
        return;
    }
    let mut cursor = site.node.walk();
    for declarator in site.node.children_by_field_name("declarator", &mut cursor) {
        let Some(declared) = declared(site, declarator) else { continue };
        let kind = match (site.place, declared.is_function) {
            (Place::Member, true) => Kind::Method,
            (Place::Member, false) => Kind::Field,
            // `Foo bar(1);` and `int (*hook)(void) = f;` are told from prototypes by their value only.
            (_, true) if declarator.kind() != "init_declarator" => continue,
            _ => Kind::Constant,
        };
        if found.names.is_empty() || kind == found.kind {
            found.add_qualified(kind, declared.name, declared.qualifier.as_deref());
        }
    }
    // `DEFINE_PER_CPU(int, name);` is read as a type without a name.
    let of =
        site.field("type").filter(|of| of.kind() == "macro_type_specifier" && site.text_of(*of).contains("DEFINE"));
    if let Some(argument) = of.and_then(|of| of.child_by_field_name("type")).filter(|_| found.names.is_empty()) {
        found.add(Kind::Constant, site.text_of(argument));
    }
}

/// Of a class's members those of note: functions and what is `static`.
pub(in super::super) fn field(site: &Site<'_, '_>, found: &mut Found) {
    let mut cursor = site.node.walk();
    let is_static = |node: Node<'_>| {
        node.kind() == "storage_class_specifier" && site.text_of(node) == "static"
            || node.kind() == "type_qualifier" && site.text_of(node) == "constexpr"
    };
    let of_note = site.children().any(is_static);
    for declarator in site.node.children_by_field_name("declarator", &mut cursor) {
        let Some(declared) = declared(site, declarator) else { continue };
        let pointer =
            declarator.kind() == "function_declarator" && child_of(declarator, "parenthesized_declarator").is_some();
        if declared.is_function && !pointer {
            found.add(Kind::Method, declared.name);
        } else if of_note {
            found.add(Kind::Field, declared.name);
        }
    }
}

/// `typedef struct { … } name;`
pub(in super::super) fn type_definition(site: &Site<'_, '_>, found: &mut Found) {
    if site.place == Place::Local {
        return;
    }
    let mut cursor = site.node.walk();
    for declarator in site.node.children_by_field_name("declarator", &mut cursor) {
        if let Some(declared) = declared(site, declarator) {
            found.add(Kind::Type, declared.name);
        }
    }
    found.body = site.field("type").and_then(|of| of.child_by_field_name("body")).map(|body| body.start_byte());
}

/// `struct name { … }`; without a body it is only mentioned.
pub(in super::super) fn type_with_body(site: &Site<'_, '_>, found: &mut Found) {
    if site.field("body").is_none() {
        return;
    }
    let Some(name) = site.field("name") else {
        // The members of a nameless one are its surroundings' own.
        found.is_group = true;
        return;
    };
    let text = site.text_of(name);
    let text = text.split('<').next().unwrap_or(text);
    match text.rsplit_once("::") {
        Some((scope, last)) => found.add_qualified(Kind::Type, last, Some(&scope.replace("::", "."))),
        None => found.add(Kind::Type, text),
    }
}

/// `namespace a::b { … }`; a nameless one encloses without a name.
pub(in super::super) fn namespace(site: &Site<'_, '_>, found: &mut Found) {
    match site.field("name") {
        Some(name) => found.add_scope(Kind::Module, &site.text_of(name).replace("::", ".")),
        None => found.is_group = true,
    }
}

/// `DEFINE_MUTEX(name);` defines `name`; `SYSCALL_DEFINE3(name, …) { … }` is a function.
pub(in super::super) fn macro_call(site: &Site<'_, '_>, found: &mut Found) {
    if site.place != Place::File {
        return;
    }
    let Some(call) = site.children().next().filter(|child| child.kind() == "call_expression") else { return };
    let Some(function) = call.child_by_field_name("function").map(|function| site.text_of(function)) else { return };
    if !is_macro_name(function) {
        return;
    }
    let arguments = call.child_by_field_name("arguments");
    let Some(first) = arguments.and_then(|list| children(list).next()).filter(|arg| arg.kind() == "identifier") else {
        return;
    };
    let body = site.node.next_sibling().filter(|next| next.kind() == "compound_statement");
    if let Some(body) = body {
        found.add(Kind::Function, site.text_of(first));
        found.body = Some(body.start_byte());
        found.end_row = Some(body.end_position().row);
    } else if function.contains("DEFINE") {
        found.add(Kind::Constant, site.text_of(first));
    }
}
