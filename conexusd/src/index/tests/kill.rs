//! Tests of sudden death: a process that indexes is killed at any instant, and its index is what it had committed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::recovery::copy;
use super::*;

/// Where a child of [`an_index_survives_the_death_of_its_process_at_any_instant`] works: root and database.
const CHILD: &str = "CONEXUS_TEST_INDEX_CHILD";

#[test]
fn an_index_survives_the_death_of_its_process_at_any_instant() {
    let bench = Bench::new();
    fill(&bench);
    let rounds = 12;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "index::tests::kill::a_process_that_changes_and_indexes_without_end", "--nocapture"])
            .env(CHILD, bench.root().parent().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines.map_while(Result::ok).any(|line| line.contains("indexing begins"));
        assert!(begun, "the child ended by itself");
        // From in the middle of the first commit to some commits later.
        std::thread::sleep(Duration::from_micros(500 + round * round * 4_100));
        child.kill().unwrap();
        child.wait().unwrap();
        check(&bench, round);
    }
    let index = bench.open();
    assert!(index.snapshot().counts().0 > 7, "the children got something done");
    run(&index, Run::All);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after all deaths");
}

/// What recovery finds is what everything derived, made anew from the store, shows.
fn check(bench: &Bench, round: u64) {
    let texts = bench.embedder.texts.load(Ordering::Relaxed);
    let index = bench.open();
    let folder = index.options().folder.clone();
    let recovered = dump(&index.snapshot());
    drop(index);
    let made_anew = bench.database().join("made-anew");
    copy(&folder, &made_anew);
    for derived in ["lexical", "columns"] {
        std::fs::remove_dir_all(made_anew.join(derived)).unwrap();
    }
    let index = bench.try_open(IndexOptions { folder: made_anew, ..bench.options() }).unwrap();
    assert_same(&recovered, &dump(&index.snapshot()), &format!("death {round}"));
    assert_eq!(bench.embedder.texts.load(Ordering::Relaxed), texts, "nothing is embedded again");
}

#[test]
fn a_process_that_changes_and_indexes_without_end() {
    let Some(folder) = std::env::var_os(CHILD) else {
        // By itself: the same changes, for a while.
        let bench = Bench::new();
        let index = bench.open();
        change_and_index(&index, &bench.root(), 6);
        return assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after changes");
    };
    let (root, database) = (Path::new(&folder).join("root"), Path::new(&folder).join("database"));
    let options = IndexOptions { workers: 2, nice: 0, ..IndexOptions::new(&root, &database).unwrap() };
    let index = Index::open(options, Arc::new(WordEmbedder::new()), Telemetry::detached()).unwrap();
    println!("indexing begins");
    change_and_index(&index, &root, u64::MAX);
}

fn change_and_index(index: &Index, root: &Path, times: u64) {
    let folder = root.join("changing");
    std::fs::create_dir_all(&folder).unwrap();
    for time in 0..times {
        for file in 0..6 {
            let path = folder.join(format!("f{}.py", (time + file * 5) % 17));
            if (time + file) % 5 == 0 {
                let _ = std::fs::remove_file(path);
            } else {
                std::fs::write(path, format!("def at_{time}_{file}():\n    return {time}\n")).unwrap();
            }
        }
        run(index, Run::Paths(vec![folder.clone()]));
    }
}
