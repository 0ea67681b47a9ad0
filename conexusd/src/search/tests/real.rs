//! Every kind of question, asked of real code: this repository's own sources and those of three of its dependencies,
//! which are on every machine that built it (`cargo metadata` says where).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::index::chunk::Definition;

/// Rust, C++, C, JavaScript, Python, Java and Go in one tree.
fn real() -> &'static Fixture {
    static REAL: OnceLock<Fixture> = OnceLock::new();
    REAL.get_or_init(|| {
        let root = TempDir::new().expect("a temporary folder");
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = [
            ("rust/search.rs", own.join("src/search.rs")),
            ("rust/search", own.join("src/search")),
            ("rust/telemetry", own.join("src/telemetry")),
            ("python/model", own.join("../model")),
            ("cpp/usearch", dependency("usearch").join("include/usearch")),
            ("c/jemalloc", dependency("tikv-jemalloc-sys").join("jemalloc/src")),
            ("javascript", dependency("tree-sitter-javascript").join("grammar.js")),
            ("java/com/example/Account.java", own.join("src/index/chunk/tests/samples/java.java")),
            ("go/server/server.go", own.join("src/index/chunk/tests/samples/go.go")),
        ];
        for (to, from) in sources {
            copy(&from, &root.path().join(to));
        }
        let path = root.path().to_owned();
        Fixture::over(&path, vec![root])
    })
}

/// Where cargo keeps the sources of a package that this one is built from.
fn dependency(name: &str) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == name).expect("a package of the lock file");
    Path::new(package["manifest_path"].as_str().expect("a path")).parent().expect("a folder").to_owned()
}

/// Copies source files and folders of them.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        // Without the tests, which hold the very questions that are asked below.
        let entries = std::fs::read_dir(from).expect("a readable folder").flatten();
        for entry in entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with("tests")) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if from
        .extension()
        .is_some_and(|extension| ["rs", "py", "hpp", "c", "js", "java", "go"].iter().any(|e| extension == *e))
    {
        let to = if to.extension().is_some() { to.to_owned() } else { to.join(from.file_name().expect("a name")) };
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("folders");
        std::fs::copy(from, to).expect("a copied file");
    }
}

/// All definitions that a name asks for, with their files, in a fixed order.
fn definitions(fixture: &Fixture) -> Vec<(String, Definition)> {
    let snapshot = fixture.index.snapshot();
    let mut all = Vec::new();
    for file in snapshot.live_files() {
        let path = snapshot.file(file).path.to_owned();
        for definition in snapshot.file_parsed(file).expect("what was parsed").definitions {
            if !matches!(definition.kind, Kind::Field | Kind::Section | Kind::Block) {
                all.push((path.clone(), definition));
            }
        }
    }
    all.sort_by_key(|(path, definition)| (path.clone(), definition.start_line, definition.name.clone()));
    all
}

#[test]
fn for_every_name_one_of_its_definitions_is_first() {
    let real = real();
    let all = definitions(real);
    let names: BTreeSet<&str> = all.iter().map(|(_, definition)| &*definition.name).collect();
    assert!(names.len() > 2_000, "only {} names", names.len());
    for name in names.into_iter().step_by(11) {
        let response = real.ask(&request(name));
        let first = response.results.first().unwrap_or_else(|| panic!("nothing for {name:?}"));
        let is_defined = all.iter().any(|(path, definition)| {
            *definition.name == *name && *path == first.path && holds(first, definition.start_line)
        });
        assert!(is_defined, "{name:?}: {} is first", first.id);
    }
}

#[test]
fn a_qualified_name_is_found_in_the_container_that_it_names() {
    let real = real();
    let all = definitions(real);
    let scoped: Vec<(&str, &str)> = all
        .iter()
        .filter_map(|(_, definition)| Some((definition.scope.as_deref()?.rsplit('.').next()?, &*definition.name)))
        .filter(|(scope, name)| [scope, name].iter().all(|word| word.chars().all(|c| c.is_alphanumeric() || c == '_')))
        .collect();
    assert!(scoped.len() > 1_000, "only {} members", scoped.len());
    for (place, (scope, name)) in scoped.into_iter().enumerate().step_by(17) {
        let separator = ["::", ".", "->", "#"][place % 4];
        let query = format!("{scope}{separator}{name}");
        let response = real.ask(&request(&query));
        let first = response.results.first().unwrap_or_else(|| panic!("nothing for {query}"));
        let is_it = all.iter().any(|(path, definition)| {
            let fits = definition.scope.as_deref().is_some_and(|own| own.split('.').any(|part| part == scope));
            *definition.name == *name && fits && *path == first.path && holds(first, definition.start_line)
        });
        assert!(is_it, "{query}: {} is first", first.id);
    }
}

