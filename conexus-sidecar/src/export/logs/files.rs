//! Files: which file does a log line go to, when is a new one begun, and which are removed?
//!
//! `conexus-2026-11-22.001.log`, with the hour as `T13` when files are hourly: by name they are in the order of time, and
//! `conexus.log` is a link to the newest. A file is only ever appended to. A new one is begun when its day or hour is over
//! and before it grows past its share of the total; then the oldest go. One that somebody moved or removed is begun anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use conexus_config::LogRotation;

use crate::log::rfc3339_micros;

/// A file holds at most this part of the total, so that removing the oldest frees little of what could be kept.
const SHARES: u64 = 16;
/// The link to the newest file.
const LINK: &str = "conexus.log";

/// Where log files are, and how many and large they may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The folder.
    pub folder: PathBuf,
    /// When a new file is begun.
    pub rotation: LogRotation,
    /// Files kept, the one being written included.
    pub files_max: usize,
    /// Bytes of all files together.
    pub bytes_max: u64,
}

impl Limits {
    /// The size that no file grows past.
    pub fn file_bytes_max(&self) -> u64 {
        self.bytes_max / (self.files_max as u64).clamp(1, SHARES)
    }
}

/// Why lines cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub(super) struct FileError {
    path: String,
    source: io::Error,
}

/// The files of one folder.
pub(super) struct Files {
    limits: Limits,
    clock: fn() -> SystemTime,
    current: Option<Current>,
}

struct Current {
    file: File,
    path: PathBuf,
    name: Name,
    bytes: u64,
}

/// A file's name: its day or hour, and its number in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    period: String,
    part: u32,
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let (period, part) = text.strip_prefix("conexus-")?.strip_suffix(".log")?.split_once('.')?;
        let shape = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
        let known = ["0000-00-00", "0000-00-00T00"].contains(&shape(period).as_str());
        (known && part.len() >= 3).then_some(())?;
        Some(Self { period: period.to_owned(), part: part.parse().ok()? })
    }

    fn text(&self) -> String {
        format!("conexus-{}.{:03}.log", self.period, self.part)
    }
}

/// Lines on their way to a file, and how much of them has arrived.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

impl Pending {
    /// Adds a line, with its end.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn is_inside_a_line(&self) -> bool {
        self.written > 0 && self.bytes[self.written - 1] != b'\n'
    }

    /// Goes back to the beginning of the line whose first part stands in a file that is gone.
    fn begin_line_again(&mut self) {
        let before = &self.bytes[..self.written];
        self.written = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    }
}

impl Files {
    pub(super) fn new(limits: Limits, clock: fn() -> SystemTime) -> Self {
        Self { limits, clock, current: None }
    }

