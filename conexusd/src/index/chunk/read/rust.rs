//! Rust: `impl` blocks, modules, `use` trees.

use super::super::Kind;
use super::super::grammar::{Found, Site};
use super::import::expand;

/// `impl Trait for Type`: encloses the methods of `Type`, defines nothing.
pub(in super::super) fn implementation(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(of) = site.field("type") {
        found.add_scope(Kind::Type, bare_type(site.text_of(of)));
    }
}

/// `std::vec::Vec<T>` and `&'a mut Vec<T>` are both `Vec`.
pub(in super::super) fn bare_type(text: &str) -> &str {
    let text = text.trim_start_matches(['&', '*', '[', '(']).trim_start();
    let text = text.strip_prefix("dyn ").unwrap_or(text);
    let text = match text.strip_prefix('\'') {
        Some(lifetime) => lifetime.split_once(' ').map_or(lifetime, |(_, rest)| rest),
        None => text,
    };
    let text = text.strip_prefix("mut ").unwrap_or(text);
    let path = text.split(['<', '[', ';', ')', '+']).next().unwrap_or(text).trim();
    path.rsplit("::").next().unwrap_or(path)
}

/// A module with a body encloses and defines; one without is another file.
pub(in super::super) fn module(site: &Site<'_, '_>, found: &mut Found) {
    let Some(name) = site.field("name") else { return };
    if site.field("body").is_some() {
        found.add(Kind::Module, site.text_of(name));
    } else {
        found.imports.push(format!("self::{}", site.text_of(name)));
    }
}

pub(in super::super) fn import(site: &Site<'_, '_>, add: &mut dyn FnMut(String)) {
    if let Some(argument) = site.field("argument") {
        expand(site.text_of(argument), &[" as "], add);
    } else if let Some(name) = site.field("name") {
        add(site.text_of(name).to_string());
    }
}
