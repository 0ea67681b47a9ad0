//! Shell: variables of a script, sourced files.

use super::super::Kind;
use super::super::grammar::{Found, Place, Site};
use super::import::unquote;

/// `NAME=…`, also after `export` or `readonly`, outside functions.
pub(in super::super) fn assignment(site: &Site<'_, '_>, found: &mut Found) {
    if site.place != Place::File {
        return;
    }
    let own = (site.node.kind() == "variable_assignment").then_some(site.node);
    let inner = site.children().filter(|child| child.kind() == "variable_assignment");
    for assignment in own.into_iter().chain(inner) {
        if let Some(name) = assignment.child_by_field_name("name").filter(|name| name.kind() == "variable_name") {
            found.add(Kind::Constant, site.text_of(name));
        }
    }
}

/// `source file` and `. file`.
pub(in super::super) fn command(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    if matches!(site.text_of(name), "source" | ".")
        && let Some(file) = site.field("argument")
    {
        found.imports.push(unquote(site.text_of(file)).to_string());
    }
}
