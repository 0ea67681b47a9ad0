use std::cell::Cell;
use std::time::Duration;

use super::*;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1_700_000_000) };
}

/// 2023-11-14T22:13:20Z, until a test moves it.
fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.get())
}

fn files(folder: &Path, rotation: LogRotation, files_max: usize, bytes_max: u64) -> Files {
    Files::new(Limits { folder: folder.to_path_buf(), rotation, files_max, bytes_max }, clock)
}

fn write(files: &mut Files, line: &str) -> Result<(), FileError> {
    let mut pending = Pending::default();
    pending.push(line.as_bytes());
    files.write(&mut pending)
}

/// Names and contents, in the order of their names.
fn contents(folder: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_type().unwrap().is_symlink())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

fn names(folder: &Path) -> Vec<String> {
    contents(folder).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_new_day_begins_a_new_file_and_the_link_follows() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(folder.path(), LogRotation::Daily, 14, 1 << 20);
    write(&mut files, "one\n").unwrap();
    NOW.set(NOW.get() + 3_600);
    write(&mut files, "two\n").unwrap();
    NOW.set(NOW.get() + 3_600);
    write(&mut files, "three\n").unwrap();
    let expected = [("conexus-2023-11-14.001.log", "one\ntwo\n"), ("conexus-2023-11-15.001.log", "three\n")];
    assert_eq!(contents(folder.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    assert_eq!(fs::read_to_string(folder.path().join("conexus.log")).unwrap(), "three\n");
}

#[test]
fn a_new_hour_begins_a_new_file_when_files_are_hourly() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(folder.path(), LogRotation::Hourly, 2, 1 << 20);
    for text in ["one\n", "two\n", "three\n"] {
        write(&mut files, text).unwrap();
        NOW.set(NOW.get() + 3_600);
    }
    assert_eq!(names(folder.path()), ["conexus-2023-11-14T23.001.log", "conexus-2023-11-15T00.001.log"]);
}

#[test]
fn the_total_never_passes_its_bound_and_the_newest_lines_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(folder.path(), LogRotation::Daily, 5, 1_000);
    for number in 0..500 {
        write(&mut files, &format!("line {number:04}\n")).unwrap();
        let all = contents(folder.path());
        let total: usize = all.iter().map(|(_, text)| text.len()).sum();
        assert!(total <= 1_000 && all.len() <= 5, "{total} bytes in {} files", all.len());
        assert!(all.iter().all(|(_, text)| text.len() <= 200 && text.ends_with('\n')));
    }
    let kept: String = contents(folder.path()).into_iter().map(|(_, text)| text).collect();
    assert!(kept.ends_with("line 0499\n") && kept.len() > 800, "{} bytes", kept.len());
    let numbers: Vec<u32> = kept.lines().map(|line| line[5..].parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "nothing is missing between the kept lines");
}

#[test]
fn a_start_goes_on_in_the_newest_file_and_begins_a_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("conexus-2023-11-14.007.log"), "half a li").unwrap();
    fs::write(folder.path().join("conexus-2023-11-14.006.log"), "older\n").unwrap();
    write(&mut files(folder.path(), LogRotation::Daily, 14, 1 << 20), "one\n").unwrap();
    assert_eq!(contents(folder.path())[1].1, "half a li\none\n");
}

#[test]
fn a_file_that_is_moved_or_removed_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(folder.path(), LogRotation::Daily, 14, 1 << 20);
    let path = folder.path().join("conexus-2023-11-14.001.log");
    write(&mut files, "one\n").unwrap();
    fs::rename(&path, folder.path().join("taken")).unwrap();
    write(&mut files, "two\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    fs::remove_dir_all(folder.path()).unwrap();
    write(&mut files, "three\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
}

#[test]
fn what_is_not_ours_is_neither_counted_nor_removed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["other.log", "conexus-notes.log", "conexus-2023-11-14.log", "state.redb"] {
        fs::write(folder.path().join(name), "x".repeat(5_000)).unwrap();
    }
    fs::write(folder.path().join("conexus.log"), "somebody's").unwrap();
    let mut files = files(folder.path(), LogRotation::Daily, 1, 1_000);
    (0..300).for_each(|_| write(&mut files, "a line\n").unwrap());
    assert_eq!(names(folder.path()).len(), 6, "{:?}", names(folder.path()));
    assert_eq!(fs::read_to_string(folder.path().join("conexus.log")).unwrap(), "somebody's");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write(&mut files(&file.join("logs"), LogRotation::Daily, 1, 1_000), "a\n").unwrap_err();
    assert!(error.to_string().contains("file/logs"), "{error}");
}

#[test]
fn a_line_that_was_half_written_is_finished_in_its_file_or_begun_again_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(folder.path(), LogRotation::Daily, 14, 64);
    let path = folder.path().join("conexus-2023-11-14.001.log");
    let half = |files: &mut Files| {
        let mut pending = Pending::default();
        pending.push(b"one line\n");
        files.current(&mut pending).unwrap().file.write_all(b"one ").unwrap();
        pending.written = 4;
        pending
    };
    let mut pending = half(&mut files);
    NOW.set(NOW.get() + 86_400);
    files.write(&mut pending).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one line\n", "although the day is over");
    let mut pending = half(&mut files);
    fs::remove_dir_all(folder.path()).unwrap();
    files.write(&mut pending).unwrap();
    let all: String = contents(folder.path()).into_iter().map(|(_, text)| text).collect();
    assert_eq!(all, "one line\n");
}