fn holds(result: &SearchResult, line: u32) -> bool {
    (result.start_line..=result.end_line).contains(&line)
}

#[test]
fn each_kind_of_question_finds_its_place_in_real_code() {
    let real = real();
    for (query, expect) in [
        // Identifiers.
        ("enclosing_definition", "rust/search/rank/signals.rs"),
        ("ResultCache::insert", "rust/search/cache.rs"),
        ("QueryEmbedder.embed", "rust/search/vector.rs"),
        ("index_dense_gt->reserve", "cpp/usearch/index_dense.hpp"),
        ("arena_boot()", "c/jemalloc/arena.c"),
        ("`commaSep1`", "javascript/grammar.js"),
        ("class Account", "java/com/example/Account.java"),
        ("Server.Serve", "go/server/server.go"),
        // Paths.
        ("search/fuse.rs", "rust/search/fuse.rs"),
        ("conexusd/src/search/fuse.rs:20", "rust/search/fuse.rs"),
        ("rtree.c", "c/jemalloc/rtree.c"),
        ("index_dense.hpp:100", "cpp/usearch/index_dense.hpp"),
        // Error messages.
        ("error: top_k is 500: 1 to 100 are allowed", "rust/search.rs"),
        ("error: huge page size (4194304) greater than expected.", "c/jemalloc/conf.c"),
        ("where does \"failed to write during heap profile flush\" come from", "c/jemalloc/prof_sys.c"),
        ("<jemalloc>: failed to write during heap profile flush", "c/jemalloc/prof_sys.c"),
        ("error[E0308]: mismatched types\n  --> src/search/rank/order.rs:40:9\n   |", "rust/search/rank/order.rs"),
        // Prose, and prose that names something.
        ("fuse several ranked lists by reciprocal rank", "rust/search/fuse.rs"),
        ("how does readings handle names that end with a question mark", "rust/search/query/mentions.rs"),
        ("where does rtree.c look up a leaf", "c/jemalloc/rtree.c"),
        ("what does vector::search return for a vector of zeros", "rust/search/vector.rs"),
    ] {
        assert_eq!(real.first_path(query), expect, "{query}");
    }
}

/// A trace of three frames whose innermost is at `path:line`, as each language prints it.
type Printer = fn(&str, u32) -> String;

const PRINTERS: [(&str, Printer); 8] = [
    ("python/model/fetch.py", |path, line| {
        format!(
            "Traceback (most recent call last):\n  File \"/usr/lib/python3.11/runpy.py\", line 196, in _run\n    exec(code)\n  File \"/srv/app/python/model/train.py\", line 12, in main\n    run()\n  File \"/srv/app/{path}\", line {line}, in fetch\n    raise ValueError(x)\nValueError: bad"
        )
    }),
    ("java/com/example/Account.java", |_, line| {
        format!(
            "java.lang.IllegalStateException: no\n\tat com.example.Account.find(Account.java:{line})\n\tat java.base/java.lang.Thread.run(Thread.java:840)"
        )
    }),
    ("go/server/server.go", |path, line| {
        format!(
            "panic: closed\n\ngoroutine 1 [running]:\nmain.(*Server).Serve(0x0)\n\t/home/ci/app/{path}:{line} +0x1d\nmain.main()\n\t/home/ci/app/go/main.go:4 +0x2"
        )
    }),
    ("javascript/grammar.js", |path, line| {
        format!(
            "TypeError: x is not a function\n    at commaSep1 (/srv/app/{path}:{line}:10)\n    at Layer.handle (/srv/app/node_modules/express/lib/router/layer.js:95:5)"
        )
    }),
    ("rust/search/fuse.rs", |path, line| {
        format!(
            "thread 'main' panicked at {path}:{line}:9:\nindex out of bounds\nstack backtrace:\n   0: std::panicking::begin_panic\n             at /rustc/abc/library/std/src/panicking.rs:645:5\n   1: fuse::fuse\n             at ./{path}:{line}:9"
        )
    }),
    ("c/jemalloc/arena.c", |path, line| {
        format!(
            "#0  0x00007f in arena_boot (base=0x0) at ../{path}:{line}\n#1  0x00007f in malloc_init () at ../c/jemalloc/jemalloc.c:1900"
        )
    }),
    // One line out of a trace.
    ("python/model/words.py", |path, line| format!("  File \"/app/{path}\", line {line}, in split")),
    ("rust/search/filter.rs", |path, line| format!("    at ./{path}:{line}:17")),
];

