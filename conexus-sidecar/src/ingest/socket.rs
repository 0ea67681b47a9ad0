//! Socket: who may connect, and whose is the file at the path?
//!
//! The socket has mode 0600, and the peer's user, as the kernel knows it (`SO_PEERCRED`), must be the sidecar's own
//! or root. A socket that a dead sidecar left is removed; anything else at the path is an error and stays.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use conexus_config::SocketDirError;
use tokio::net::{UnixListener, UnixStream};

/// The longest path that fits into a `sockaddr_un`.
pub const PATH_BYTES_MAX: usize = 107;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("telemetry socket {path} (observability.telemetry.socket): {problem}")]
pub struct SocketError {
    /// The socket's path.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a socket's path.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It does not fit.
    #[error("its path has {0} bytes, at most {PATH_BYTES_MAX} are possible")]
    TooLong(usize),
    /// Somebody answers there.
    #[error("another sidecar listens there; stop it or choose another path")]
    InUse,
    /// A file, folder or link is there.
    #[error("something that is not a socket is there; move it away or choose another path")]
    NotASocket,
    /// The folder is not one that only this user can have put there.
    #[error(transparent)]
    Folder(#[from] SocketDirError),
    /// The system says no.
    #[error("cannot {0}: {1}")]
    Io(&'static str, io::Error),
}

/// An open socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    _file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another sidecar may have put its own socket there meanwhile.
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Listens at `path`.
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        let fail = |problem| SocketError { path: path.to_path_buf(), problem };
        let length = path.as_os_str().len();
        if length > PATH_BYTES_MAX {
            return Err(fail(Problem::TooLong(length)));
        }
        conexus_config::prepare_socket_dir(path).map_err(|error| fail(error.into()))?;
        clear_stale(path).await.map_err(fail)?;
        let listener = bind_private(path).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => fail(Problem::InUse),
            _ => fail(Problem::Io("listen", error)),
        })?;
        let meta = fs::symlink_metadata(path).map_err(|error| fail(Problem::Io("inspect", error)))?;
        let file = SocketFile { path: path.to_path_buf(), inode: (meta.dev(), meta.ino()) };
        Ok(Self { listener, _file: file })
    }

    /// The next connection of a user who may.
    pub async fn accept(&self) -> UnixStream {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a telemetry connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if may_connect(peer.uid(), own_uid()) => return stream,
                Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a telemetry connection of another user"),
                Err(error) => tracing::warn!(%error, "refused a telemetry connection of an unknown user"),
            }
        }
    }
}

/// Whether a user may connect: the sidecar's own, or root.
pub fn may_connect(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

async fn clear_stale(path: &Path) -> Result<(), Problem> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Problem::Io("inspect", error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(Problem::NotASocket),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(Problem::InUse),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(socket = %path.display(), "removed the socket of a sidecar that is gone");
            fs::remove_file(path).map_err(|error| Problem::Io("remove the stale socket", error))
        }
        // A full backlog: somebody is there and slow.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Problem::InUse),
        Err(error) => Err(Problem::Io("find out whether anybody answers", error)),
    }
}

/// Binds so that the file never has a wider mode than 0600: Linux gives it the mode of the socket, which is set before.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn private_path() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
        let path = dir.path().join("s");
        (dir, path)
    }

    async fn problem(path: &Path) -> String {
        Socket::bind(path).await.expect_err("must be refused").to_string()
    }

    #[tokio::test]
    async fn the_socket_is_for_its_user_alone_and_goes_with_the_sidecar() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/telemetry.sock");
        let socket = Socket::bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let (_dir, path) = private_path();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Socket::bind(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_where_somebody_answers_is_left_alone() {
        let (_dir, path) = private_path();
        let _first = Socket::bind(&path).await.unwrap();
        assert!(problem(&path).await.contains("another sidecar listens there"));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_or_a_link_at_the_path_is_left_alone() {
        let (_dir, path) = private_path();
        fs::write(&path, "precious").unwrap();
        assert!(problem(&path).await.contains("not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let link = path.with_file_name("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(problem(&link).await.contains("not a socket"));
    }

    #[tokio::test]
    async fn a_path_that_does_not_fit_is_named_with_its_length() {
        let text = problem(Path::new(&format!("/{}", "x".repeat(107)))).await;
        assert!(text.contains("108 bytes") && text.contains("observability.telemetry.socket"), "{text}");
    }

    #[test]
    fn only_the_own_user_and_root_may_connect() {
        assert!(may_connect(1000, 1000) && may_connect(0, 1000));
        assert!(!may_connect(1001, 1000) && !may_connect(1000, 0));
    }
}
