//! Tests of odd trees: whatever stands in a folder, a run gets through it and says what it left out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use conexus_proto::facts::{FileError, SkipReason};

use super::*;

#[test]
fn names_of_any_kind_are_indexed_and_found() {
    let bench = Bench::new();
    let names = [
        "a..b/c..d.py",
        "routes/[slug].tsx",
        "routes/{id}/(group)/@x.ts",
        "with space.md",
        "quo'te\".txt",
        "new\nline.txt",
        "emoji-🦀.rs",
        "日本語/ファイル.py",
        "-dash",
        "back\\slash.c",
        "a*b?.txt",
        "#hash#",
        "~tilde~",
    ];
    for name in names {
        bench.write(name, "def name():\n    return 1\n");
    }
    let index = bench.open();
    let progress = run(&index, Run::All);
    assert_eq!((progress.indexed, progress.failed_total()), (names.len() as u64, 0), "{progress:?}");
    let snapshot = index.snapshot();
    for name in names {
        let file = snapshot.find_file(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(snapshot.file(file).path, name);
    }
    assert_same(&dump(&snapshot), &bench.fresh_dump(), "names");
}

#[test]
fn names_that_are_not_utf8_are_escaped_and_stay_apart() {
    let bench = Bench::new();
    for name in [&b"caf\xe9.py"[..], b"caf\xe8.py", b"dir\xff/x.py"] {
        let path = bench.root().join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "def f():\n    pass\n").unwrap();
    }
    let index = bench.open();
    assert_eq!(run(&index, Run::All).indexed, 3);
    let snapshot = index.snapshot();
    for shown in ["caf\\xe9.py", "caf\\xe8.py", "dir\\xff/x.py"] {
        let file = snapshot.find_file(shown).unwrap();
        assert!(snapshot.file(file).escaped);
        let raw = crate::index::derive::raw_path(shown);
        assert!(bench.root().join(OsStr::from_bytes(&raw)).exists());
    }
    std::fs::remove_file(bench.root().join(OsStr::from_bytes(b"caf\xe9.py"))).unwrap();
    run(&index, Run::All);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after one is gone");
    assert_eq!(index.snapshot().counts().0, 2);
}

#[test]
fn contents_that_are_not_utf8_keep_their_lines() {
    let bench = Bench::new();
    bench.write("latin.c", b"/* caf\xe9 */\nint a;\n\xff\xfe\xfd\nint b;\n");
    let utf16: Vec<u8> = "\u{feff}class A {\r\n}\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    bench.write("wide.cs", utf16);
    bench.write("cr.txt", "one\rtwo\r\nthree");
    bench.write("no-newline.txt", "last line");
    let index = bench.open();
    let progress = run(&index, Run::All);
    assert_eq!((progress.indexed, progress.failed_total()), (4, 0), "{progress:?}");
    let snapshot = index.snapshot();
    let file = |name: &str| snapshot.find_file(name).unwrap();
    assert_eq!(snapshot.file(file("latin.c")).lines, 4);
    assert!(snapshot.file_text(file("latin.c")).unwrap().contains("int b;"));
    assert!(snapshot.file_text(file("wide.cs")).unwrap().contains("class A {"));
    assert_same(&dump(&snapshot), &bench.fresh_dump(), "contents");
}

#[test]
fn links_pipes_and_sockets_are_passed_by() {
    let bench = Bench::new();
    fill(&bench);
    let root = bench.root();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink(".", root.join("loop")).unwrap();
    symlink("b", root.join("a")).unwrap();
    symlink("a", root.join("b")).unwrap();
    symlink("/etc", root.join("outside")).unwrap();
    let (mode, device) = (rustix::fs::Mode::from_raw_mode(0o600), 0);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe.py"), rustix::fs::FileType::Fifo, mode, device).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.sock")).unwrap();
    let index = bench.open();
    let began = Instant::now();
    let progress = run(&index, Run::All);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(progress.indexed, 7);
    assert_eq!(progress.skipped_for(SkipReason::Symlink), 5);
    assert_eq!(progress.skipped_for(SkipReason::Ignored), 2);
    assert_eq!(progress.failed_total(), 0, "{progress:?}");
}

#[test]
fn a_file_that_becomes_a_pipe_a_link_a_folder_or_too_large_leaves_the_index() {
    let bench = Bench::new();
    fill(&bench);
    bench.write("big.txt", "small\n");
    let index = bench.open();
    run(&index, Run::All);
    let root = bench.root();
    for name in ["notes.txt", "tool.py", "src/lib.rs"] {
        bench.remove(name);
    }
    let (mode, kind) = (rustix::fs::Mode::from_raw_mode(0o600), rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("notes.txt"), kind, mode, 0).unwrap();
    symlink("README.md", root.join("tool.py")).unwrap();
    bench.write("src/lib.rs/inner.rs", "fn inner() {}\n");
    bench.write("big.txt", "large ".repeat(250_000));
    run(&index, Run::All);
    let there = paths(&index.snapshot());
    assert!(there.contains("src/lib.rs/inner.rs"));
    for gone in ["notes.txt", "tool.py", "src/lib.rs", "big.txt"] {
        assert!(!there.contains(gone), "{gone}");
    }
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after the changes");
}

