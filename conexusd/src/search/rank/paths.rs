//! Paths: what a file's path alone says about its worth as an answer.

use crate::index::snapshot::FileView;
use crate::search::query::split_words;

/// Whether a file is seldom the code asked for: a test or an example, unless the query asks for tests; what is vendored,
/// generated or kept for old callers.
pub(super) fn is_aside(file: &FileView<'_>, wants_tests: bool) -> bool {
    let class = file.class;
    let is_demonstration = (class.is_test || class.is_example) && !wants_tests;
    is_demonstration || class.is_vendored || class.is_generated || is_compat(file.path)
}

/// Words for what is kept for old callers.
const COMPAT_WORDS: &[&str] =
    &["compat", "legacy", "deprecated", "backport", "backports", "polyfill", "polyfills", "obsolete"];

/// Whether the file's name or a folder's says that it is kept for old callers.
fn is_compat(path: &str) -> bool {
    let path = path.rsplit_once('.').map_or(path, |(path, _)| path);
    let mut found = false;
    split_words(path, &mut |word| found |= COMPAT_WORDS.contains(&word));
    found
}

/// Words by which paths name platforms, and the word for them that a query may use.
const PLATFORMS: &[(&str, &str)] = &[
    ("win", "windows"),
    ("win32", "windows"),
    ("win64", "windows"),
    ("windows", "windows"),
    ("mingw", "windows"),
    ("cygwin", "windows"),
    ("msvc", "windows"),
    ("winapi", "windows"),
    ("darwin", "macos"),
    ("macos", "macos"),
    ("osx", "macos"),
    ("mac", "macos"),
    ("ios", "ios"),
    ("android", "android"),
    ("linux", "linux"),
    ("aix", "aix"),
    ("sunos", "solaris"),
    ("solaris", "solaris"),
    ("os390", "zos"),
    ("zos", "zos"),
    ("ibmi", "ibmi"),
    ("os400", "ibmi"),
    ("haiku", "haiku"),
    ("qnx", "qnx"),
    ("vms", "vms"),
    ("amiga", "amiga"),
    ("wasi", "wasi"),
    ("wasm", "wasm"),
    ("freebsd", "bsd"),
    ("netbsd", "bsd"),
    ("openbsd", "bsd"),
    ("bsd", "bsd"),
    ("hurd", "hurd"),
    ("uwp", "windows"),
];

/// 1 for a file of another platform than this machine's that the query does not ask for.
pub(super) fn other_platform(path: &str, query: &str) -> f32 {
    let mut asked = Vec::new();
    let platform_of = |word: &str| PLATFORMS.iter().find(|(name, _)| *name == word).map(|(_, platform)| *platform);
    split_words(query, &mut |word| asked.extend(platform_of(word)));
    let mut other = false;
    let path = path.rsplit_once('.').map_or(path, |(path, _)| path);
    for part in path.rsplit('/').take(3) {
        let mut named = platform_of(&part.to_lowercase());
        for word in part.split(['_', '-', '.']) {
            named = named.or_else(|| platform_of(&word.to_lowercase()));
        }
        if let Some(platform) = named {
            other |= platform != std::env::consts::OS && !asked.contains(&platform);
        }
    }
    f32::from(u8::from(other))
}

/// Whether a file by its extension declares what others define.
pub(super) fn is_header(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.split_once('.').map_or("", |(_, extension)| extension);
    let last = name.rsplit('.').next().unwrap_or_default();
    matches!(last, "h" | "hh" | "hpp" | "hxx" | "pyi" | "mli") || extension.ends_with("d.ts")
}

/// Names that say nothing of the content: the folder's name stands for them.
const ANONYMOUS: &[&str] = &["mod", "index", "__init__", "lib", "main", "package", "init", "readme"];

/// What a file is called: its name without extension, or its folder's where the name says nothing.
pub(super) fn stem_of(path: &str) -> &str {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or(path);
    let stem = name.split_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    match parts.next() {
        Some(folder) if ANONYMOUS.contains(&stem.to_lowercase().as_str()) => folder,
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_another_platform_is_told_unless_it_is_asked_for() {
        let foreign = if cfg!(windows) { "unix/linux.c" } else { "src/win/fs.c" };
        assert_eq!(other_platform(foreign, "read a file"), 1.0);
        assert_eq!(other_platform("src/sunos.c", "solaris event ports"), 0.0);
        assert_eq!(other_platform("src/window.c", "read a file"), 0.0);
    }

    #[test]
    fn what_is_kept_for_old_callers_is_told_by_its_words() {
        assert!(is_compat("requests/compat.py") && is_compat("src/legacy/http.ts") && is_compat("deprecated/a.py"));
        assert!(!is_compat("src/compatible.rs") && !is_compat("src/app.compat"));
    }

    #[test]
    fn a_file_that_has_no_name_of_its_own_is_called_like_its_folder() {
        for (path, stem) in [
            ("src/http_client.rs", "http_client"),
            ("src/extract/mod.rs", "extract"),
            ("src/index.d.ts", "src"),
            ("mod.rs", "mod"),
            ("Makefile", "Makefile"),
            (".bashrc", ".bashrc"),
        ] {
            assert_eq!(stem_of(path), stem, "{path}");
        }
    }
}
