//! Crash: what does a process that dies of a signal leave behind?
//!
//! ```text
//! at the start        crash-<boot epoch> is made beside the telemetry socket, where the sidecar sees it; at the connection,
//!                     if the core does not serve or its counts do not outlive it
//! at the signal       the handler appends the signal, the thread and the addresses of the stack, and starts
//! right after         `conexusd crash-symbols FILE`, which appends what the addresses are called
//! at a regular end    the file is removed
//! ```
//!
//! The file is text, a line a fact, so that what could still be written is of use whatever came after. A file that says
//! nothing of a signal is a process that was killed. Statics: a signal handler has no other way to what it needs.

mod handler;
mod symbols;

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use symbols::symbolise;

/// The first line of a crash file.
const HEADING: &str = "conexusd-crash 1";
/// Panics that one file tells of.
const PANICS_MAX: u32 = 16;

/// The open crash file, -1 if there is none.
static FILE: AtomicI32 = AtomicI32::new(-1);
/// Its path, for the program that is started to name the addresses. Never freed once published.
static PATH: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());
static PANICS: AtomicU32 = AtomicU32::new(0);
static OPENED: Mutex<Option<Opened>> = Mutex::new(None);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: File,
}

fn opened() -> MutexGuard<'static, Option<Opened>> {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes over the signals of crashes for the whole process.
pub(crate) fn install() {
    handler::install();
}

/// Where a core leaves its crash file: the folder of the telemetry socket.
pub(crate) fn path(socket: &Path, boot_epoch: u64) -> PathBuf {
    socket.with_file_name(format!("crash-{boot_epoch:016x}"))
}

/// Makes the crash file of this core, unless it is there. The folder must be.
pub(crate) fn prepare(socket: &Path, boot_epoch: u64, version: &str) -> io::Result<()> {
    let path = path(socket, boot_epoch);
    let mut opened = opened();
    let in_place = opened
        .as_ref()
        .is_some_and(|opened| opened.path == path && opened.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0));
    if in_place {
        return Ok(());
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o660).open(&path)?;
    file.write_all(header(version).as_bytes())?;
    // An older file may be in the hands of a handler on another thread: its descriptor stays open.
    if let Some(old) = opened.take() {
        let _ = old.file.into_raw_fd();
    }
    let name = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    PATH.store(name.into_raw(), Ordering::Release);
    FILE.store(file.as_raw_fd(), Ordering::Release);
    *opened = Some(Opened { path, file });
    Ok(())
}

/// Removes the crash file: the process ends as it should.
pub(crate) fn dismiss() {
    if let Some(Opened { path, file }) = opened().take() {
        FILE.store(-1, Ordering::Release);
        let _ = std::fs::remove_file(path);
        let _ = file.into_raw_fd();
    }
}

/// Notes a panic: should the process not survive it, this is the cause.
pub(crate) fn note_panic(thread: &str, place: &str, message: &str) {
    let number = PANICS.fetch_add(1, Ordering::Relaxed);
    // Only tried: this thread may have panicked while it held the lock.
    let Ok(mut opened) = OPENED.try_lock() else { return };
    if let (true, Some(opened)) = (number < PANICS_MAX, opened.as_mut()) {
        let one_line = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let line = format!("panic {}\t{}\t{}\n", one_line(thread), one_line(place), one_line(message));
        let _ = opened.file.write_all(line.as_bytes());
    }
}

fn header(version: &str) -> String {
    let mut text = format!("{HEADING}\nversion {version}\n");
    for module in symbols::modules() {
        let _ = writeln!(text, "module {:x} {:x} {:x} {}", module.bias, module.start, module.end, module.path);
    }
    text
}

#[cfg(test)]
mod tests;
