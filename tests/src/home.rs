//! A home: where one test's processes keep their configuration, data, state and sockets.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user's folders in a temporary folder, removed at the end.
#[derive(Debug)]
pub struct Home {
    folder: tempfile::TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// Makes the folders.
    pub fn new() -> Self {
        // A short path: a unix socket's may have no more than 107 bytes.
        let folder = tempfile::Builder::new().prefix("cx").tempdir_in("/tmp").expect("/tmp takes a folder");
        let home = Self { folder };
        for name in ["home", "config", "data", "state", "run", "tmp"] {
            fs::create_dir(home.path().join(name)).expect("a new folder takes folders");
        }
        fs::set_permissions(home.path().join("run"), fs::Permissions::from_mode(0o700)).expect("the folder is ours");
        home
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A folder below the temporary one, made if need be.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("a temporary folder takes folders");
        path
    }

    /// Writes the user's configuration file.
    pub fn write_config(&self, yaml: &str) {
        let folder = self.folder("config/conexus");
        fs::write(folder.join("config.yml"), yaml).expect("a temporary folder takes files");
    }

    /// The environment of this user's processes.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let at = |name: &str| self.path().join(name).into_os_string();
        vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
            ("HOME".into(), at("home")),
            ("XDG_CONFIG_HOME".into(), at("config")),
            ("XDG_DATA_HOME".into(), at("data")),
            ("XDG_STATE_HOME".into(), at("state")),
            ("XDG_RUNTIME_DIR".into(), at("run")),
            ("TMPDIR".into(), at("tmp")),
            ("LANG".into(), "C.UTF-8".into()),
            // Any free port, so that tests can run side by side.
            ("CONEXUS_PORT".into(), "0".into()),
            ("CONEXUS_METRICS_PORT".into(), "0".into()),
        ]
    }

    /// A command of one of the workspace's programs, run as this user.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(crate::program(program));
        command.env_clear().envs(self.environment()).current_dir(self.path());
        command
    }
}
