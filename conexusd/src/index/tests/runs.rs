//! Tests of runs: what is indexed and skipped, one at a time, stopped, failing, while searches go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use conexus_proto::facts::{FileError, SkipReason};

use super::*;

#[test]
fn a_fresh_index_holds_every_file_and_finds_what_it_defines() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    assert!(!index.snapshot().freshness().complete, "nothing was indexed yet");
    let progress = run(&index, Run::All);
    assert_eq!((progress.indexed, progress.failed_total(), progress.done), (7, 0, 7));
    let snapshot = index.snapshot();
    assert_eq!(snapshot.counts().0, 7);
    assert!(snapshot.freshness().complete && snapshot.freshness().checked.is_some());
    let hits = snapshot.definitions("CLIENT", 10);
    assert_eq!(hits.len(), 3, "{hits:?}");
    assert!(hits.iter().all(|hit| !hit.same_case));
    assert_eq!(snapshot.definitions("Client", 2).len(), 2);
    let file = snapshot.find_file("src/net/mod.rs").unwrap();
    assert_eq!(snapshot.term_frequency(file, "client"), 2);
    assert_eq!(snapshot.term_frequency(file, "absent"), 0);
    dump(&snapshot);
}

#[test]
fn a_second_run_reads_nothing() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    // Files as young as the clock's grain are read again to be sure.
    std::thread::sleep(Duration::from_millis(30));
    run(&index, Run::All);
    let before = (index.snapshot().generation(), bench.embedder.texts.load(Ordering::Relaxed));
    let progress = run(&index, Run::All);
    assert_eq!((progress.indexed, progress.unchanged), (0, 7));
    assert_eq!((index.snapshot().generation(), bench.embedder.texts.load(Ordering::Relaxed)), before);
}

#[test]
fn an_index_outlives_its_process() {
    let bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    run(&index, Run::All);
    let before = dump(&index.snapshot());
    drop(index);
    let index = bench.open();
    assert_same(&dump(&index.snapshot()), &before, "after opening again");
    assert!(index.snapshot().freshness().complete);
}

#[test]
fn only_one_run_goes_on_and_only_one_process_owns_an_index() {
    let mut embedder = WordEmbedder::new();
    embedder.delay = Duration::from_millis(300);
    let bench = Bench::with(embedder);
    fill(&bench);
    let index = bench.open();
    let error = bench.try_open(bench.options()).err().unwrap();
    assert!(matches!(error, IndexError::Owned { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    let control = Arc::new(RunControl::new());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| index.run(&Run::All, &control));
        while index.running().is_none() {
            std::thread::yield_now();
        }
        assert!(matches!(try_run(&index, Run::All), Err(IndexError::Busy)));
        running.join().unwrap().unwrap();
    });
    assert!(index.running().is_none());
}

#[test]
fn a_cancelled_run_stops_soon_and_the_next_one_finishes_the_work() {
    let mut embedder = WordEmbedder::new();
    embedder.delay = Duration::from_millis(50);
    let bench = Bench::with(embedder);
    for i in 0..200 {
        bench.write(&format!("f{i}.py"), format!("def function_{i}():\n    return {i}\n"));
    }
    let index = bench.open();
    let control = Arc::new(RunControl::new());
    let (report, stopped) = std::thread::scope(|scope| {
        let running = scope.spawn(|| index.run(&Run::All, &control).unwrap());
        while control.progress().indexed < 5 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let asked = Instant::now();
        control.cancel();
        (running.join().unwrap(), asked.elapsed())
    });
    assert!(report.cancelled && stopped < Duration::from_millis(1500), "{stopped:?}");
    let snapshot = index.snapshot();
    assert!(!snapshot.freshness().complete);
    let files = snapshot.counts().0;
    assert!((5..200).contains(&files), "{files}");
    dump(&snapshot);
    let progress = run(&index, Run::All);
    assert_eq!(progress.indexed + files, 200, "nothing was done twice");
    assert!(index.snapshot().freshness().complete);
}

