//! Properties of any text: chunks are in order, do not overlap, and hold every line.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{ParsedFile, has_grammar, parse, parse_sized};
use super::SMALL;
use crate::index::language::Language;

/// What must hold of every parsed file.
pub(super) fn assert_whole(path: &str, text: &str, file: &ParsedFile) {
    let lines = text.split_inclusive('\n').count() as u32;
    assert_eq!(file.lines, lines, "{path}: lines");
    let (mut line, mut byte) = (1, 0);
    for chunk in &file.chunks {
        assert_eq!((chunk.start_line, chunk.start_byte), (line, byte), "{path}: a gap or an overlap");
        assert!(chunk.end_line >= chunk.start_line, "{path}: an empty chunk");
        let span = &text[chunk.start_byte as usize..chunk.end_byte as usize];
        assert_eq!(
            span.split_inclusive('\n').count() as u32,
            chunk.end_line + 1 - line,
            "{path}: lines and bytes differ"
        );
        assert!(span.ends_with('\n') || chunk.end_line == lines, "{path}: a chunk ends inside a line");
        (line, byte) = (chunk.end_line + 1, chunk.end_byte);
    }
    assert_eq!((line, byte), (lines + 1, text.len() as u32), "{path}: lines lost at the end");
    for found in &file.definitions {
        assert!(!found.name.is_empty() && !found.name.contains('\n'), "{path}: {found:?}");
        assert!(
            1 <= found.start_line && found.start_line <= found.end_line && found.end_line <= lines,
            "{path}: {found:?}"
        );
    }
}

fn parsed() -> Vec<Language> {
    Language::all()
        .filter(|&language| has_grammar(language) || language == Language::MARKDOWN || language == Language::TEXT)
        .collect()
}

fn files(folder: &Path, most: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && name != "target" && name != ".git" => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && found.len() < most => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn every_line_of_real_files_is_in_exactly_one_chunk() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut paths = files(project, 2_000);
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    paths.extend(home.into_iter().flat_map(|home| files(&home.join("registry/src"), 300)));
    let mut seen = 0;
    for path in paths {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Some(text) = crate::index::classify::text_of(&bytes).filter(|text| text.len() < 200_000) else { continue };
        let name = path.to_string_lossy();
        let language = Language::detect(&name, &text);
        assert_whole(&name, &text, &parse(&name, language, &text));
        assert_whole(&name, &text, &parse_sized(&name, language, &text, &SMALL));
        seen += 1;
    }
    assert!(seen > 50, "only {seen} files");
}

/// Pieces that begin, end or derange structures in some language.
const SHARDS: [&str; 60] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    "\"",
    "'",
    "`",
    "\"\"\"",
    "/*",
    "*/",
    "//",
    "#",
    "--",
    "{-",
    "-}",
    "<!--",
    "```",
    "\n",
    "\r\n",
    "\n\n",
    "\r",
    "\u{c}",
    "\t",
    "    ",
    "\0",
    "é",
    "😀",
    "\u{feff}",
    "\\",
    "\\\n",
    "$",
    "@",
    "%",
    "=",
    ":",
    ";",
    ",",
    "fn f",
    "def f",
    "class A",
    "impl B",
    "struct C",
    "function d",
    "do",
    "end",
    "if x",
    "case",
    "where",
    "module M",
    "#if X\n",
    "#endif\n",
    "template<",
    "<<EOF\n",
    "EOF\n",
    "<?php",
    "?>",
];

fn garbage() -> impl Strategy<Value = String> {
    let shard = prop_oneof![4 => prop::sample::select(&SHARDS[..]).prop_map(str::to_string), 1 => "[ -~]{0,12}"];
    prop::collection::vec(shard, 0..200).prop_map(|shards| shards.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_garbage_loses_a_line(text in garbage()) {
        for language in parsed() {
            assert_whole("garbage", &text, &parse(language.name(), language, &text));
            assert_whole("garbage", &text, &parse_sized(language.name(), language, &text, &SMALL));
        }
    }

    #[test]
    fn a_damaged_source_loses_no_line(cuts in prop::collection::vec((0.0..1.0_f64, 0..40_usize, garbage()), 1..6)) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/index/chunk/tests/samples");
        for path in files(Path::new(folder), 100) {
            let name = path.to_string_lossy();
            let mut text: Vec<char> = std::fs::read_to_string(&path).unwrap().chars().collect();
            for (at, length, insert) in &cuts {
                let at = (at * text.len() as f64) as usize;
                let end = (at + length).min(text.len());
                text.splice(at..end, insert.chars().take(30));
            }
            let text: String = text.into_iter().collect();
            let language = Language::detect(&name, &text);
            assert_whole(&name, &text, &parse_sized(&name, language, &text, &SMALL));
        }
    }
}

#[test]
fn deep_nesting_neither_hangs_nor_overflows_the_stack() {
    let opens = [
        "(",
        "[",
        "{",
        "<",
        "if x {\n",
        "f(",
        "/*",
        "- ",
        "module M\n",
        "do\n",
        "let x = ",
        "<div>",
        "#if X\n",
        "\\",
        "\n  ",
    ];
    for language in parsed() {
        for open in opens {
            for times in [490, 20_000] {
                let text = open.repeat(times);
                let begin = Instant::now();
                let file = parse("nested", language, &text);
                let took = begin.elapsed();
                assert_whole(open, &text, &file);
                assert!(took < Duration::from_secs(20), "{} took {took:?} for {times} times {open:?}", language.name());
            }
        }
    }
}

#[test]
fn long_lines_and_many_lines_are_chunked() {
    let long = format!("let a = \"{}\";\nlet b = 1;\n", "x".repeat(1_000_000));
    let many: String = (0..100_000).map(|i| format!("line_{i} = {i}\n")).collect();
    let blank = "\n".repeat(100_000);
    for (name, text) in [("long", &long), ("many", &many), ("blank", &blank)] {
        for language in [Language::TEXT, Language::JAVASCRIPT, Language::PYTHON, Language::MARKDOWN] {
            let file = parse(name, language, text);
            assert_whole(name, text, &file);
            let small = file.chunks.iter().filter(|chunk| chunk.end_line > chunk.start_line);
            assert!(
                small.into_iter().all(|chunk| chunk.end_byte - chunk.start_byte < 4_000),
                "{name} in {}",
                language.name()
            );
        }
    }
}
