//! Paths: where things are kept when nobody says otherwise, by the XDG base directory specification.

use std::path::{Path, PathBuf};

use crate::inputs::Inputs;

/// The user's folders. As the specification has it, a variable with a relative path is ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    home: Option<PathBuf>,
    config_home: Option<PathBuf>,
    data_home: Option<PathBuf>,
    state_home: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    temp_dir: PathBuf,
    uid: u32,
}

impl Paths {
    /// Reads the folders out of the inputs.
    pub fn new(inputs: &Inputs) -> Self {
        let absolute = |name| inputs.var(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Paths {
            home: absolute("HOME"),
            config_home: absolute("XDG_CONFIG_HOME"),
            data_home: absolute("XDG_DATA_HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
            temp_dir: absolute("TMPDIR").unwrap_or_else(|| "/tmp".into()),
            uid: inputs.machine.uid,
        }
    }

    /// What `~` stands for.
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The user's configuration file, `$XDG_CONFIG_HOME/conexus/config.yml`; none without `XDG_CONFIG_HOME` and `HOME`.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.below(&self.config_home, ".config").map(|folder| folder.join("config.yml"))
    }

    /// Where data is kept that must last, `$XDG_DATA_HOME/conexus`. The error says what to set.
    pub fn data_dir(&self) -> Result<PathBuf, String> {
        self.below(&self.data_home, ".local/share").ok_or_else(|| no_default("XDG_DATA_HOME"))
    }

    /// Where state is kept that may be lost, `$XDG_STATE_HOME/conexus`. The error says what to set.
    pub fn state_dir(&self) -> Result<PathBuf, String> {
        self.below(&self.state_home, ".local/state").ok_or_else(|| no_default("XDG_STATE_HOME"))
    }

    /// The telemetry socket: `$XDG_RUNTIME_DIR/conexus/telemetry.sock`, else the same in a folder of the user's own in
    /// the temp folder, which [`crate::prepare_socket_dir`] makes and checks.
    pub fn telemetry_socket(&self) -> PathBuf {
        let folder = match &self.runtime_dir {
            Some(runtime_dir) => runtime_dir.join("conexus"),
            None => self.temp_dir.join(format!("conexus-{}", self.uid)),
        };
        folder.join("telemetry.sock")
    }

    fn below(&self, xdg: &Option<PathBuf>, in_home: &str) -> Option<PathBuf> {
        let folder = xdg.clone().or_else(|| self.home.as_ref().map(|home| home.join(in_home)))?;
        Some(folder.join("conexus"))
    }
}

fn no_default(variable: &str) -> String {
    format!(
        "has no default, because neither {variable} nor HOME is set to an absolute path; set one of them, or the key"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(env: &[(&str, &str)]) -> Paths {
        let mut inputs = Inputs::below(Path::new("/unused"));
        inputs.machine.uid = 1000;
        inputs.env = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Paths::new(&inputs)
    }

    #[test]
    fn xdg_variables_come_before_the_home() {
        let found = paths(&[
            ("HOME", "/home/ana"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_DATA_HOME", "/d"),
            ("XDG_STATE_HOME", "/s"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
        ]);
        assert_eq!(found.config_file(), Some("/c/conexus/config.yml".into()));
        assert_eq!(found.data_dir(), Ok("/d/conexus".into()));
        assert_eq!(found.state_dir(), Ok("/s/conexus".into()));
        assert_eq!(found.telemetry_socket(), Path::new("/run/user/1000/conexus/telemetry.sock"));
    }

    #[test]
    fn without_xdg_variables_the_home_and_the_temp_folder_serve() {
        let found = paths(&[("HOME", "/home/ana"), ("XDG_DATA_HOME", "relative"), ("XDG_STATE_HOME", "")]);
        assert_eq!(found.config_file(), Some("/home/ana/.config/conexus/config.yml".into()));
        assert_eq!(found.data_dir(), Ok("/home/ana/.local/share/conexus".into()));
        assert_eq!(found.state_dir(), Ok("/home/ana/.local/state/conexus".into()));
        assert_eq!(found.telemetry_socket(), Path::new("/tmp/conexus-1000/telemetry.sock"));
        assert_eq!(paths(&[("TMPDIR", "/var/t")]).telemetry_socket(), Path::new("/var/t/conexus-1000/telemetry.sock"));
    }

    #[test]
    fn without_any_home_the_error_says_what_to_set() {
        let found = paths(&[("HOME", "./here")]);
        assert_eq!((found.home(), found.config_file()), (None, None));
        assert!(found.data_dir().unwrap_err().contains("neither XDG_DATA_HOME nor HOME"));
        assert!(found.state_dir().unwrap_err().contains("neither XDG_STATE_HOME nor HOME"));
    }
}
