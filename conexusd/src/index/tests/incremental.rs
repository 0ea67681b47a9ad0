//! Tests of changes: after any of them, what a search sees is what an index made afresh shows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn an_edit_embeds_only_what_changed() {
    let bench = Bench::new();
    let function = |i: usize| format!("def function_{i}(a, b):\n{}    return a\n\n", "    a = a + b * 3\n".repeat(40));
    let mut text: Vec<String> = (0..12).map(function).collect();
    bench.write("many.py", text.concat());
    let index = bench.open();
    let chunks = run(&index, Run::All).chunks;
    assert!(chunks >= 6, "{chunks}");
    text[5] = text[5].replace("function_5", "renamed_5");
    bench.write("many.py", text.concat());
    let progress = run(&index, Run::All);
    assert_eq!(progress.indexed, 1);
    assert!(progress.embedded <= 2, "{} of {chunks} were embedded", progress.embedded);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after an edit");
}

#[test]
fn a_rename_and_a_copy_embed_nothing() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    run(&index, Run::All);
    let before = bench.embedder.texts.load(Ordering::Relaxed);
    std::fs::rename(bench.root().join("src/net"), bench.root().join("src/network")).unwrap();
    std::fs::copy(bench.root().join("tool.py"), bench.root().join("tool2.py")).unwrap();
    let progress = run(&index, Run::All);
    assert_eq!((progress.indexed, progress.removed), (2, 1));
    assert_eq!(bench.embedder.texts.load(Ordering::Relaxed), before);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after a rename");
}

#[test]
fn without_the_persistent_cache_a_rebuild_embeds_everything_again() {
    for (reuse_vectors, again) in [(true, false), (false, true)] {
        let bench = Bench::new();
        fill(&bench);
        let index = bench.try_open(IndexOptions { reuse_vectors, ..bench.options() }).unwrap();
        let chunks = run(&index, Run::All).chunks;
        assert_eq!(run(&index, Run::Rebuild).embedded > 0, again, "reuse_vectors: {reuse_vectors}, {chunks} chunks");
        assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after a rebuild");
    }
}

#[test]
fn a_touched_file_keeps_its_version_and_shows_its_new_time() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    run(&index, Run::All);
    let file = std::fs::File::options().write(true).open(bench.root().join("tool.py")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    let progress = run(&index, Run::All);
    assert_eq!(progress.indexed, 0);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after a touch");
    drop(index);
    assert_same(&dump(&bench.open().snapshot()), &bench.fresh_dump(), "after a touch, opened again");
}

#[test]
fn a_branch_that_comes_back_embeds_nothing() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    run(&index, Run::All);
    let text = std::fs::read(bench.root().join("src/lib.rs")).unwrap();
    bench.write("src/lib.rs", "pub fn other() {}\n");
    run(&index, Run::All);
    let before = bench.embedder.texts.load(Ordering::Relaxed);
    bench.write("src/lib.rs", text);
    assert_eq!(run(&index, Run::All).embedded, 0);
    assert_eq!(bench.embedder.texts.load(Ordering::Relaxed), before);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after going back");
}

#[test]
fn a_run_over_paths_sees_those_and_nothing_else() {
    let bench = Bench::new();
    fill(&bench);
    bench.write(".git/HEAD", "ref: refs/heads/main\n");
    bench.write(".gitignore", "ignored/\n");
    let index = bench.open();
    run(&index, Run::All);
    bench.write("src/new/deep.rs", "fn deep() {}\n");
    bench.write("elsewhere.txt", "not asked for\n");
    bench.write("ignored/x.txt", "x\n");
    bench.remove("src/lib.rs");
    bench.remove("notes.txt");
    let asked = ["src", "ignored/x.txt", "gone/never.rs", "src/../src"];
    let error = try_run(&index, Run::Paths(asked.iter().map(PathBuf::from).collect())).unwrap_err();
    assert!(error.to_string().contains("src/../src: not below"), "{error}");
    let progress = run(&index, Run::Paths(asked[..3].iter().map(PathBuf::from).collect()));
    assert_eq!((progress.indexed, progress.removed), (1, 1));
    let there = paths(&index.snapshot());
    assert!(there.contains("src/new/deep.rs") && there.contains("notes.txt") && !there.contains("src/lib.rs"));
    assert!(!there.contains("elsewhere.txt") && !there.contains("ignored/x.txt"));
    run(&index, Run::Paths(vec![bench.root().canonicalize().unwrap().join("notes.txt"), "elsewhere.txt".into()]));
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after runs over paths");
}

#[test]
fn new_rules_take_files_out_and_let_them_in() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    run(&index, Run::All);
    bench.write(".conexusignore", "copy/\n*.md\n");
    run(&index, Run::All);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "with rules");
    assert!(index.snapshot().find_file("README.md").is_none());
    bench.remove(".conexusignore");
    run(&index, Run::All);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "without rules");
}

#[test]
fn many_small_commits_are_merged_and_nothing_is_lost() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    run(&index, Run::All);
    for i in 0..30 {
        bench.write(&format!("more/f{}.py", i % 9), format!("def step_{i}():\n    return {i}\n"));
        run(&index, Run::Paths(vec!["more".into()]));
    }
    assert!(index.settle(Duration::from_secs(30)).unwrap());
    let segments = std::fs::read_dir(index.options().folder.join("columns")).unwrap().count();
    assert!(segments < 20, "{segments}");
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after merges");
    drop(index);
    assert_same(&dump(&bench.open().snapshot()), &bench.fresh_dump(), "after merges, opened again");
}

/// What may happen to a tree.
#[derive(Clone, Debug)]
enum Change {
    Write(u8, u8),
    Remove(u8),
    Rename(u8, u8),
    Rebuild,
    Reopen,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        6 => (0u8..10, any::<u8>()).prop_map(|(file, text)| Change::Write(file, text)),
        2 => (0u8..10).prop_map(Change::Remove),
        2 => (0u8..10, 0u8..10).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => Just(Change::Rebuild),
        1 => Just(Change::Reopen),
    ];
    proptest::collection::vec(change, 1..14)
}

fn name(file: u8) -> String {
    let folder = ["", "a/", "a/b/", "c..d/"][usize::from(file) % 4];
    format!("{folder}file{file}.{}", ["py", "rs", "txt"][usize::from(file) % 3])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_in_what_a_fresh_index_shows(history in changes()) {
        let bench = Bench::new();
        let mut index = Some(bench.open());
        for change in history {
            match change {
                Change::Write(file, text) => bench.write(
                    &name(file),
                    format!("def name_{text}(x):\n    return x\n\nclass Kind{}:\n    pass\n", text % 7).repeat(usize::from(text % 4)),
                ),
                Change::Remove(file) => drop(std::fs::remove_file(bench.root().join(name(file)))),
                Change::Rename(from, to) => {
                    let to = bench.root().join(name(to));
                    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                    drop(std::fs::rename(bench.root().join(name(from)), to));
                }
                Change::Rebuild => drop(run(index.as_ref().unwrap(), Run::Rebuild)),
                Change::Reopen => {
                    drop(index.take());
                    index = Some(bench.open());
                }
            }
            run(index.as_ref().unwrap(), Run::All);
        }
        let index: Arc<Index> = index.unwrap();
        let (found, expected) = (dump(&index.snapshot()), bench.fresh_dump());
        assert_same(&found, &expected, "after a history");
    }
}
