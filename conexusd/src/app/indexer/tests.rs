use std::time::Instant;

use super::*;
use crate::index::IndexOptions;
use crate::index::embed::{EmbedderOptions, StaticOptions, build};
use crate::telemetry::Telemetry;

fn indexer(root: &std::path::Path, database: &std::path::Path) -> Indexer {
    let embedder = build(EmbedderOptions::Static(StaticOptions::default()), Telemetry::detached()).unwrap();
    let options = IndexOptions::new(root, database).unwrap();
    Indexer::new(Index::open(options, embedder, Telemetry::detached()).unwrap())
}

fn wait(indexer: &Indexer) -> IndexStatus {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = indexer.status();
        if !status.running {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_is_numbered_watched_and_its_files_are_paged() {
    let (root, database) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir_all(root.path().join("src/deep")).unwrap();
    for i in 0..20 {
        std::fs::write(root.path().join(format!("src/f{i:02}.py")), format!("def f{i}():\n    return {i}\n")).unwrap();
    }
    std::fs::write(root.path().join("src/deep/z.rs"), "fn z() {}\n").unwrap();
    std::fs::write(root.path().join("srcs.txt"), "not below src\n").unwrap();
    let indexer = indexer(root.path(), database.path());
    let before = indexer.status();
    assert_eq!((before.run, before.running, before.outcome, before.phase), (0, false, RunOutcome::None, "idle"));
    indexer.start(Job::Changed).unwrap();
    let after = wait(&indexer);
    assert_eq!(
        (after.run, after.outcome, after.files_indexed, after.indexed_files),
        (1, RunOutcome::Completed, 22, 22)
    );
    assert!(after.freshness.complete && after.indexed_chunks >= 22 && after.last_error.is_none(), "{after:?}");

    let paths = |folder: &str, after: Option<&str>, limit: usize| -> Vec<String> {
        indexer.files(folder, after, limit).into_iter().map(|file| file.path).collect()
    };
    assert_eq!(paths("", None, 3), ["src/deep/z.rs", "src/f00.py", "src/f01.py"]);
    assert_eq!(paths("", Some("src/f18.py"), 3), ["src/f19.py", "srcs.txt"]);
    assert_eq!(paths("src/deep", None, 3), ["src/deep/z.rs"]);
    assert_eq!(paths("src", Some("src/f18.py"), 9), ["src/f19.py"]);
    let first = &indexer.files("", None, 1)[0];
    assert_eq!((first.language, first.bytes, first.lines), ("rust", 10, 1));

    std::fs::remove_file(root.path().join("src/deep/z.rs")).unwrap();
    indexer.start(Job::Paths(vec!["src/deep".into()])).unwrap();
    let after = wait(&indexer);
    assert_eq!((after.run, after.indexed_files), (2, 21));
}

#[test]
fn one_run_at_a_time_and_stopping_ends_it() {
    let (root, database) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for i in 0..3000 {
        let text = format!("def function_{i}(argument):\n    return argument + {i}\n").repeat(20);
        std::fs::write(root.path().join(format!("f{i}.py")), text).unwrap();
    }
    let indexer = indexer(root.path(), database.path());
    assert!(!indexer.stop(), "there is nothing to stop");
    indexer.start(Job::Everything).unwrap();
    assert_eq!(indexer.start(Job::Changed), Err(RunRefused::Running));
    assert!(indexer.stop());
    let after = wait(&indexer);
    assert_eq!((after.outcome, after.freshness.complete), (RunOutcome::Stopped, false), "{after:?}");
    indexer.start(Job::Changed).unwrap();
    let after = wait(&indexer);
    assert_eq!((after.outcome, after.indexed_files, after.run), (RunOutcome::Completed, 3000, 2), "{after:?}");
}
