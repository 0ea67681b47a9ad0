//! Socket folder: is the folder of a socket one that only its owner can have put there?
//!
//! A folder below one that everybody can write to (the temp folder) may have been made by anyone, who could then pose
//! as the sidecar. There it must belong to the user alone. Elsewhere whoever could make the folder was trusted already,
//! and sharing it (a group, a volume of a pod) is that person's decision.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a socket must not be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketDirError {
    /// The path has no folder.
    #[error("{}: not an absolute path of a file in a folder", .0.display())]
    NoFolder(PathBuf),
    /// The folder cannot be made or read.
    #[error("{}: cannot {action} the folder of the socket", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What was tried: `make` or `read`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is something else in the folder's place.
    #[error("{}: the folder of the socket is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// A folder below one that everybody can write to is another user's.
    #[error(
        "{}: belongs to user {owner}, not to user {user}, in a folder that everybody can write to; remove it, or set observability.telemetry.socket",
        .path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who this process is.
        user: u32,
    },
    /// A folder below one that everybody can write to is a symbolic link.
    #[error("{}: is a symbolic link in a folder that everybody can write to; remove it, or set observability.telemetry.socket", .0.display())]
    Link(PathBuf),
    /// A folder below one that everybody can write to lets others in.
    #[error("{}: lets other users in (mode {mode:04o}); run: chmod 700 {}", .path.display(), .path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Makes the folder of a socket if it is not there (mode 0700, and its parents) and checks it as
/// [`check_socket_dir`] does. The error says what is wrong and what to do.
pub fn prepare_socket_dir(socket: &Path) -> Result<(), SocketDirError> {
    let folder = folder_of(socket)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => SocketDirError::NotAFolder(folder.to_owned()),
        _ => SocketDirError::Io { path: folder.to_owned(), action: "make", source },
    })?;
    check_socket_dir(socket)
}

/// Checks the folder of a socket: a folder, and wherever everybody could have made it or one above it, a real folder of
/// this user's (or above it, the superuser's), the last of them with mode 0700.
pub fn check_socket_dir(socket: &Path) -> Result<(), SocketDirError> {
    let folder = folder_of(socket)?;
    check(folder, rustix::process::geteuid().as_raw())
}

fn folder_of(socket: &Path) -> Result<&Path, SocketDirError> {
    socket
        .parent()
        .filter(|folder| folder.is_absolute() && socket.file_name().is_some())
        .ok_or_else(|| SocketDirError::NoFolder(socket.to_owned()))
}

fn check(folder: &Path, user: u32) -> Result<(), SocketDirError> {
    let read = |path: &Path, result: io::Result<Metadata>| {
        result.map_err(|source| SocketDirError::Io { path: path.to_owned(), action: "read", source })
    };
    if !read(folder, fs::metadata(folder))?.is_dir() {
        return Err(SocketDirError::NotAFolder(folder.to_owned()));
    }
    for path in folder.ancestors() {
        let Some(parent) = path.parent() else { break };
        let everybody_writes = read(parent, fs::metadata(parent))?.mode() & 0o002 != 0;
        if !everybody_writes {
            continue;
        }
        let found = read(path, fs::symlink_metadata(path))?;
        let owner = found.uid();
        if owner != user && !(owner == 0 && path != folder) {
            return Err(SocketDirError::Foreign { path: path.to_owned(), owner, user });
        }
        if found.is_symlink() {
            return Err(SocketDirError::Link(path.to_owned()));
        }
        let mode = found.mode() & 0o777;
        if path == folder && mode & 0o077 != 0 {
            return Err(SocketDirError::Open { path: path.to_owned(), mode });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn temp_folder() -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        mode(temp.path(), 0o1777);
        temp
    }

    #[test]
    fn a_missing_folder_is_made_for_its_owner_alone() {
        let temp = temp_folder();
        let socket = temp.path().join("conexus-1/a/telemetry.sock");
        assert!(matches!(check_socket_dir(&socket), Err(SocketDirError::Io { action: "read", .. })));
        prepare_socket_dir(&socket).unwrap();
        for folder in ["conexus-1", "conexus-1/a"] {
            assert_eq!(fs::metadata(temp.path().join(folder)).unwrap().mode() & 0o777, 0o700);
        }
        prepare_socket_dir(&socket).expect("a second time changes nothing");
        check_socket_dir(&socket).unwrap();
    }

    #[test]
    fn an_open_folder_in_the_temp_folder_is_refused_with_what_to_do() {
        let temp = temp_folder();
        let folder = temp.path().join("conexus-1");
        fs::create_dir(&folder).unwrap();
        mode(&folder, 0o755);
        let error = prepare_socket_dir(&folder.join("telemetry.sock")).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("lets other users in (mode 0755); run: chmod 700 {}", folder.display())),
            "{error}"
        );
        mode(&folder, 0o700);
        prepare_socket_dir(&folder.join("telemetry.sock")).unwrap();
    }

    #[test]
    fn a_folder_of_another_user_is_refused_only_where_everybody_could_make_it() {
        let temp = temp_folder();
        let folder = temp.path().join("conexus-1");
        fs::create_dir(&folder).unwrap();
        mode(&folder, 0o700);
        let me = rustix::process::geteuid().as_raw();
        let error = check(&folder, me + 1).unwrap_err();
        assert!(
            matches!(error, SocketDirError::Foreign { owner, user, .. } if owner == me && user == me + 1),
            "{error}"
        );
        mode(temp.path(), 0o755);
        let above_is_open =
            temp.path().parent().is_some_and(|parent| fs::metadata(parent).unwrap().mode() & 0o002 != 0);
        let trusted_above = !above_is_open || me == 0;
        assert_eq!(check(&folder, me + 1).is_ok(), trusted_above, "a private parent is trusted");
    }

    #[test]
    fn a_link_in_the_temp_folder_is_refused_and_so_is_a_file() {
        let temp = temp_folder();
        let real = temp.path().join("real");
        fs::create_dir(&real).unwrap();
        mode(&real, 0o700);
        symlink(&real, temp.path().join("link")).unwrap();
        assert!(matches!(prepare_socket_dir(&temp.path().join("link/t.sock")), Err(SocketDirError::Link(_))));
        fs::create_dir(real.join("inner")).unwrap();
        assert!(matches!(prepare_socket_dir(&temp.path().join("link/inner/t.sock")), Err(SocketDirError::Link(_))));
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(matches!(prepare_socket_dir(&temp.path().join("file/t.sock")), Err(SocketDirError::NotAFolder(_))));
        assert!(matches!(prepare_socket_dir(&temp.path().join("file/a/t.sock")), Err(SocketDirError::NotAFolder(_))));
    }

    #[test]
    fn a_shared_folder_below_a_private_one_is_left_to_its_owner() {
        let temp = tempfile::tempdir().unwrap();
        let shared = temp.path().join("shared");
        fs::create_dir(&shared).unwrap();
        mode(&shared, 0o777);
        prepare_socket_dir(&shared.join("telemetry.sock")).unwrap();
    }

    #[test]
    fn a_path_without_a_folder_is_refused() {
        for path in ["telemetry.sock", "a/telemetry.sock", "/", ""] {
            assert!(matches!(prepare_socket_dir(Path::new(path)), Err(SocketDirError::NoFolder(_))), "{path}");
        }
    }
}
