//! Remains: what had a core counted when it died?
//!
//! A core keeps its counts in a file in memory (`conexus_proto::slots`), beside the telemetry socket or in `/dev/shm`, and
//! locks it. When nobody holds the lock the core is dead, and the file has its last word. Files are read with plain reads:
//! one that is cut short while it is read gives an error, not a signal. What this version cannot read, and what is not
//! this user's, stays where it is.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use conexus_proto::slots::{self, BadSlots, HEADER_BYTES, Remains, SEGMENT_BYTES, TABLE_BYTES, TABLES_MAX};
use rustix::fs::{FlockOperation, OFlags, flock};

const SHARED_MEMORY: &str = "/dev/shm";
/// The longest file there can be.
const BYTES_MAX: u64 = (HEADER_BYTES + TABLES_MAX * TABLE_BYTES + SEGMENT_BYTES) as u64;

/// Where cores leave their counts.
#[derive(Debug)]
pub struct Graveyard {
    // Folders, and how the names in them begin.
    places: Vec<(PathBuf, String)>,
    // Files that were complained about.
    refused: HashSet<PathBuf>,
}

/// A dead core's file. The lock is held while this lives, so that it is read by one sidecar only.
#[derive(Debug)]
pub struct Dead {
    path: PathBuf,
    _file: File,
    /// What it says.
    pub remains: Remains,
    /// When its core last said that it lives, which it does every second.
    pub last_seen: SystemTime,
}

impl Dead {
    /// Removes the file: what it said is safe elsewhere.
    pub fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "the file of a dead core cannot be removed");
        }
    }
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is no file of this user's alone")]
    Foreign,
    #[error("it has {0} bytes, more than any such file can have")]
    TooLarge(u64),
    #[error("{0}")]
    Content(#[from] BadSlots),
    #[error("it says that its epoch is {found:016x}")]
    Epoch { found: u64 },
}

impl Graveyard {
    /// The places for the cores that report to `socket`.
    pub fn of(socket: &Path) -> Self {
        let shared = slots::shared_file_name(socket.as_os_str().as_encoded_bytes(), 0);
        let prefix = shared.trim_end_matches(&slots::file_name(0)).to_owned();
        let beside = socket.parent().map(|folder| (folder.to_owned(), String::new()));
        Self { places: beside.into_iter().chain([(SHARED_MEMORY.into(), prefix)]).collect(), refused: HashSet::new() }
    }

    /// Every dead core that left its counts.
    pub fn dead(&mut self) -> Vec<Dead> {
        let mut found = Vec::new();
        for (folder, prefix) in &self.places {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let rest = name.to_str().and_then(|name| name.strip_prefix(prefix.as_str()));
                let rest = rest.filter(|rest| rest.starts_with("core-"));
                let Some(epoch) = rest.and_then(slots::epoch_of) else { continue };
                match open(&entry.path(), epoch) {
                    Ok(dead) => found.extend(dead),
                    Err(problem) => {
                        if self.refused.insert(entry.path()) {
                            let path = entry.path().display().to_string();
                            tracing::warn!(path, error = %problem, "the counts of a dead core cannot be read and stay there");
                        }
                    }
                }
            }
        }
        found
    }
}

/// Opens and reads a file; none if its core lives or has only begun to write it.
fn open(path: &Path, epoch: u64) -> Result<Option<Dead>, Problem> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() || meta.nlink() > 1 {
        return Err(Problem::Foreign);
    }
    if meta.len() > BYTES_MAX {
        return Err(Problem::TooLarge(meta.len()));
    }
    // A core locks its file while it is empty.
    if meta.len() == 0 || flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    (&mut file).take(BYTES_MAX).read_to_end(&mut bytes)?;
    let remains = slots::parse(&bytes)?;
    if remains.epoch != epoch {
        return Err(Problem::Epoch { found: remains.epoch });
    }
    Ok(Some(Dead { path: path.to_owned(), _file: file, remains, last_seen: meta.modified()? }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use conexus_proto::facts::FINGERPRINT;
    use conexus_proto::slots::word;

    use super::*;

    fn content(epoch: u64) -> Vec<u8> {
        let mut words = vec![0_u64; (HEADER_BYTES + TABLE_BYTES) / 8];
        words[word::MAGIC] = slots::MAGIC;
        words[word::EPOCH] = epoch;
        words[word::FINGERPRINT] = FINGERPRINT;
        words[word::TABLE_WORDS] = slots::TABLE_WORDS as u64;
        words[word::TABLES] = 1;
        words[HEADER_BYTES / 8] = 42;
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn yard() -> (tempfile::TempDir, Graveyard) {
        let folder = tempfile::tempdir().unwrap();
        let yard = Graveyard::of(&folder.path().join("t.sock"));
        (folder, yard)
    }

    #[test]
    fn a_file_is_read_once_its_lock_is_free_and_goes_when_asked_to() {
        let (folder, mut yard) = yard();
        let path = folder.path().join(slots::file_name(7));
        fs::write(&path, content(7)).unwrap();
        let core = File::open(&path).unwrap();
        flock(&core, FlockOperation::LockExclusive).unwrap();
        assert!(yard.dead().is_empty(), "its core lives");
        drop(core);
        let mut dead = yard.dead();
        assert_eq!((dead.len(), dead[0].remains.epoch, dead[0].remains.cells[0]), (1, 7, 42));
        dead.remove(0).remove();
        assert!(!path.exists() && yard.dead().is_empty());
    }

    #[test]
    fn what_is_foreign_cut_or_strange_is_left_alone_and_said_once() {
        let (folder, mut yard) = yard();
        let at = |epoch| folder.path().join(slots::file_name(epoch));
        fs::write(at(1), "precious").unwrap();
        fs::write(at(2), &content(2)[..HEADER_BYTES]).unwrap();
        fs::write(at(3), content(33)).unwrap();
        fs::write(folder.path().join("elsewhere"), content(4)).unwrap();
        symlink(folder.path().join("elsewhere"), at(4)).unwrap();
        fs::create_dir(at(5)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at(6), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        fs::write(at(7), []).unwrap();
        File::create(at(8)).unwrap().set_len(BYTES_MAX + 1).unwrap();
        fs::hard_link(folder.path().join("elsewhere"), at(9)).unwrap();
        assert!(yard.dead().is_empty());
        assert_eq!(yard.refused.len(), 8, "all but the empty one, which its core has only begun: {:?}", yard.refused);
        assert!((1..10).all(|epoch| fs::symlink_metadata(at(epoch)).is_ok()));
    }

    #[test]
    fn other_sockets_cores_in_shared_memory_are_none_of_ours() {
        let (folder, mut yard) = yard();
        let name = |socket: &Path| slots::shared_file_name(socket.as_os_str().as_encoded_bytes(), 7);
        let ours = Path::new(SHARED_MEMORY).join(name(&folder.path().join("t.sock")));
        let theirs = Path::new(SHARED_MEMORY).join(name(&folder.path().join("u.sock")));
        fs::write(&ours, content(7)).unwrap();
        fs::write(&theirs, content(7)).unwrap();
        let dead = yard.dead();
        let paths: Vec<_> = dead.iter().map(|dead| dead.path.clone()).collect();
        fs::remove_file(&theirs).unwrap();
        fs::remove_file(&ours).unwrap();
        assert_eq!(paths, [ours]);
    }
}
