//! Crash: what did a core that vanished leave behind, and what does that say?
//!
//! A core keeps a file beside the telemetry socket, which is the place that both processes see whatever namespaces they are
//! in. When a signal kills it, it appends the signal and its stack; a file that says nothing of one, or none, is a core that
//! was killed. What is read is another process's word: its size is bounded and every line may be missing or senseless.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use conexus_proto::v1::{self, attribute};

use crate::aggregate::epochs::Crash;

/// Bytes of a file that are read.
const BYTES_MAX: u64 = 256 << 10;
/// Frames of a stack that are reported.
const FRAMES_MAX: usize = 128;
/// Bytes of a line's text that are reported.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// Files that nobody asked for are removed when they are older than this.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How the names of the files begin.
const PREFIX: &str = "crash-";

/// The error record of a crash. Takes the core's file away.
pub fn report(socket: &Path, crash: &Crash, now: SystemTime) -> v1::Error {
    let path = path(socket, crash.epoch);
    let left = Left::parse(&read(&path));
    // It may be the file of a core with another user: then it stays until that one removes it.
    let _ = fs::remove_file(path);
    let pid = crash.core.as_ref().map_or(0, |core| core.pid);
    left.into_error(pid, now)
}

/// Removes files of cores that nobody will ask for any more.
pub fn sweep(socket: &Path) {
    let Some(listed) = socket.parent().and_then(|folder| fs::read_dir(folder).ok()) else { return };
    for entry in listed.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|at| at.elapsed().unwrap_or_default());
        if age.is_ok_and(|age| age > KEPT) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn path(socket: &Path, epoch: u64) -> PathBuf {
    socket.with_file_name(format!("{PREFIX}{epoch:016x}"))
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    // Whatever could be read counts.
    let _ = opened;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a core left.
#[derive(Debug, Default)]
struct Left {
    signal: Option<(i32, i32, String)>,
    thread: String,
    panic: Option<String>,
    stack: Vec<v1::Frame>,
}

impl Left {
    fn parse(text: &str) -> Self {
        let mut left = Self::default();
        let (mut pc, mut addresses) = ("", Vec::new());
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "signal" => left.signal = left.signal.or_else(|| signal(rest)),
                "thread" => left.thread = text_of(rest),
                "panic" => left.panic = Some(text_of(&panic(rest))),
                "pc" => pc = rest,
                "frame" => addresses.push(rest),
                "symbol" if left.stack.len() < FRAMES_MAX => left.stack.extend(symbol(rest)),
                _ => {}
            }
        }
        if left.stack.is_empty() {
            // Nobody could name the addresses. What stands before the place of the fault is the handler's.
            let struck = addresses.iter().position(|address| *address == pc).unwrap_or(0);
            left.stack =
                addresses[struck.min(addresses.len())..].iter().take(FRAMES_MAX).map(|at| unnamed(at)).collect();
        }
        left
    }

    fn into_error(self, pid: u32, now: SystemTime) -> v1::Error {
        let mut context = Vec::new();
        let mut add = |key: &str, value: attribute::Value| {
            context.push(v1::Attribute { key: key.into(), value: Some(value) });
        };
        let message = match (&self.signal, &self.panic) {
            (Some((number, code, address)), panic) => {
                let what = match (name(*number), panic) {
                    (name @ ("SIGSEGV" | "SIGBUS"), _) if is_fault(*code) => format!("{name} at address 0x{address}"),
                    (name @ ("SIGSEGV" | "SIGBUS"), _) => format!("{name}, sent by a process"),
                    (name, Some(panic)) => format!("{name} after a panic: {panic}"),
                    (name, None) => name.to_owned(),
                };
                match self.thread.is_empty() {
                    true => what,
                    false => format!("{what} (thread {})", self.thread),
                }
            }
            (None, _) => "killed (cause unknown)".to_owned(),
        };
        if let Some((number, code, address)) = &self.signal {
            add("signal", attribute::Value::Text(name(*number).into()));
            add("signal_code", attribute::Value::Integer((*code).into()));
            if is_fault(*code) {
                add("address", attribute::Value::Text(format!("0x{address}")));
            }
        }
        if !self.thread.is_empty() {
            add("thread", attribute::Value::Text(self.thread));
        }
        if let Some(panic) = self.panic {
            add("last_panic", attribute::Value::Text(panic));
        }
        if pid > 0 {
            add("pid", attribute::Value::Integer(pid.into()));
        }
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        v1::Error {
            unix_nanos: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            error_type: "crash".into(),
            message,
            context,
            stack: self.stack,
            ..v1::Error::default()
        }
    }
}

/// Whether the processor raised a signal. One that was sent has the sender where a fault has its address.
fn is_fault(code: i32) -> bool {
    code > 0
}

