//! Tests of chunks: one sample a language against what is expected of it, and properties of any text.

mod properties;

use std::fmt::Write;

use super::split::Sizes;
use super::{ParsedFile, parse, parse_sized};
use crate::index::language::Language;

/// Small enough that samples of a page fall into several chunks.
const SMALL: Sizes = Sizes { target: 160, whole: 200, definition: 400, alone: 80, tiny: 30 };

/// A parsed file as text: chunks, definitions, imports.
fn render(file: &ParsedFile) -> String {
    let mut out = String::new();
    let within = |scope: &Option<Box<str>>| scope.as_ref().map_or(String::new(), |scope| format!(" in {scope}"));
    for chunk in &file.chunks {
        let symbol = chunk.symbol.as_deref().unwrap_or("-");
        let (kind, scope) = (chunk.kind.as_str(), within(&chunk.scope));
        write!(out, "{}-{} {kind} {symbol}{scope}", chunk.start_line, chunk.end_line).unwrap();
        writeln!(out, "{}", chunk.signature.as_ref().map_or(String::new(), |line| format!(" | {line}"))).unwrap();
    }
    for found in &file.definitions {
        let (kind, name, scope) = (found.kind.as_str(), &found.name, within(&found.scope));
        writeln!(out, "def {kind} {name}{scope} {}-{}", found.start_line, found.end_line).unwrap();
    }
    for import in &file.imports {
        writeln!(out, "import {import}").unwrap();
    }
    out
}

