//! Shared: where do a core's counts lie, so that they outlive it?
//!
//! In a file in memory that the sidecar can open: the layout is `conexus_proto::slots`. The file stands in the folder of the
//! telemetry socket, where both processes meet, if that is a memory file system; else in `/dev/shm`. Never on a disk: a
//! store into a page of a disk's file may wait for the disk, and the search path must not. Room is reserved before it is
//! mapped, so that a full file system is an error here and not a signal later. Where nothing works, counts lie in private
//! memory, and a core that is killed loses what it counted after its last snapshot.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use conexus_proto::facts::FINGERPRINT;
use conexus_proto::slots::{self, HEADER_BYTES, SEGMENT_BYTES, SEGMENT_TABLES, TABLE_BYTES, TABLES_MAX, word};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{
    FallocateFlags, FlockOperation, Timespec, Timestamps, UTIME_NOW, fallocate, flock, fstatfs, futimens,
};

use super::crash;
use super::slots::Table;

const SHARED_MEMORY: &str = "/dev/shm";
/// `f_type` of file systems that live in memory (statfs(2)).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
/// Files of dead cores that wait for a sidecar; beyond that those go that have waited longest, if it was long enough.
const DEAD_MAX: usize = 8;
/// How long a sidecar that is there may take.
const DEAD_FOR: Duration = Duration::from_secs(60);
/// Files of dead cores at most, however short they have waited.
const DEAD_HARD_MAX: usize = 128;

/// Why counts lie in private memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SharedError {
    #[error(transparent)]
    Folder(#[from] conexus_config::SocketDirError),
    #[error("{} is not in memory, and a store into a disk's file may wait for the disk", .0.display())]
    OnDisk(PathBuf),
    #[error("cannot {action} {}", .path.display())]
    Io { path: PathBuf, action: &'static str, source: io::Error },
}

/// The file, open and locked.
#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    // Keeps the lock: it goes with the process.
    file: File,
    header: MmapRaw,
    segment: Option<Arc<MmapRaw>>,
    tables: usize,
}

impl Shared {
    /// Makes the file of a core that begins.
    pub(crate) fn create(socket: &Path, epoch: u64, serving: bool) -> Result<Self, SharedError> {
        conexus_config::prepare_socket_dir(socket)?;
        let beside = socket.parent().unwrap_or(Path::new("/"));
        remove_oldest_dead(socket, beside, &slots::file_name(epoch));
        let first = Self::create_in(beside, &slots::file_name(epoch), epoch, serving);
        first.or_else(|error| {
            let name = slots::shared_file_name(socket.as_os_str().as_encoded_bytes(), epoch);
            remove_oldest_dead(socket, Path::new(SHARED_MEMORY), &name);
            // What is wrong with the folder that was asked for says more than what is wrong with the other.
            Self::create_in(Path::new(SHARED_MEMORY), &name, epoch, serving).map_err(|_| error)
        })
    }