    /// Writes what is pending. After an error the rest is still pending, and the next call goes on where this one stopped.
    pub(super) fn write(&mut self, pending: &mut Pending) -> Result<(), FileError> {
        while !pending.rest().is_empty() {
            let current = self.current(pending)?;
            match current.file.write(pending.rest()) {
                Ok(0) => return Err(failure(&current.path, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    pending.written += count;
                    current.bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(&current.path, error)),
            }
        }
        pending.clear();
        Ok(())
    }

    /// Makes the folder and the first file, so that a mistake shows before there is anything to write.
    pub(super) fn open(&mut self) -> Result<(), FileError> {
        self.current(&mut Pending::default()).map(|_| ())
    }

    /// The file for what is pending.
    fn current(&mut self, pending: &mut Pending) -> Result<&mut Current, FileError> {
        if self.current.as_ref().is_some_and(|current| !current.is_in_place()) {
            self.current = None;
            pending.begin_line_again();
        }
        let period = self.period();
        let length = pending.rest().len() as u64;
        let fits = |current: &Current, limits: &Limits| current.bytes + length <= limits.file_bytes_max();
        // A line is never split over two files.
        let stays = pending.is_inside_a_line();
        match self.current.take() {
            Some(current) if stays || (current.name.period == period && fits(&current, &self.limits)) => {
                Ok(self.current.insert(current))
            }
            _ => {
                let next = self.begin(period, length)?;
                Ok(self.current.insert(next))
            }
        }
    }

    /// Opens the period's newest file if it has room, else one more, and removes what is too old.
    fn begin(&self, period: String, length: u64) -> Result<Current, FileError> {
        let folder = &self.limits.folder;
        let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(folder);
        made.map_err(|error| failure(folder, error))?;
        let listed = list(folder)?;
        let last = listed.iter().filter(|(name, _)| name.period == period).max_by_key(|(name, _)| name.part);
        let part = match last {
            Some((name, bytes)) if bytes + length <= self.limits.file_bytes_max() => name.part,
            Some((name, _)) => name.part + 1,
            None => 1,
        };
        let name = Name { period, part };
        self.make_room(listed, &name)?;
        let current = Current::open(folder, name)?;
        point_link(folder, &current.path);
        Ok(current)
    }

    /// Removes the oldest files until the one about to be written may grow to its full size.
    fn make_room(&self, mut listed: Vec<(Name, u64)>, keep: &Name) -> Result<(), FileError> {
        listed.retain(|(name, _)| name != keep);
        listed.sort();
        let mut bytes: u64 = listed.iter().map(|(_, bytes)| bytes).sum();
        let room = self.limits.bytes_max - self.limits.file_bytes_max();
        let mut oldest = listed.into_iter();
        while bytes > room || oldest.len() >= self.limits.files_max {
            let Some((name, size)) = oldest.next() else { break };
            let path = self.limits.folder.join(name.text());
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure(&path, error)),
                _ => bytes -= size,
            }
        }
        Ok(())
    }

    fn period(&self) -> String {
        let now = rfc3339_micros((self.clock)());
        let length = if self.limits.rotation == LogRotation::Hourly { "0000-00-00T00" } else { "0000-00-00" }.len();
        now[..length].to_owned()
    }
}

impl Current {
    fn open(folder: &Path, name: Name) -> Result<Self, FileError> {
        let path = folder.join(name.text());
        let open = || {
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&path)?;
            let mut bytes = file.metadata()?.len();
            // An earlier life may have ended in the middle of a line.
            if bytes > 0 {
                let mut last = [0];
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                    bytes += 1;
                }
            }
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|error| failure(&path, error))?;
        Ok(Self { file, path, name, bytes })
    }

    /// Whether its path still leads to it.
    fn is_in_place(&self) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(open)) => identity(there) == identity(open),
            _ => false,
        }
    }
}

/// Our files in a folder, and their sizes.
fn list(folder: &Path) -> Result<Vec<(Name, u64)>, FileError> {
    let fail = |error| failure(folder, error);
    let mut listed = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_str().and_then(Name::parse);
        // One that is removed while the folder is being read is none of ours any more.
        if let (Some(name), Ok(metadata)) = (name, entry.metadata())
            && metadata.is_file()
        {
            listed.push((name, metadata.len()));
        }
    }
    Ok(listed)
}

/// Lets `conexus.log` lead to the newest file. It is a convenience: where there can be no link there is none.
fn point_link(folder: &Path, target: &Path) {
    let (Some(name), link) = (target.file_name(), folder.join(LINK)) else { return };
    if fs::read_link(&link).is_ok_and(|leads_to| leads_to == Path::new(name)) {
        return;
    }
    let next = folder.join(".conexus.log.next");
    let _ = fs::remove_file(&next);
    if std::os::unix::fs::symlink(name, &next).is_ok() {
        // What somebody else put there under this name stays.
        if fs::symlink_metadata(&link).is_ok_and(|there| !there.is_symlink()) || fs::rename(&next, &link).is_err() {
            let _ = fs::remove_file(&next);
        }
    }
}

fn failure(path: &Path, source: io::Error) -> FileError {
    FileError { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests;
