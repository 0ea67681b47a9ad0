//! Python: runs scripts of `tests/python`, and programs that come as Python packages, from what `make backends` installed.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::{build_folder, workspace};

/// The interpreter of the tests' virtual environment.
pub fn interpreter() -> PathBuf {
    tool("python")
}

/// A program of the tests' virtual environment.
pub fn tool(name: &str) -> PathBuf {
    let target = build_folder().parent().expect("a profile's folder is in the target folder").to_path_buf();
    let path = target.join("test-tools/venv/bin").join(name);
    assert!(path.exists(), "{} is not there: run `make backends`", path.display());
    path
}

/// A file that came with a Python package.
pub fn package_file(package: &str, name: &str) -> PathBuf {
    let mut command = Command::new(interpreter());
    command.args(["-c", "import importlib, sys; print(importlib.import_module(sys.argv[1]).__path__[0])", package]);
    let output = run(command);
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join(name);
    assert!(path.exists(), "{} is not there: run `make backends`", path.display());
    path
}

/// A command that runs a script of `tests/python`.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(workspace().join("tests/python").join(name));
    command
}

/// Runs a script to its end; panics with everything it wrote when it fails.
pub fn run(mut command: Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