#[test]
fn a_file_that_cannot_be_embedded_is_counted_kept_as_it_was_and_tried_again() {
    let mut embedder = WordEmbedder::new();
    embedder.fails_on = Some("unlucky");
    let bench = Bench::with(embedder);
    for i in 0..20 {
        bench.write(&format!("f{i:02}.txt"), format!("text {i}\n"));
    }
    bench.write("f07.txt", "text 7, later unlucky\n".replace("unlucky", "fine"));
    let index = bench.open();
    run(&index, Run::All);
    bench.write("f07.txt", "an unlucky text\n");
    bench.write("new.txt", "unlucky too\n");
    let progress = run(&index, Run::All);
    let failed: Vec<_> = progress.failed.iter().filter(|(_, n)| *n > 0).collect();
    assert!(matches!(failed[..], [(FileError::Embed, n)] if *n >= 2), "{failed:?}");
    assert!(progress.last_error.unwrap().contains("the provider said no"));
    let snapshot = index.snapshot();
    assert!(snapshot.find_file("new.txt").is_none());
    let old = snapshot.find_file("f07.txt").unwrap();
    assert_eq!(snapshot.file_text(old).unwrap(), "text 7, later fine\n");
    bench.embedder.failing.store(false, Ordering::Relaxed);
    assert_eq!(run(&index, Run::All).failed_total(), 0);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after the second try");
}

#[test]
fn another_embedder_indexes_anew_and_says_why() {
    let mut bench = Bench::new();
    fill(&bench);
    let index = bench.open();
    run(&index, Run::All);
    assert_eq!(index.status().reset, None);
    drop(index);
    let mut other = WordEmbedder::new();
    other.identity = "words-2".to_owned();
    bench.embedder = Arc::new(other);
    let index = bench.open();
    let reset = index.status().reset.unwrap();
    assert!(reset.contains("words-1") && reset.contains("words-2"), "{reset}");
    assert_eq!(index.snapshot().counts(), (0, 0));
    assert!(!index.snapshot().freshness().complete);
    assert_eq!(run(&index, Run::All).indexed, 7);
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "with the other embedder");
}

#[test]
fn searches_see_whole_commits_and_never_wait_while_a_run_goes_on() {
    let bench = Bench::new();
    for i in 0..400 {
        bench.write(&format!("d{}/f{i}.py", i % 7), format!("def function_{i}():\n    return {i}\n").repeat(20));
    }
    let index = bench.open();
    let query = bench.embedder.embed_query("function 3").unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            assert_eq!(run(&index, Run::All).indexed, 400);
            assert_eq!(run(&index, Run::Rebuild).indexed, 400);
        });
        let mut slowest = Duration::ZERO;
        while !running.is_finished() {
            let began = Instant::now();
            let snapshot = index.snapshot();
            for (chunk, _) in snapshot.nearest(&query, 20, &|_| true) {
                let view = snapshot.chunk(chunk);
                assert!(snapshot.is_live(view.file));
                assert!(snapshot.file_text(view.file).unwrap().contains("function"));
            }
            slowest = slowest.max(began.elapsed());
        }
        running.join().unwrap();
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    });
    assert_same(&dump(&index.snapshot()), &bench.fresh_dump(), "after a rebuild");
}

#[test]
fn why_files_are_skipped_is_counted() {
    let bench = Bench::new();
    fill(&bench);
    bench.write(".git/HEAD", "ref: refs/heads/main\n");
    bench.write(".gitignore", "*.log\nbuild/\n");
    bench.write("a.log", "x\n");
    bench.write("build/out.txt", "x\n");
    bench.write("image.bin", b"\x00\x01\x02\x03".repeat(100));
    bench.write("empty.txt", "");
    bench.write("large.txt", "word ".repeat(300_000));
    bench.write("bundle.min.js", format!("var a=1;{}", "f(x);".repeat(5000)));
    std::os::unix::fs::symlink("tool.py", bench.root().join("link.py")).unwrap();
    let index = bench.open();
    let progress = run(&index, Run::All);
    let skipped = |reason| progress.skipped_for(reason);
    // The log, the build folder, git's own.
    assert_eq!(skipped(SkipReason::Ignored), 3);
    assert_eq!(skipped(SkipReason::Binary), 1);
    assert_eq!(skipped(SkipReason::Empty), 1);
    assert_eq!(skipped(SkipReason::TooLarge), 1);
    assert_eq!(skipped(SkipReason::Generated), 1);
    assert_eq!(skipped(SkipReason::Symlink), 1);
    assert_eq!(progress.done, progress.discovered);
    std::thread::sleep(Duration::from_millis(30));
    run(&index, Run::All);
    let again = run(&index, Run::All);
    assert_eq!(again.skipped_for(SkipReason::Binary), 1, "the reason is remembered");
    assert_eq!(again.indexed, 0);
}
