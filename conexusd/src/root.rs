//! Root: which file does a path that a client names mean, and is it inside the indexed folder?
//!
//! Reads nothing but names: whether a file may be shown for other reasons (ignore rules, size) is its caller's matter.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// The folder that everything is relative to.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
}

/// Something that exists inside the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Absolute, without symlinks.
    pub absolute: PathBuf,
    /// Relative to the root, as asked for; empty for the root itself.
    pub relative: PathBuf,
}

/// Why a path is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathRefusal {
    /// `..` or an absolute path elsewhere.
    #[error("`{path}` leads out of the root {root}; use a path inside it, relative to it")]
    Outside {
        /// As asked for.
        path: String,
        /// The root.
        root: String,
    },
    /// A symlink whose target is elsewhere.
    #[error("`{path}` is a symlink that leads out of the root {root}; only files inside the root are read")]
    SymlinkOutside {
        /// As asked for.
        path: String,
        /// The root.
        root: String,
    },
    /// Nothing is there.
    #[error("`{path}` does not exist in the root {root}")]
    Missing {
        /// As asked for.
        path: String,
        /// The root.
        root: String,
    },
    /// A NUL byte.
    #[error("a path cannot hold a NUL byte")]
    Nul,
    /// The file system refused.
    #[error("`{path}` cannot be looked up: {reason}")]
    Unreadable {
        /// As asked for.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl Root {
    /// The folder at `path`, symlinks resolved. Fails if it is not a folder that can be looked up.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().canonicalize()?;
        if !path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a folder", path.display())));
        }
        Ok(Self { path })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds what `text` names: a path relative to the root (`""` and `.` are the root), or an absolute one inside it.
    /// Names that are not UTF-8 are written as [`path_text`] writes them.
    pub fn resolve(&self, text: &str) -> Result<Inside, PathRefusal> {
        if text.contains('\0') {
            return Err(PathRefusal::Nul);
        }
        match self.resolve_as(Path::new(text), text) {
            Err(PathRefusal::Missing { path, root }) => match unescape(text) {
                Some(name) => self.resolve_as(Path::new(&name), text),
                None => Err(PathRefusal::Missing { path, root }),
            },
            found => found,
        }
    }

    fn resolve_as(&self, path: &Path, text: &str) -> Result<Inside, PathRefusal> {
        let root = || self.path.display().to_string();
        let outside = || PathRefusal::Outside { path: text.to_owned(), root: root() };
        let relative = if path.is_absolute() {
            normalise(path).and_then(|path| path.strip_prefix(&self.path).ok().map(Path::to_path_buf))
        } else {
            normalise(path)
        };
        let relative = relative.ok_or_else(outside)?;
        let absolute = self.path.join(&relative).canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                PathRefusal::Missing { path: text.to_owned(), root: root() }
            }
            _ => PathRefusal::Unreadable { path: text.to_owned(), reason: error.to_string() },
        })?;
        if !absolute.starts_with(&self.path) {
            return Err(PathRefusal::SymlinkOutside { path: text.to_owned(), root: root() });
        }
        Ok(Inside { absolute, relative })
    }

    /// The same as text relative to the root, for a path that may be gone: then only its name is checked, and that
    /// nothing on the way to it leads out.
    pub fn resolve_or_gone(&self, text: &str) -> Result<String, PathRefusal> {
        match self.resolve(text) {
            Err(refusal @ PathRefusal::Missing { .. }) => {
                let path = Path::new(text);
                let relative = path.strip_prefix(&self.path).unwrap_or(path);
                let relative = normalise(relative).ok_or(refusal)?;
                for parent in relative.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                    match self.resolve_as(parent, text) {
                        Err(PathRefusal::Missing { .. }) => {}
                        other => return other.map(|_| path_text(&relative)),
                    }
                }
                Ok(path_text(&relative))
            }
            found => Ok(self.relative_text(&found?.absolute)),
        }
    }

    /// A path below the root as answers spell it.
    pub fn relative_text(&self, absolute: &Path) -> String {
        path_text(absolute.strip_prefix(&self.path).unwrap_or(absolute))
    }
}

