use std::path::{Path, PathBuf};
use std::time::Instant;

use conexus_config::{LogLevel, LogRotation};
use serde_json::Value;

use super::*;
use crate::aggregate::Committer;

struct Setup {
    logs: Logs,
    levels: Levels,
    aggregate: Aggregate,
    committer: Committer,
    folder: tempfile::TempDir,
}

fn start(folder: impl FnOnce(&Path) -> PathBuf) -> Setup {
    let home = tempfile::tempdir().unwrap();
    let (aggregate, committer, _) = Aggregate::open(&home.path().join("state")).unwrap();
    let levels = Levels::new(LogLevel::Info);
    let limits =
        Limits { folder: folder(home.path()), rotation: LogRotation::Daily, files_max: 14, bytes_max: 64 << 20 };
    let logs = Logs::start(limits, LogFormat::Json, levels.clone(), aggregate.clone());
    Setup { logs, levels, aggregate, committer, folder: home }
}

fn batch(records: Vec<record::Record>) -> Arc<RecordBatch> {
    let records = records.into_iter().map(|record| v1::Record { record: Some(record) }).collect();
    Arc::new(RecordBatch::new(1, records))
}

fn log(level: v1::Level, message: &str) -> record::Record {
    record::Record::Log(v1::Log { level: level.into(), message: message.into(), ..v1::Log::default() })
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("conexus.log")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < until, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn dropped(setup: &Setup, reason: DropReason) -> u64 {
    let slot = SIDECAR_DROPPED + RecordKind::Log.number() * DropReason::VALUES.len() + reason.number();
    setup.aggregate.view().total[slot]
}

#[test]
fn lines_of_the_level_and_above_are_written_and_the_level_can_change() {
    let setup = start(|home| home.join("logs"));
    let all = || batch(vec![log(v1::Level::Debug, "a"), log(v1::Level::Info, "b"), log(v1::Level::Error, "c")]);
    setup.logs.offer(&all());
    setup.levels.set(LogLevel::Error);
    setup.logs.offer(&all());
    setup.levels.set(LogLevel::Debug);
    setup.logs.offer(&all());
    setup.logs.stop();
    let messages: Vec<String> =
        lines(&setup.folder.path().join("logs")).iter().map(|line| line["message"].as_str().unwrap().into()).collect();
    assert_eq!(messages.concat(), "bccabc");
    setup.committer.stop();
}

#[test]
fn a_panic_and_a_crash_are_lines_and_other_errors_are_not() {
    let setup = start(|home| home.join("logs"));
    let error = |kind: &str| {
        record::Record::Error(v1::Error { error_type: kind.into(), message: "boom".into(), ..v1::Error::default() })
    };
    setup.logs.offer(&batch(vec![error("panic"), error("tool"), error("crash")]));
    setup.logs.stop();
    let lines = lines(&setup.folder.path().join("logs"));
    let seen: Vec<_> = lines.iter().map(|line| (line["level"].as_str(), line["message"].as_str())).collect();
    assert_eq!(seen, [(Some("error"), Some("panicked: boom")), (Some("error"), Some("crashed: boom"))]);
    setup.committer.stop();
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_that_passes_and_costs_no_line() {
    let setup = start(|home| {
        std::fs::write(home.join("logs"), "in the way").unwrap();
        home.join("logs")
    });
    assert!(!setup.logs.state().up && setup.logs.state().last_error.unwrap().contains("logs"));
    setup.logs.offer(&batch(vec![log(v1::Level::Info, "kept")]));
    eventually("the attempts fail", || setup.aggregate.view().total[EXPORT_FAILURES + NUMBER] >= 2);
    assert_eq!(setup.logs.state().queued, 1);
    std::fs::remove_file(setup.folder.path().join("logs")).unwrap();
    eventually("the line is written", || setup.logs.state().up && setup.logs.state().queued == 0);
    assert_eq!(lines(&setup.folder.path().join("logs"))[0]["message"], "kept");
    setup.logs.stop();
    setup.committer.stop();
}

#[test]
fn what_finds_the_queue_full_is_counted_and_so_is_what_the_end_leaves() {
    // Every write to it fails as on a full disk.
    let setup = start(|home| {
        let day = &crate::log::rfc3339_micros(SystemTime::now())[..10];
        std::fs::create_dir(home.join("logs")).unwrap();
        std::os::unix::fs::symlink("/dev/full", home.join(format!("logs/conexus-{day}.001.log"))).unwrap();
        home.join("logs")
    });
    let many = QUEUE_LINES_MAX + 5_000;
    for _ in 0..many / 500 + 1 {
        setup.logs.offer(&batch((0..500).map(|_| log(v1::Level::Info, "x")).collect()));
    }
    let offered = (many / 500 + 1) * 500;
    assert!(!setup.logs.state().up, "{:?}", setup.logs.state());
    setup.logs.stop();
    setup.aggregate.count(&[], true);
    eventually("every line is accounted for", || {
        dropped(&setup, DropReason::ExporterFull) + dropped(&setup, DropReason::Shutdown) == offered as u64
    });
    assert!(dropped(&setup, DropReason::ExporterFull) >= 2_000, "{}", dropped(&setup, DropReason::ExporterFull));
    setup.committer.stop();
}
