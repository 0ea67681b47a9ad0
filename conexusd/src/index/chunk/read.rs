//! Readers: one node in, the names it defines or the imports it makes out. One module a family of languages.

pub(super) mod beam;
pub(super) mod c;
pub(super) mod dotnet;
pub(super) mod functional;
pub(super) mod go;
pub(super) mod import;
pub(super) mod jvm;
pub(super) mod name;
pub(super) mod php;
pub(super) mod python;
pub(super) mod ruby;
pub(super) mod rust;
pub(super) mod script;
pub(super) mod shell;
pub(super) mod swift;
pub(super) mod systems;