#[test]
fn a_large_file_is_not_read() {
    let bench = Bench::new();
    fill(&bench);
    let file = std::fs::File::create(bench.root().join("huge.txt")).unwrap();
    file.set_len(100 << 20).unwrap();
    let index = bench.open();
    let began = Instant::now();
    let progress = run(&index, Run::All);
    assert_eq!((progress.skipped_for(SkipReason::TooLarge), progress.indexed), (1, 7));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_may_not_be_read_is_counted_and_the_rest_is_indexed() {
    let bench = Bench::new();
    fill(&bench);
    bench.write("closed/x.py", "x = 1\n");
    bench.write("secret.py", "y = 1\n");
    let root = bench.root();
    let set = |path: &str, mode| std::fs::set_permissions(root.join(path), PermissionsExt::from_mode(mode)).unwrap();
    set("closed", 0o000);
    set("secret.py", 0o000);
    // Root reads everything: then there is nothing that may not be read.
    let is_barred = std::fs::read(root.join("secret.py")).is_err();
    let index = bench.open();
    let progress = run(&index, Run::All);
    let denied = progress.failed.iter().find(|(error, _)| *error == FileError::Permission).map_or(0, |(_, n)| *n);
    assert_eq!((denied, progress.indexed), if is_barred { (2, 7) } else { (0, 9) });
    set("closed", 0o755);
    set("secret.py", 0o644);
    assert_eq!(run(&index, Run::All).failed_total(), 0);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after it may be read");
}

#[test]
fn hidden_files_are_left_out_but_for_what_people_search_for() {
    let bench = Bench::new();
    for name in [".env", ".secret/x.py", ".git/config", "sub/.git", ".venv/lib.py", ".DS_Store"] {
        bench.write(name, "secret = 1\n");
    }
    for name in [".github/workflows/ci.yml", ".gitlab-ci.yml", ".editorconfig", "sub/.gitignore", ".cargo/config.toml"]
    {
        bench.write(name, "kept: true\n");
    }
    let index = bench.open();
    run(&index, Run::All);
    let kept = [".cargo/config.toml", ".editorconfig", ".github/workflows/ci.yml", ".gitlab-ci.yml", "sub/.gitignore"];
    assert_eq!(paths(&index.snapshot()), kept.map(str::to_owned).into());
}

#[test]
fn globs_of_the_settings_choose_files_and_bad_ones_are_named() {
    let bench = Bench::new();
    fill(&bench);
    bench.write("src/gen/out.rs", "fn out() {}\n");
    let index = |include: &[&str], ignore: &[&str]| {
        let text = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        bench.try_open(IndexOptions { include: text(include), ignore: text(ignore), ..bench.options() })
    };
    let opened = index(&["*.rs", "copy/"], &["gen", "/src/lib.rs"]).unwrap();
    run(&opened, Run::All);
    assert_eq!(paths(&opened.snapshot()), ["copy/tool.py", "src/net/mod.rs"].map(str::to_owned).into());
    drop(opened);
    let error = index(&["a[", "b"], &[]).err().unwrap().to_string();
    assert!(error.contains("indexer.include: `a[` is not a glob"), "{error}");
}

#[test]
fn a_root_that_vanishes_or_was_never_there_is_a_clear_error() {
    let bench = Bench::new();
    let missing = bench.root().join("missing");
    let error = IndexOptions::new(&missing, &bench.database()).unwrap_err();
    assert!(error.to_string().contains("missing: there is no such folder"), "{error}");
}

#[test]
fn nothing_is_written_into_the_tree_and_an_index_inside_it_is_not_indexed() {
    let bench = Bench::new();
    fill(&bench);
    let options = IndexOptions { folder: bench.root().join("own-index"), ..bench.options() };
    let index = bench.try_open(options).unwrap();
    assert_eq!(run(&index, Run::All).indexed, 7);
    assert_eq!(run(&index, Run::All).indexed, 0);
    drop(index);
    std::fs::remove_dir_all(bench.root().join("own-index")).unwrap();
    let count = || ignore::WalkBuilder::new(bench.root()).hidden(false).build().count();
    let before = count();
    run(&bench.open(), Run::All);
    assert_eq!(count(), before);
}