/// Checks a sample against its expected rendering. After an intended change, `CONEXUS_BLESS=1` rewrites the latter; read
/// the difference.
fn check(sample: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/index/chunk/tests/samples");
    let text = std::fs::read_to_string(format!("{folder}/{sample}")).unwrap();
    let stem = sample.split('.').next().unwrap();
    let expected_path = format!("{folder}/{stem}.expected");
    let found = render(&parse_sized(sample, Language::detect(sample, &text), &text, &SMALL));
    if std::env::var_os("CONEXUS_BLESS").is_some() {
        std::fs::write(&expected_path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&expected_path).unwrap();
    assert_eq!(found, expected, "{sample} is not read as expected");
}

macro_rules! samples {
    ($($name:ident $file:literal)*) => { $(#[test] fn $name() { check($file) })* };
}

samples! {
    rust_is_chunked_by_items "rust.rs"
    python_is_chunked_by_definitions "python.py"
    javascript_functions_are_found_in_every_guise "javascript.js"
    typescript_types_and_overloads_are_found "typescript.ts"
    tsx_components_are_functions "component.tsx"
    go_methods_are_scoped_by_their_receiver "go.go"
    c_macros_do_not_hide_definitions "c.c"
    cpp_members_are_found_inside_and_outside_classes "cpp.cpp"
    java_members_are_scoped_by_their_types "java.java"
    csharp_namespaces_are_scopes "csharp.cs"
    ruby_methods_and_attributes_are_found "ruby.rb"
    php_classes_and_functions_are_found "php.php"
    bash_functions_are_found_but_not_in_heredocs "bash.sh"
    kotlin_declarations_are_found "kotlin.kt"
    swift_extensions_enclose_methods "swift.swift"
    scala_objects_and_traits_are_found "scala.scala"
    haskell_clauses_and_their_signature_are_one_definition "haskell.hs"
    lua_functions_in_tables_are_found "lua.lua"
    elixir_clauses_are_one_definition "elixir.ex"
    zig_types_are_values_of_constants "zig.zig"
    markdown_is_chunked_by_headings_outside_code "markdown.md"
    yaml_is_chunked_by_indentation "yaml.yaml"
}

#[test]
fn an_empty_file_has_no_chunks() {
    for language in Language::all() {
        assert_eq!(parse("empty", language, ""), ParsedFile::default());
    }
}

#[test]
fn a_small_definition_is_one_chunk_with_its_comment_and_attributes() {
    let body = "    work();\n".repeat(70);
    let text = format!("use a::b;\n\n/// Works.\n#[inline]\nfn works() {{\n{body}}}\n\nfn rests() {{\n{body}}}\n");
    let file = parse("a.rs", Language::RUST, &text);
    let spans: Vec<_> = file.chunks.iter().map(|chunk| (chunk.start_line, chunk.symbol.as_deref())).collect();
    assert_eq!(spans, [(1, Some("works")), (78, Some("rests"))]);
    let works = file.definitions.iter().find(|found| &*found.name == "works").unwrap();
    assert_eq!((works.start_line, works.end_line), (5, 76), "comment and attributes are not part of the definition");
}

#[test]
fn a_long_function_is_cut_at_statements_and_says_where_it_belongs() {
    let statement = "        if ready {\n            step(1);\n            step(2);\n        }\n\n".repeat(60);
    let text = format!("impl Engine {{\n    pub fn run(&self) {{\n{statement}    }}\n}}\n");
    let file = parse("a.rs", Language::RUST, &text);
    assert!(file.chunks.len() >= 4, "{} chunks", file.chunks.len());
    let first = &file.chunks[0];
    assert_eq!((first.symbol.as_deref(), first.scope.as_deref()), (Some("run"), Some("Engine")));
    assert_eq!(first.signature.as_deref(), Some("pub fn run(&self)"));
    for later in &file.chunks[1..] {
        assert_eq!((later.symbol.as_deref(), later.scope.as_deref()), (None, Some("Engine.run")));
        let line = text.lines().nth(later.start_line as usize - 1).unwrap();
        assert!(line.starts_with("        if ready"), "a chunk begins with {line:?}");
    }
}

#[test]
fn chunks_of_a_class_are_its_head_and_its_methods() {
    let body = "        self.value += 1\n".repeat(35);
    let text = format!("class Counter:\n    step = 1\n\n    def up(self):\n{body}\n    def down(self):\n{body}");
    let file = parse("a.py", Language::PYTHON, &text);
    let found: Vec<_> = file.chunks.iter().map(|chunk| (chunk.symbol.as_deref(), chunk.scope.as_deref())).collect();
    assert_eq!(found, [(Some("up"), Some("Counter")), (Some("down"), Some("Counter"))]);
}

#[test]
fn small_neighbours_share_a_chunk() {
    let text: String = (0..200).map(|i| format!("pub const NAME_{i}: u32 = {i};\n")).collect();
    let file = parse("a.rs", Language::RUST, &text);
    assert_eq!(file.definitions.len(), 200);
    for chunk in &file.chunks {
        let bytes = chunk.end_byte - chunk.start_byte;
        assert!((600..=1_200).contains(&bytes), "{bytes} bytes");
    }
}

#[test]
fn definitions_that_share_a_line_share_a_chunk() {
    let text = "class A { a() { return 1; } }  class B {\n  b() { return 2; }\n}  class C {\n  c() {}\n}\n";
    let file = parse_sized(
        "a.js",
        Language::JAVASCRIPT,
        text,
        &Sizes { target: 20, whole: 20, definition: 20, alone: 5, tiny: 2 },
    );
    let names: Vec<_> = file.definitions.iter().map(|found| &*found.name).collect();
    assert_eq!(names, ["A", "a", "B", "b", "C", "c"]);
    properties::assert_whole("a.js", text, &file);
}

#[test]
fn windows_newlines_and_a_missing_last_one_change_nothing_else() {
    let unix = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/index/chunk/split.rs")).unwrap();
    let dos = unix.replace('\n', "\r\n");
    let of = |text: &str| {
        let file = parse("split.rs", Language::RUST, text);
        properties::assert_whole("split.rs", text, &file);
        file
    };
    let (unix_file, dos_file, cut_file) = (of(&unix), of(&dos), of(unix.trim_end()));
    assert_eq!(unix_file.definitions, dos_file.definitions);
    assert_eq!(unix_file.definitions, cut_file.definitions);
    assert_eq!(unix_file.chunks.len(), cut_file.chunks.len());
}

#[test]
fn a_name_that_a_broken_file_spreads_over_lines_is_one_line() {
    let file = parse("a.ts", Language::detect("a.ts", ""), "enum Color {\n  'Red\n  Green' = 1,\n}\n");
    let names: Vec<&str> = file.definitions.iter().map(|found| &*found.name).collect();
    assert_eq!(names, ["Color", "Red Green"]);
}

#[test]
fn headers_of_cpp_and_of_c_are_told_apart() {
    assert_eq!(Language::detect("a.h", "#include <stdio.h>\nint f(void);\n"), Language::C);
    let text = "#pragma once\nnamespace a {\nclass B { void c(); };\n}\n";
    let language = Language::detect("a.h", text);
    assert_eq!(language, Language::CPP);
    assert!(parse("a.h", language, text).definitions.iter().any(|found| &*found.name == "c"));
}
