//! Folder: where the index of a root stands, and who owns it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::IndexError;

/// The name of a root's folder below `database.path`: a hash of the whole path, then its last part for people.
pub fn folder_name(root: &Path) -> String {
    let hash = blake3::hash(root.as_os_str().as_bytes()).to_hex();
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let readable = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = name.chars().map(readable).take(48).collect();
    let name = if name.is_empty() { "root".to_owned() } else { name };
    format!("{}-{name}", &hash[..16])
}

/// The root's path as the index knows it: absolute and without symlinks. An error if it is not a folder that can be read.
pub fn resolve_root(root: &Path) -> Result<PathBuf, IndexError> {
    let wrong = |why: String| IndexError::Root(format!("{}: {why}", root.display()));
    let resolved = root.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong("there is no such folder".to_owned()),
        _ => wrong(error.to_string()),
    })?;
    if !resolved.is_dir() {
        return Err(wrong("is not a folder".to_owned()));
    }
    std::fs::read_dir(&resolved).map_err(|error| wrong(format!("cannot be listed: {error}")))?;
    Ok(resolved)
}

/// Which folder a path names: another one may come to stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    /// The root's at this moment. An error if it is not a folder that can be read.
    pub fn of(root: &Path) -> Result<Self, IndexError> {
        let metadata = resolve_root(root)?.metadata().map_err(|source| IndexError::io(root, source))?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Makes a folder that only its owner can look into: the index holds the text of every file.
pub fn make_private(folder: &Path) -> Result<(), IndexError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| IndexError::io(folder, source))
}

/// The right to open an index, held as long as this is alive, and given back by the system whatever happens.
#[derive(Debug)]
pub struct Ownership {
    file: File,
}

impl Drop for Ownership {
    /// Said aloud, not left to the file's end: a child process that is being started has copies of all descriptors, and
    /// with them the lock, until it runs its own program.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Ownership {
    /// Takes the lock in `folder`, which is made if need be.
    pub fn take(folder: &Path) -> Result<Self, IndexError> {
        make_private(folder)?;
        let path = folder.join("lock");
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(|source| IndexError::io(&path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                let pid = owner.trim().parse().ok();
                return Err(IndexError::Owned { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(IndexError::io(&path, source)),
        }
        let mut note = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note().map_err(|source| IndexError::io(&path, source))?;
        Ok(Self { file })
    }
}

/// Whether some process has the index in `folder` open at this moment.
pub fn is_owned(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join("lock")) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roots_of_one_name_have_two_folders() {
        let (a, b) = (folder_name(Path::new("/home/a/project")), folder_name(Path::new("/home/b/project")));
        assert_ne!(a, b);
        assert!(a.ends_with("-project") && b.ends_with("-project"), "{a} {b}");
        assert_eq!(folder_name(Path::new("/")).split_once('-').unwrap().1, "root");
        assert!(folder_name(Path::new("/x/a b\u{e9}")).ends_with("-a_b_"));
    }

    #[test]
    fn a_root_that_is_not_there_or_no_folder_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = resolve_root(&missing).unwrap_err().to_string();
        assert!(error.contains("missing: there is no such folder"), "{error}");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(resolve_root(&file).unwrap_err().to_string().contains("is not a folder"));
    }

    #[test]
    fn a_folder_has_one_owner_at_a_time_and_the_error_names_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("made/anew");
        let owner = Ownership::take(&folder).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let error = Ownership::take(&folder).unwrap_err();
        assert!(matches!(error, IndexError::Owned { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        // As a child has it between its fork and its exec.
        let copy = owner.file.try_clone().unwrap();
        drop(owner);
        assert!(!is_owned(&folder));
        Ownership::take(&folder).unwrap();
        drop(copy);
    }
}
