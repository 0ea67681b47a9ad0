//! Tests of the watcher: changes on disk are in the index soon after, ignored ones never.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::index::watch::{WatchState, Watcher};

/// Waits until the index shows what a fresh one would.
fn wait_until(index: &Index, what: &str, ready: impl Fn(&Snapshot) -> bool) {
    let began = Instant::now();
    while !ready(&index.snapshot()) {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} is not there: {:?}", paths(&index.snapshot()));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn has(path: &str) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| snapshot.find_file(path).is_some()
}

#[test]
fn changes_are_followed_into_new_folders_and_out_of_the_index() {
    let bench = Bench::new();
    fill(&bench);
    bench.write(".git/HEAD", "ref: refs/heads/main\n");
    bench.write(".gitignore", "target/\n*.tmp\n");
    bench.write("target/out.py", "x = 1\n");
    let index = bench.open();
    let watcher = Watcher::start(&index).unwrap();
    assert!(matches!(index.status().watch, WatchState::Live { folders } if folders >= 5), "{:?}", index.status().watch);
    run(&index, Run::All);
    bench.write("tool.py", "def changed_by_hand():\n    pass\n");
    wait_until(&index, "an edit", |snapshot| !snapshot.definitions("changed_by_hand", 1).is_empty());
    bench.write("deep/er/new.rs", "fn new() {}\n");
    wait_until(&index, "a file in a new folder", has("deep/er/new.rs"));
    bench.write("deep/er/later.rs", "fn later() {}\n");
    wait_until(&index, "a later file in the new folder", has("deep/er/later.rs"));
    std::fs::rename(bench.root().join("deep"), bench.root().join("renamed")).unwrap();
    wait_until(&index, "a renamed folder", |snapshot| {
        has("renamed/er/new.rs")(snapshot) && !has("deep/er/new.rs")(snapshot)
    });
    std::fs::remove_dir_all(bench.root().join("src")).unwrap();
    wait_until(&index, "a removal", |snapshot| !has("src/lib.rs")(snapshot));
    let generation = index.snapshot().generation();
    bench.write("a.tmp", "ignored\n");
    bench.write("target/more.py", "ignored = 1\n");
    bench.write(".git/index", "ignored\n");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(index.snapshot().generation(), generation, "what is ignored changes nothing");
    bench.write(".gitignore", "*.md\n");
    wait_until(&index, "what new rules let in", |snapshot| {
        has("target/more.py")(snapshot) && !has("README.md")(snapshot)
    });
    wait_until(&index, "an empty queue", |snapshot| snapshot.freshness().pending == 0);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after it was watched");
    drop(watcher);
    assert_eq!(index.status().watch, WatchState::Off);
}

#[test]
fn a_change_during_a_run_waits_and_is_not_forgotten() {
    let mut embedder = WordEmbedder::new();
    embedder.delay = Duration::from_millis(100);
    let bench = Bench::with(embedder);
    fill(&bench);
    let index = bench.open();
    let _watcher = Watcher::start(&index).unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&index, Run::All));
        while index.running().is_none() {
            std::thread::yield_now();
        }
        bench.write("during.py", "x = 1\n");
        running.join().unwrap();
    });
    wait_until(&index, "the change", has("during.py"));
}

#[test]
fn a_root_that_is_gone_empties_nothing_and_is_followed_again_when_it_is_back() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    let watcher = Watcher::start(&index).unwrap();
    run(&index, Run::All);
    let (root, before) = (bench.root().to_owned(), dump(&index.snapshot()));
    let away = root.with_file_name("away");
    let is_lost = || {
        wait_until(&index, "the loss", |_| {
            index.status().last_error.is_some_and(|error| error.ends_with("there is no such folder"))
        });
        assert_eq!(dump(&index.snapshot()), before, "the index stays as it was");
        wait_until(&index, "a refusal", |_| matches!(index.run(&Run::All, &Arc::default()), Err(IndexError::Root(_))));
        wait_until(&index, "pending changes", |snapshot| snapshot.freshness().pending > 0);
        let freshness = index.snapshot().freshness();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(index.snapshot().freshness().checked, freshness.checked, "nobody looks at the disk");
    };
    let is_followed = |number: u32| {
        wait_until(&index, "that all is seen", |snapshot| snapshot.freshness().pending == 0);
        assert_eq!(index.status().last_error, None);
        assert!(
            matches!(index.status().watch, WatchState::Live { folders } if folders > 1),
            "{:?}",
            index.status().watch
        );
        let name = format!("src/later_{number}.py");
        bench.write(&name, "x = 1\n");
        wait_until(&index, "a later file", has(&name));
        std::fs::remove_file(root.join(&name)).unwrap();
        wait_until(&index, "its removal", |snapshot| !has(&name)(snapshot));
    };

    std::fs::rename(&root, &away).unwrap();
    is_lost();
    std::fs::rename(&away, &root).unwrap();
    is_followed(1);
    // Another folder with the same files but one.
    std::fs::rename(&root, &away).unwrap();
    is_lost();
    copy(&away, &root);
    std::fs::remove_file(root.join("README.md")).unwrap();
    wait_until(&index, "what another folder lacks", |snapshot| !has("README.md")(snapshot));
    is_followed(2);
    // Replaced before anybody could look.
    std::fs::rename(&root, root.with_file_name("older")).unwrap();
    std::fs::rename(&away, &root).unwrap();
    wait_until(&index, "what the first folder has", has("README.md"));
    is_followed(3);
    drop(watcher);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => _ = std::fs::copy(entry.path(), to).unwrap(),
        }
    }
}