    fn create_in(folder: &Path, name: &str, epoch: u64, serving: bool) -> Result<Self, SharedError> {
        let path = folder.join(name);
        let fail = |action, source: io::Error| SharedError::Io { path: path.clone(), action, source };
        let kind = File::open(folder).and_then(|folder| Ok(fstatfs(folder)?.f_type as u64));
        if !matches!(kind.map_err(|error| fail("inspect the folder of", error))?, TMPFS | RAMFS) {
            return Err(SharedError::OnDisk(folder.to_owned()));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(|error| fail("make", error))?;
        let filled = fill(&file, epoch, serving).map_err(|error| fail("reserve memory for", error));
        match filled {
            Ok(header) => Ok(Self { path, file, header, segment: None, tables: 0 }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// The next table, its numbers all 0, and what keeps it mapped.
    pub(crate) fn open_table(&mut self) -> io::Result<(NonNull<Table>, Arc<MmapRaw>)> {
        if self.tables >= TABLES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let within = self.tables % SEGMENT_TABLES;
        let segment = match &self.segment {
            Some(segment) if within > 0 => Arc::clone(segment),
            _ => {
                let segment = Arc::new(self.map_segment(HEADER_BYTES + self.tables * TABLE_BYTES)?);
                self.segment = Some(Arc::clone(&segment));
                segment
            }
        };
        // SAFETY: `within` is below SEGMENT_TABLES, so the address is inside the segment.
        let table = unsafe { segment.as_mut_ptr().add(within * TABLE_BYTES) }.cast::<Table>();
        let table = NonNull::new(table).expect("a mapping is not at address 0");
        self.tables += 1;
        self.set(word::TABLES, self.tables as u64);
        Ok((table, segment))
    }

    fn map_segment(&self, offset: usize) -> io::Result<MmapRaw> {
        fallocate(&self.file, FallocateFlags::empty(), offset as u64, SEGMENT_BYTES as u64)?;
        MmapOptions::new().offset(offset as u64).len(SEGMENT_BYTES).populate().map_raw(&self.file)
    }

    /// Says in the file's time of change that the core lives: at its death it tells since when.
    pub(crate) fn touch(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // A time that cannot be set only makes the file look older among the dead.
        let _ = futimens(&self.file, &Timestamps { last_access: now, last_modification: now });
    }

    /// Some threads count elsewhere.
    pub(crate) fn set_incomplete(&self) {
        self.set(word::INCOMPLETE, 1);
    }

    /// The core ends by itself. `read`: somebody still has to read what it counted.
    pub(crate) fn end(&self, read: bool) {
        self.set(word::ENDED, 1);
        if !read {
            // Somebody may have removed it: then it is gone as wanted.
            let _ = fs::remove_file(&self.path);
        }
    }

    fn set(&self, at: usize, value: u64) {
        store(&self.header, at, value);
    }
}

/// Locks the file, reserves its first memory and writes its header.
fn fill(file: &File, epoch: u64, serving: bool) -> io::Result<MmapRaw> {
    flock(file, FlockOperation::NonBlockingLockExclusive)?;
    fallocate(file, FallocateFlags::empty(), 0, HEADER_BYTES as u64)?;
    let header = MmapOptions::new().len(HEADER_BYTES).populate().map_raw(file)?;
    store(&header, word::EPOCH, epoch);
    store(&header, word::FINGERPRINT, FINGERPRINT);
    store(&header, word::TABLE_WORDS, slots::TABLE_WORDS as u64);
    store(&header, word::SERVING, u64::from(serving));
    store(&header, word::MAGIC, slots::MAGIC);
    Ok(header)
}

fn store(header: &MmapRaw, at: usize, value: u64) {
    assert!(at < word::COUNT && word::COUNT * 8 <= header.len(), "the header has this word");
    // SAFETY: the word is inside the mapping, whose memory is reserved, aligned to 8 because a mapping begins at a page,
    // and only ever accessed through atomics by this process. Any bytes are a number.
    let word = unsafe { &*header.as_mut_ptr().cast::<AtomicU64>().add(at) };
    word.store(value, Ordering::Release);
}

/// Removes files that dead cores left here and no sidecar came for, but for the newest few, and what they wrote of their death.
fn remove_oldest_dead(socket: &Path, folder: &Path, name: &str) {
    let prefix = &name[..name.len() - slots::file_name(0).len()];
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut dead: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| is_slots_file(name, prefix)))
        .filter_map(|entry| Some((dead_since(&entry.path())?, entry.path())))
        .collect();
    dead.sort();
    let (excess, far) = (dead.len().saturating_sub(DEAD_MAX), dead.len().saturating_sub(DEAD_HARD_MAX));
    for (i, (since, path)) in dead.into_iter().take(excess).enumerate() {
        if i < far || since.elapsed().is_ok_and(|dead_for| dead_for >= DEAD_FOR) {
            let epoch = path.file_name().and_then(|name| slots::epoch_of(name.to_str()?));
            let _ = (fs::remove_file(&path), epoch.map(|epoch| fs::remove_file(crash::path(socket, epoch))));
        }
    }
}

/// When the core of a file of ours died; none if it lives, or the file is not ours.
fn dead_since(path: &Path) -> Option<SystemTime> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    let ours = meta.is_file() && meta.uid() == rustix::process::geteuid().as_raw();
    // Whoever holds the lock lives; who has just made the file does not have it yet.
    (ours && meta.len() > 0 && flock(&file, FlockOperation::NonBlockingLockShared).is_ok())
        .then(|| meta.modified().ok())?
}

fn is_slots_file(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("core-")) && slots::epoch_of(name).is_some()
}

#[cfg(test)]
mod tests {
    use conexus_proto::facts::{Addition, Fact, RecordKind};
    use conexus_proto::slots::{BadSlots, epoch_of, parse};

    use super::super::slots::Tables;
    use super::*;

    /// A folder in memory.
    fn folder() -> tempfile::TempDir {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        tempfile::Builder::new().prefix("conexus-test").permissions(private).tempdir_in(SHARED_MEMORY).unwrap()
    }

