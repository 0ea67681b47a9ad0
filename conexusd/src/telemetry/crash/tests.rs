use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use super::*;
use crate::index::folder::Ownership;

const WHERE: &str = "CRASH_TEST_SOCKET";
const HOW: &str = "CRASH_TEST_HOW";

/// The folder of an index that a process owns when it crashes.
fn index_of(socket: &Path) -> PathBuf {
    socket.with_file_name("index")
}

/// Runs this test again in a process of its own, which crashes; returns how it ended and its crash file.
fn crash(how: &str) -> (ExitStatus, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("telemetry.sock");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "telemetry::crash::tests::dies_when_it_is_told_to", "--nocapture", "--test-threads", "1"])
        .env(WHERE, &socket)
        .env(HOW, how)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    Ownership::take(&index_of(&socket)).expect("whoever waited for its end can go on where it stood");
    let file = path(&socket, 7);
    // The test binary knows no `crash-symbols`: it is done here, in another process than the one that crashed.
    symbolise(&file).unwrap();
    (status, std::fs::read_to_string(&file).unwrap())
}

#[test]
fn dies_when_it_is_told_to() {
    let (Some(socket), Ok(how)) = (std::env::var_os(WHERE), std::env::var(HOW)) else { return };
    install();
    let socket = Path::new(&socket);
    prepare(socket, 7, "1.2.3").unwrap();
    let _owner = Ownership::take(&index_of(socket)).unwrap();
    match how.as_str() {
        "write" => std::thread::spawn(write_to_nowhere).join().unwrap(),
        "overflow" => assert!(std::thread::spawn(|| fall(1)).join().unwrap() > 0),
        "abort" => {
            note_panic("main", "here.rs:1", "two\nlines");
            std::process::abort()
        }
        // SAFETY: a signal to this process.
        "sent" => assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGSEGV) }, 0),
        how => panic!("{how}"),
    }
}

#[inline(never)]
fn write_to_nowhere() {
    // SAFETY: none, and that is the point.
    unsafe { std::ptr::without_provenance_mut::<u32>(64).write_volatile(1) };
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "it is to run out of stack")]
fn fall(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    fall(depth + 1) + room[3]
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start:?} in:\n{text}"))
}

#[test]
fn a_bad_write_is_told_with_its_address_and_where_in_the_code_it_was() {
    let (status, text) = crash("write");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "it dies of the signal all the same");
    assert_eq!(line(&text, "signal"), format!("signal {} 1 40", libc::SIGSEGV));
    assert!(text.starts_with("conexusd-crash 1\nversion 1.2.3\nmodule "), "{text}");
    assert!(line(&text, "symbol 0 ").contains("write_volatile"), "{text}");
    let ours = text.lines().find(|line| line.starts_with("symbol 0 ") && line.contains("write_to_nowhere"));
    assert!(ours.is_some_and(|line| line.contains("crash/tests.rs\t")), "{text}");
    assert!(text.ends_with("symbols done\n"));
}

#[test]
fn a_stack_overflow_is_told_and_ends_as_it_would_without_us() {
    let (status, text) = crash("overflow");
    assert_eq!(status.signal(), Some(libc::SIGABRT), "the standard library ends it so, after its message");
    assert!(line(&text, "signal").starts_with(&format!("signal {} ", libc::SIGSEGV)), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("signal")).count(), 1, "{text}");
    let ours =
        |line: &str| line.starts_with("symbol 0 ") && line.contains("crash/tests.rs\t") && line.ends_with("fall");
    assert!(text.lines().any(ours), "{text}");
}

#[test]
fn an_abort_has_the_panic_before_it_and_its_stack() {
    let (status, text) = crash("abort");
    assert_eq!(status.signal(), Some(libc::SIGABRT));
    assert_eq!(line(&text, "panic"), "panic main\there.rs:1\ttwo lines");
    assert!(text.lines().any(|line| line.starts_with("symbol") && line.ends_with("dies_when_it_is_told_to")), "{text}");
}

#[test]
fn a_signal_that_somebody_sent_kills_too() {
    let (status, text) = crash("sent");
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
    assert!(line(&text, "signal").starts_with(&format!("signal {} 0 ", libc::SIGSEGV)), "{text}");
    assert!(text.contains("\nend\n"), "{text}");
}

#[test]
fn a_file_that_was_removed_is_made_again_and_a_regular_end_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("telemetry.sock");
    prepare(&socket, 9, "1").unwrap();
    let file = path(&socket, 9);
    std::fs::remove_file(&file).unwrap();
    prepare(&socket, 9, "1").unwrap();
    prepare(&socket, 9, "1").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches(HEADING).count(), 1);
    dismiss();
    assert!(!file.exists());
    let error = prepare(Path::new("/nowhere/at/all.sock"), 9, "1").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
