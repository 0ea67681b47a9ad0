//! Tests of recovery: whatever is lost of the derived data, or lags behind, is made again from the store.

use std::path::Path;

use super::*;

/// Copies a folder.
pub(super) fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// An index with two generations: as it was after the first, and as it is.
fn two_generations(bench: &Bench) -> (PathBuf, BTreeMap<String, String>) {
    fill(bench);
    let index = bench.open();
    run(&index, Run::All);
    let folder = index.options().folder.clone();
    drop(index);
    let old = bench.database().join("old");
    copy(&folder, &old);
    bench.write("src/lib.rs", "pub fn rewritten() {}\n");
    bench.write("added.py", "def added():\n    pass\n");
    bench.remove("notes.txt");
    let index = bench.open();
    run(&index, Run::All);
    let expected = dump(&index.snapshot());
    drop(index);
    (folder, expected)
}

fn check(damage: impl Fn(&Path, &Path), why: &str) {
    let bench = Bench::new();
    let (folder, expected) = two_generations(&bench);
    damage(&folder, &bench.database().join("old"));
    let texts = bench.embedder.texts.load(Ordering::Relaxed);
    // What was indexed is what counts: the files on disk are not asked.
    std::fs::remove_dir_all(bench.root()).unwrap();
    std::fs::create_dir(bench.root()).unwrap();
    let index = bench.open();
    assert_same(&dump(&index.snapshot()), &expected, why);
    assert_eq!(bench.embedder.texts.load(Ordering::Relaxed), texts, "{why}: nothing is embedded again");
    drop(index);
    assert_same(&dump(&bench.open().snapshot()), &expected, &format!("{why}, opened once more"));
}

#[test]
fn a_lexical_index_that_lags_behind_is_caught_up() {
    check(|folder, old| copy(&old.join("lexical"), &folder.join("lexical")), "old lexical index");
}

#[test]
fn files_that_a_dead_lexical_writer_left_are_no_obstacle() {
    // It had written deletions and segments, and died before the file that names them.
    check(
        |folder, old| {
            std::fs::copy(old.join("lexical/meta.json"), folder.join("lexical/meta.json")).unwrap();
        },
        "old meta of the lexical index",
    );
}

#[test]
fn columns_that_lag_behind_are_caught_up() {
    check(|folder, old| copy(&old.join("columns"), &folder.join("columns")), "old columns");
}

#[test]
fn derived_data_that_is_ahead_of_the_store_is_taken_back() {
    let bench = Bench::new();
    let (folder, _) = two_generations(&bench);
    let old = bench.database().join("old");
    std::fs::copy(old.join("store.redb"), folder.join("store.redb")).unwrap();
    let found = dump(&bench.open().snapshot());
    copy(&old, &folder);
    assert_same(&found, &dump(&bench.open().snapshot()), "old store");
}

#[test]
fn derived_data_that_is_lost_is_made_again() {
    check(|folder, _| std::fs::remove_dir_all(folder.join("lexical")).unwrap(), "no lexical index");
    check(|folder, _| std::fs::remove_dir_all(folder.join("columns")).unwrap(), "no columns");
    check(
        |folder, _| {
            std::fs::remove_dir_all(folder.join("lexical")).unwrap();
            std::fs::remove_dir_all(folder.join("columns")).unwrap();
        },
        "nothing derived",
    );
}

#[test]
fn derived_data_that_is_damaged_is_made_again() {
    let each = |folder: &Path, extension: &str, damage: &dyn Fn(&Path)| {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().extension().is_some_and(|found| found == extension) {
                damage(&entry.path());
            }
        }
    };
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    check(|folder, _| each(&folder.join("columns"), "seg", &cut), "cut segments");
    check(|folder, _| each(&folder.join("columns"), "json", &cut), "cut manifest");
    check(|folder, _| each(&folder.join("lexical"), "json", &cut), "cut meta of the lexical index");
    check(|folder, _| each(&folder.join("lexical"), "term", &|path| std::fs::remove_file(path).unwrap()), "no terms");
}

#[test]
fn a_store_that_cannot_be_read_is_set_aside_and_said() {
    let bench = Bench::new();
    let (folder, _) = two_generations(&bench);
    std::fs::write(folder.join("store.redb"), "not a database").unwrap();
    let index = bench.open();
    let reset = index.status().reset.unwrap();
    assert!(reset.contains("set aside"), "{reset}");
    assert!(folder.join("store.damaged").exists());
    run(&index, Run::All);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after a new start");
}

#[test]
fn another_tokenizer_or_form_of_columns_is_noticed() {
    check(
        |folder, _| {
            let path = folder.join("columns/manifest.json");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace(crate::index::tokenize::IDENTITY, "code-0")).unwrap();
        },
        "columns of another tokenizer",
    );
}