    fn only_file(folder: &Path) -> PathBuf {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    fn locked(path: &Path) -> bool {
        flock(File::open(path).unwrap(), FlockOperation::NonBlockingLockShared).is_err()
    }

    #[test]
    fn what_is_counted_stands_in_the_file_at_once_whatever_the_thread() {
        let folder = folder();
        let tables = Tables::shared(Shared::create(&folder.path().join("t.sock"), 7, true));
        assert_eq!(tables.private(), None);
        let path = only_file(folder.path());
        assert_eq!(epoch_of(path.file_name().unwrap().to_str().unwrap()), Some(7));
        assert!(locked(&path));
        let Addition::Count { cell, .. } = Fact::SearchCacheHit.addition() else { unreachable!() };
        // More tables than one segment has.
        let opened: Vec<_> = (0..SEGMENT_TABLES + 3).map(|_| tables.open()).collect();
        for (i, table) in opened.iter().enumerate() {
            (0..=i).for_each(|_| table.add(Fact::SearchCacheHit.addition()));
            table.emitted(RecordKind::Log, 2);
        }
        let remains = parse(&fs::read(&path).unwrap()).unwrap();
        let expected = (1..=opened.len() as u64).sum::<u64>();
        assert_eq!((remains.epoch, remains.serving, remains.incomplete), (7, true, false));
        assert_eq!((remains.cells[cell], tables.cells()[cell]), (expected, expected));
        assert_eq!(remains.emitted, [0, 2 * opened.len() as u64, 0]);
    }

    #[test]
    fn an_end_removes_the_file_unless_somebody_has_still_to_read_it() {
        let folder = folder();
        for read in [false, true] {
            let shared = Shared::create(&folder.path().join("t.sock"), 7, true).unwrap();
            let path = only_file(folder.path());
            shared.end(read);
            assert_eq!(path.exists(), read);
            drop(shared);
            if read {
                assert!(!locked(&path) && parse(&fs::read(&path).unwrap()).unwrap().ended);
            }
        }
    }

    #[test]
    fn a_folder_on_a_disk_is_left_for_the_one_in_memory() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let socket = folder.path().join("t.sock");
        let refused = Shared::create_in(folder.path(), "core-0000000000000001.slots", 1, true).unwrap_err();
        assert!(matches!(refused, SharedError::OnDisk(_)), "{refused}");
        let shared = Shared::create(&socket, 7, false).unwrap();
        assert!(shared.path.starts_with(SHARED_MEMORY) && fs::read_dir(folder.path()).unwrap().count() == 0);
        shared.end(false);
        assert!(!shared.path.exists());
    }

    #[test]
    fn files_of_the_dead_are_kept_up_to_a_limit_and_the_living_and_the_newly_dead_stay() {
        let folder = folder();
        let socket = folder.path().join("t.sock");
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let living = Shared::create(&socket, 1, true).unwrap();
        let old = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
        futimens(&living.file, &Timestamps { last_access: old, last_modification: old }).unwrap();
        fs::write(folder.path().join("core-what.slots"), "precious").unwrap();
        (2..40).for_each(|epoch| drop(Shared::create(&socket, epoch, true).unwrap()));
        assert_eq!(names(), 2 + 38, "a sidecar may still come for them");
        (1..3).for_each(|epoch| fs::write(crash::path(&socket, epoch), "").unwrap());
        for epoch in 2..40 {
            let file = File::open(folder.path().join(slots::file_name(epoch))).unwrap();
            futimens(&file, &Timestamps { last_access: old, last_modification: old }).unwrap();
        }
        let last = Shared::create(&socket, 99, true).unwrap();
        assert_eq!(
            names(),
            DEAD_MAX + 4,
            "the dead, the two living, the crash file of one of them, and what is not ours"
        );
        assert!(crash::path(&socket, 1).exists());
        assert!(living.path.exists() && last.path.exists());
        living.touch();
        assert!(fs::metadata(&living.path).unwrap().modified().unwrap().elapsed().unwrap() < DEAD_FOR);
    }

    #[test]
    fn a_file_system_without_room_gives_an_error_and_no_signal() {
        let folder = folder();
        let path = folder.path().join("core-0000000000000001.slots");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        // More than any machine has.
        assert!(fallocate(&file, FallocateFlags::empty(), 0, 1 << 55).is_err());
        assert_eq!(parse(&fs::read(&path).unwrap()), Err(BadSlots::Foreign));
    }
}
