//! Tests of the watcher: changes on disk are in the index soon after, ignored ones never.

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