fn text_of(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean[..clean.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// `NUMBER CODE ADDRESS`.
fn signal(rest: &str) -> Option<(i32, i32, String)> {
    let mut parts = rest.split(' ');
    let (number, code, address) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    address.chars().all(|c| c.is_ascii_hexdigit()).then(|| (number, code, text_of(address)))
}

/// `THREAD<tab>PLACE<tab>MESSAGE`.
fn panic(rest: &str) -> String {
    let mut parts = rest.splitn(3, '\t');
    let (thread, place, message) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{message} at {place} (thread {thread})")
}

/// `INDEX LINE FILE<tab>FUNCTION`.
fn symbol(rest: &str) -> Option<v1::Frame> {
    let (_, rest) = rest.split_once(' ')?;
    let (line, rest) = rest.split_once(' ')?;
    let (file, function) = rest.split_once('\t')?;
    Some(v1::Frame { function: text_of(function), file: text_of(file), line: line.parse().ok()? })
}

fn unnamed(address: &str) -> v1::Frame {
    v1::Frame { function: format!("0x{}", text_of(address)), ..v1::Frame::default() }
}

fn name(signal: i32) -> &'static str {
    match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        11 => "SIGSEGV",
        _ => "a signal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(epoch: u64) -> Crash {
        Crash { epoch, core: None, known: true, last_seen: None }
    }

    fn report_of(text: &str) -> v1::Error {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("telemetry.sock");
        fs::write(path(&socket, 5), text).unwrap();
        let error = report(&socket, &crash(5), SystemTime::now());
        assert!(!path(&socket, 5).exists(), "it is taken away");
        error
    }

    #[test]
    fn a_signal_is_told_with_its_named_stack() {
        let error = report_of(
            "conexusd-crash 1\nversion 1\nmodule 0 0 9 \nsignal 11 1 40\nthread indexer\npc 7\nframe 1\nframe 7\nend\n\
             symbol 0 12 /b/conexusd/src/a.rs\tconexusd::a::f\nsymbol 1 0 \t0x9\nsymbols done\n",
        );
        assert_eq!(error.message, "SIGSEGV at address 0x40 (thread indexer)");
        let expected = v1::Frame { function: "conexusd::a::f".into(), file: "/b/conexusd/src/a.rs".into(), line: 12 };
        assert_eq!((error.stack.len(), &error.stack[0]), (2, &expected));
    }

    #[test]
    fn without_names_the_addresses_from_the_fault_on_are_told() {
        let error =
            report_of("conexusd-crash 1\npanic main\tx.rs:1\toh no\nsignal 6 -6 2a\npc 7\nframe 1\nframe 7\nframe 8\n");
        assert_eq!(error.message, "SIGABRT after a panic: oh no at x.rs:1 (thread main)");
        let functions: Vec<_> = error.stack.iter().map(|frame| frame.function.as_str()).collect();
        assert_eq!(functions, ["0x7", "0x8"]);
    }

    #[test]
    fn a_signal_that_was_sent_has_no_address() {
        let error = report_of("conexusd-crash 1\nsignal 11 0 375\n");
        assert_eq!(error.message, "SIGSEGV, sent by a process");
        assert!(!error.context.iter().any(|field| field.key == "address"), "{:?}", error.context);
    }

    #[test]
    fn a_file_without_a_signal_and_no_file_are_a_kill() {
        assert_eq!(report_of("conexusd-crash 1\nversion 1\n").message, "killed (cause unknown)");
        let error = report(Path::new("/nowhere/x.sock"), &crash(1), SystemTime::now());
        assert_eq!((error.message.as_str(), error.error_type.as_str()), ("killed (cause unknown)", "crash"));
    }

    #[test]
    fn senseless_files_do_no_harm() {
        let long = format!("symbol 0 1 {}\tf\n", "x".repeat(5_000));
        for text in ["signal\nsignal x y z\nframe\npc\nsymbol\nsymbol 1\n", "\0\u{fffd}\n\n", &long.repeat(200)] {
            let error = report_of(text);
            assert!(error.stack.len() <= FRAMES_MAX && error.stack.iter().all(|f| f.file.len() <= TEXT_BYTES_MAX));
        }
    }

    #[test]
    fn only_old_files_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("telemetry.sock");
        for epoch in [1, 2] {
            fs::write(path(&socket, epoch), "x").unwrap();
        }
        let old = SystemTime::now() - KEPT - Duration::from_secs(60);
        File::options().write(true).open(path(&socket, 1)).unwrap().set_modified(old).unwrap();
        sweep(&socket);
        assert_eq!((path(&socket, 1).exists(), path(&socket, 2).exists()), (false, true));
    }
}
