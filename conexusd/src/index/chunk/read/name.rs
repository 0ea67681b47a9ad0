//! Definitions whose name is the field `name`.

use super::super::Kind;
use super::super::grammar::{Found, Place, Site};

fn named(site: &Site<'_, '_>, found: &mut Found, kind: Kind) {
    if let Some(name) = site.field("name") {
        found.add(kind, site.text_of(name));
    }
}

pub(in super::super) fn function(site: &Site<'_, '_>, found: &mut Found) {
    named(site, found, Kind::Function);
}

pub(in super::super) fn method(site: &Site<'_, '_>, found: &mut Found) {
    named(site, found, Kind::Method);
}

pub(in super::super) fn type_(site: &Site<'_, '_>, found: &mut Found) {
    named(site, found, Kind::Type);
}

pub(in super::super) fn interface(site: &Site<'_, '_>, found: &mut Found) {
    named(site, found, Kind::Interface);
}

pub(in super::super) fn macro_(site: &Site<'_, '_>, found: &mut Found) {
    named(site, found, Kind::Macro);
}

pub(in super::super) fn field(site: &Site<'_, '_>, found: &mut Found) {
    named(site, found, Kind::Field);
}

/// A constant; inside a function only what it encloses matters.
pub(in super::super) fn constant(site: &Site<'_, '_>, found: &mut Found) {
    if site.place != Place::Local {
        named(site, found, Kind::Constant);
    }
}

/// A constant that is part of a larger definition, like an enumerator.
pub(in super::super) fn constant_part(site: &Site<'_, '_>, found: &mut Found) {
    found.unit = false;
    named(site, found, Kind::Constant);
}

/// A namespace: many files open the same one, so it encloses definitions and is none.
pub(in super::super) fn scope_module(site: &Site<'_, '_>, found: &mut Found) {
    if let Some(name) = site.field("name") {
        found.add_scope(Kind::Module, site.text_of(name));
    }
}