#[test]
fn a_stack_trace_leads_to_the_line_of_its_innermost_frame() {
    let real = real();
    for (path, print) in PRINTERS {
        let snapshot = real.index.snapshot();
        let lines = snapshot.file(snapshot.find_file(path).unwrap_or_else(|| panic!("no {path}"))).lines;
        for line in [lines / 3, lines / 2, lines - 2] {
            let query = print(path, line);
            assert_eq!(query::analyse(&query).kind, query::QueryKind::StackTrace, "{query}");
            let first = &real.ask(&request(&query)).results[0];
            assert!(first.path == path && holds(first, line), "{query}: {} is first", first.id);
        }
    }
}

#[test]
fn answers_are_whole_lines_of_their_files_without_overlaps_and_within_the_budget() {
    let real = real();
    let snapshot = real.index.snapshot();
    let all = definitions(real);
    let queries = all.iter().step_by(97).map(|(_, definition)| definition.name.replace('_', " "));
    for (number, query) in queries.chain(["how are lists fused".to_owned()]).enumerate() {
        let max_tokens = [None, Some(100), Some(1_000), Some(4_000)][number % 4];
        let response = real.ask(&SearchRequest { max_tokens, top_k: 50, ..request(&query) });
        let mut bytes = 0;
        for (place, result) in response.results.iter().enumerate() {
            bytes += result.content.len() + result.enclosing.as_ref().map_or(0, String::len);
            let text = snapshot.file_text(snapshot.find_file(&result.path).expect("a file")).expect("its text");
            let lines: Vec<&str> = text.lines().collect();
            let shown = lines[result.start_line as usize - 1..result.end_line as usize].join("\n");
            let content = result.content.replace("\r\n", "\n");
            assert!(content == shown || (result.truncated && shown.starts_with(&content)), "{query}: {}", result.id);
            let apart = |other: &SearchResult| {
                other.path != result.path || other.end_line < result.start_line || result.end_line < other.start_line
            };
            assert!(response.results[..place].iter().all(apart), "{query}: {} overlaps", result.id);
        }
        assert!(max_tokens.is_none_or(|tokens| bytes <= tokens * format::BYTES_PER_TOKEN), "{query}: {bytes} bytes");
    }
}

#[test]
fn functions_are_shown_whole_and_what_encloses_a_part_is_named() {
    let real = real();
    let all = definitions(real);
    let (mut shown, mut cut) = (0, Vec::new());
    for (path, definition) in all.iter().filter(|(_, d)| matches!(d.kind, Kind::Function | Kind::Method)).step_by(23) {
        let query = format!("{} {}", definition.name.replace('_', " "), path.rsplit('/').next().unwrap_or_default());
        for result in &real.ask(&SearchRequest { top_k: 10, ..request(&query) }).results {
            // What stands before: the functions of that file that the lines cut.
            for (_, own) in all.iter().filter(|(path, d)| *path == result.path && d.kind == Kind::Function) {
                let apart = own.end_line < result.start_line || result.end_line < own.start_line;
                let is_long = own.end_line - own.start_line >= 120;
                if apart {
                    continue;
                }
                shown += 1;
                let whole = result.start_line <= own.start_line && own.end_line <= result.end_line;
                if !whole && !(is_long && (holds(result, own.start_line) || result.enclosing.is_some())) {
                    cut.push(format!("{} cuts {} of {}-{}", result.id, own.name, own.start_line, own.end_line));
                }
            }
        }
    }
    assert!(shown > 500, "only {shown} functions shown");
    cut.sort();
    cut.dedup();
    assert!(cut.len() * 50 <= shown, "{} of {shown} are cut:\n{}", cut.len(), cut.join("\n"));
}
