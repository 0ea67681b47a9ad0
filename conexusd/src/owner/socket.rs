//! The control socket: `control.sock` in the index folder, mode 0600.
//!
//! A unix socket's path may have 107 bytes only and an index folder's may be longer, so the folder is opened and the socket
//! addressed through `/proc/self/fd`, which is short whatever the folder is called.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_peercred;
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the index folder.
pub const NAME: &str = "control.sock";

/// A listening control socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Connects to the owner of the index in `folder`; `None` when there is none.
pub async fn connect(folder: &Path) -> io::Result<Option<UnixStream>> {
    let Ok(handle) = open_folder(folder) else { return Ok(None) };
    match UnixStream::connect(through(&handle)).await {
        Ok(stream) => Ok(Some(stream)),
        // No socket, or one that a killed owner left behind.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Control {
    /// Listens in `folder`. Only the process that holds the index's lock may call this: what stands at the socket's path
    /// is then a leftover of a dead owner, and is removed.
    pub fn bind(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::other(format!("{} is there and is not a socket", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let handle = open_folder(folder)?;
        let listener = UnixListener::bind(through(&handle))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// The next connection of this user; others are closed.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let peer = socket_peercred(&stream)?;
            if peer.uid == rustix::process::geteuid() || peer.uid.is_root() {
                return Ok(stream);
            }
            tracing::warn!(uid = peer.uid.as_raw(), "a foreign user's connection to the control socket was refused");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn open_folder(folder: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    File::options().read(true).custom_flags(flags.bits() as i32).open(folder)
}

fn through(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_with_a_long_path_has_a_control_socket() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("x".repeat(200));
        std::fs::create_dir(&folder).unwrap();
        assert!(connect(&folder).await.unwrap().is_none());
        let control = Control::bind(&folder).unwrap();
        let (client, server) = tokio::join!(connect(&folder), control.accept());
        assert!(client.unwrap().is_some() && server.is_ok());
        let mode = std::fs::metadata(folder.join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(control);
        assert!(!folder.join(NAME).exists());
    }

    #[tokio::test]
    async fn what_a_dead_owner_left_is_replaced_and_a_foreign_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        // A listener that is closed without removing its file, as a killed process leaves it.
        drop(std::os::unix::net::UnixListener::bind(folder.path().join(NAME)).unwrap());
        assert!(connect(folder.path()).await.unwrap().is_none());
        drop(Control::bind(folder.path()).unwrap());
        std::fs::write(folder.path().join(NAME), "mine").unwrap();
        let error = Control::bind(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is not a socket"), "{error}");
        assert_eq!(std::fs::read(folder.path().join(NAME)).unwrap(), b"mine");
    }
}
