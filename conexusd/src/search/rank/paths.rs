//! Paths: what a file's path alone says about its worth as an answer.

use crate::search::query::split_words;

/// What kind of place a path is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathClass {
    /// The code itself.
    Plain,
    /// Tests, fixtures, benchmarks.
    Test,
    /// Examples, demos, tutorials.
    Example,
    /// Other people's code.
    Vendored,
    /// Made by a program.
    Generated,
    /// Kept for old callers.
    Compat,
    /// Declares or re-exports what is written elsewhere.
    Barrel,
}

impl PathClass {
    /// What the base score of such a file is multiplied by.
    pub fn factor(self) -> f32 {
        match self {
            Self::Plain => 1.0,
            Self::Test | Self::Example | Self::Vendored | Self::Generated | Self::Compat => 0.3,
            Self::Barrel => 0.6,
        }
    }
}

const TEST_FOLDERS: &[&str] = &[
    "test",
    "tests",
    "__tests__",
    "testing",
    "testdata",
    "spec",
    "specs",
    "fixtures",
    "__mocks__",
    "mocks",
    "bench",
    "benches",
    "benchmark",
    "benchmarks",
    "fuzz",
    "e2e",
];
const EXAMPLE_FOLDERS: &[&str] =
    &["example", "examples", "sample", "samples", "demo", "demos", "tutorial", "tutorials"];
const VENDORED_FOLDERS: &[&str] =
    &["vendor", "vendored", "third_party", "third-party", "thirdparty", "node_modules", "external", "deps"];
const GENERATED_FOLDERS: &[&str] = &["generated", "gen", "dist", "build", "out", "target"];
const COMPAT_WORDS: &[&str] = &["compat", "legacy", "deprecated", "backport", "backports", "polyfill", "polyfills"];
const BARRELS: &[&str] = &["__init__.py", "package-info.java", "index.d.ts"];

/// The class of a path. Folders decide before the file's own name.
pub fn class_of(path: &str) -> PathClass {
    let lower = path.to_lowercase();
    let mut parts = lower.rsplit('/');
    let name = parts.next().unwrap_or_default();
    let mut class = PathClass::Plain;
    for folder in parts {
        class = match folder {
            _ if VENDORED_FOLDERS.contains(&folder) => return PathClass::Vendored,
            _ if TEST_FOLDERS.contains(&folder) => PathClass::Test,
            _ if EXAMPLE_FOLDERS.contains(&folder) => PathClass::Example,
            _ if GENERATED_FOLDERS.contains(&folder) && class == PathClass::Plain => PathClass::Generated,
            _ if COMPAT_WORDS.iter().any(|word| has_word(folder, word)) && class == PathClass::Plain => {
                PathClass::Compat
            }
            _ => class,
        };
    }
    if class != PathClass::Plain {
        return class;
    }
    class_of_name(name, path.rsplit('/').next().unwrap_or_default())
}

fn class_of_name(name: &str, as_written: &str) -> PathClass {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let written_stem = as_written.rsplit_once('.').map_or(as_written, |(stem, _)| stem);
    let is_test = stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
        || stem.ends_with(".test")
        || stem.ends_with(".spec")
        || stem.ends_with("_spec")
        || stem == "conftest"
        || written_stem.ends_with("Test")
        || written_stem.ends_with("Tests")
        || written_stem.ends_with("Spec")
        || (matches!(stem, "test" | "tests") && extension != "py");
    if is_test {
        PathClass::Test
    } else if BARRELS.contains(&name) {
        PathClass::Barrel
    } else if name.ends_with(".min.js")
        || name.ends_with(".pb.go")
        || name.ends_with("_pb2.py")
        || stem.ends_with(".generated")
    {
        PathClass::Generated
    } else if COMPAT_WORDS.iter().any(|word| has_word(stem, word)) {
        PathClass::Compat
    } else {
        PathClass::Plain
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let mut found = false;
    split_words(text, &mut |part| found |= part == word);
    found
}

/// Words by which paths name platforms, and the word for them that a query may use.
const PLATFORMS: &[(&str, &str)] = &[
    ("win", "windows"), ("win32", "windows"), ("win64", "windows"), ("windows", "windows"), ("mingw", "windows"),
    ("cygwin", "windows"), ("msvc", "windows"), ("winapi", "windows"), ("darwin", "macos"), ("macos", "macos"),
    ("osx", "macos"), ("mac", "macos"), ("ios", "ios"), ("android", "android"), ("linux", "linux"), ("aix", "aix"),
    ("sunos", "solaris"), ("solaris", "solaris"), ("os390", "zos"), ("zos", "zos"), ("ibmi", "ibmi"), ("os400", "ibmi"),
    ("haiku", "haiku"), ("qnx", "qnx"), ("vms", "vms"), ("amiga", "amiga"), ("wasi", "wasi"), ("wasm", "wasm"),
    ("freebsd", "bsd"), ("netbsd", "bsd"), ("openbsd", "bsd"), ("bsd", "bsd"), ("hurd", "hurd"), ("uwp", "windows"),
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

/// Whether a file is meant for its own package only, by convention.
pub(super) fn is_private(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    (name.starts_with('_') && !name.starts_with("__")) || parts.any(|folder| {
        matches!(folder, "internal" | "_internal" | "detail" | "details" | "impl" | "private")
    })
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
    fn a_path_says_whether_it_is_the_code_itself() {
        use PathClass::*;
        for (path, class) in [
            ("src/app.rs", Plain),
            ("flask/testing.py", Plain),
            ("starlette/testclient.py", Plain),
            ("tests/app.rs", Test),
            ("src/app_test.go", Test),
            ("src/FooTest.java", Test),
            ("src/Latest.java", Plain),
            ("web/app.spec.ts", Test),
            ("examples/hello.rs", Example),
            ("vendor/zlib/test/a.c", Vendored),
            ("api/v1/api.pb.go", Generated),
            ("requests/compat.py", Compat),
            ("src/legacy/http.ts", Compat),
            ("flask/__init__.py", Barrel),
        ] {
            assert_eq!(class_of(path), class, "{path}");
        }
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