/// A path as answers spell it: with `/`, and bytes that are not UTF-8 as `\xNN`.
pub fn path_text(path: &Path) -> String {
    let mut text = String::new();
    for piece in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(piece.valid());
        for byte in piece.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The name that [`path_text`] wrote, if it holds an escaped byte.
fn unescape(text: &str) -> Option<OsString> {
    let bytes = text.as_bytes();
    let mut name = Vec::with_capacity(bytes.len());
    let mut found = false;
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes[i..].strip_prefix(b"\\x").and_then(|rest| rest.get(..2));
        let code = code.and_then(|code| std::str::from_utf8(code).ok()).and_then(|c| u8::from_str_radix(c, 16).ok());
        match code {
            Some(byte) => {
                name.push(byte);
                found = true;
                i += 4;
            }
            None => {
                name.push(bytes[i]);
                i += 1;
            }
        }
    }
    found.then(|| OsString::from_vec(name))
}

/// Removes `.` and resolves `..` by name alone; `None` if it climbs above where it starts.
fn normalise(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                if !clean.pop() || clean.as_os_str().is_empty() && path.is_absolute() {
                    return None;
                }
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in/src")).unwrap();
        std::fs::write(dir.path().join("in/src/a.rs"), "a").unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        symlink(dir.path().join("secret"), dir.path().join("in/leak")).unwrap();
        symlink(dir.path(), dir.path().join("in/up")).unwrap();
        symlink("src/a.rs", dir.path().join("in/alias.rs")).unwrap();
        std::fs::create_dir(dir.path().join("in/..hidden..")).unwrap();
        let root = Root::new(dir.path().join("in")).unwrap();
        (dir, root)
    }

    #[test]
    fn paths_inside_are_found_however_they_are_written() {
        let (_dir, root) = tree();
        let absolute = root.path().join("src/a.rs");
        for text in ["src/a.rs", "./src/./a.rs", "src/../src/a.rs", absolute.to_str().unwrap(), "src//a.rs"] {
            assert_eq!(root.resolve(text).unwrap().absolute, absolute, "{text}");
        }
        assert_eq!(root.resolve("alias.rs").unwrap().absolute, absolute);
        assert_eq!(root.resolve("").unwrap().absolute, root.path());
        assert_eq!(root.resolve("..hidden..").unwrap().absolute, root.path().join("..hidden.."));
    }

    #[test]
    fn nothing_outside_is_ever_named() {
        let (dir, root) = tree();
        let secret = dir.path().join("secret");
        for text in ["..", "../secret", "src/../../secret", "/etc/passwd", secret.to_str().unwrap(), "/", "/.."] {
            assert!(matches!(root.resolve(text), Err(PathRefusal::Outside { .. })), "{text}");
        }
        for text in ["leak", "up", "up/secret"] {
            assert!(matches!(root.resolve(text), Err(PathRefusal::SymlinkOutside { .. })), "{text}");
        }
        assert_eq!(root.resolve("a\0b"), Err(PathRefusal::Nul));
        assert!(matches!(root.resolve("src/none.rs"), Err(PathRefusal::Missing { .. })));
        assert!(matches!(root.resolve("src/a.rs/x"), Err(PathRefusal::Missing { .. })));
    }

    #[test]
    fn a_path_that_is_gone_is_checked_by_name() {
        let (_dir, root) = tree();
        let gone = |text: &str| root.resolve_or_gone(text);
        assert_eq!(gone("src/old.rs").as_deref(), Ok("src/old.rs"));
        assert_eq!(gone("old/deep/../er.rs").as_deref(), Ok("old/er.rs"));
        assert_eq!(gone(root.path().join("src/old.rs").to_str().unwrap()).as_deref(), Ok("src/old.rs"));
        assert_eq!(gone("alias.rs").as_deref(), Ok("src/a.rs"));
        assert!(matches!(gone("../old.rs"), Err(PathRefusal::Outside { .. })));
        assert!(matches!(gone("/nowhere/old.rs"), Err(PathRefusal::Outside { .. })));
        assert!(matches!(gone("up/old.rs"), Err(PathRefusal::SymlinkOutside { .. })));
    }

    #[test]
    fn names_that_are_not_utf8_go_there_and_back() {
        let (_dir, root) = tree();
        let name = OsString::from_vec(b"caf\xe9.txt".to_vec());
        std::fs::write(root.path().join(&name), "x").unwrap();
        let text = root.relative_text(&root.path().join(&name));
        assert_eq!(text, "caf\\xe9.txt");
        assert_eq!(root.resolve(&text).unwrap().absolute, root.path().join(&name));
    }
}
