//! Path conventions: tests, examples, other people's code.

/// Folders whose files are tests or their fixtures.
const TEST_FOLDERS: [&str; 22] = [
    "test",
    "tests",
    "testing",
    "__tests__",
    "__test__",
    "__mocks__",
    "spec",
    "specs",
    "testdata",
    "test_data",
    "test-data",
    "testsuite",
    "testsuites",
    "fixtures",
    "__fixtures__",
    "__snapshots__",
    "e2e",
    "unittests",
    "unittest",
    "integration_tests",
    "androidtest",
    "regress",
];

/// Folders whose files show how something is used or how fast it is.
const EXAMPLE_FOLDERS: [&str; 15] = [
    "example",
    "examples",
    "_examples",
    "sample",
    "samples",
    "demo",
    "demos",
    "tutorial",
    "tutorials",
    "playground",
    "bench",
    "benches",
    "benchmark",
    "benchmarks",
    "docs_src",
];

/// Folders of copied code.
const VENDOR_FOLDERS: [&str; 18] = [
    "vendor",
    "vendored",
    "_vendor",
    "_vendored",
    "third_party",
    "third-party",
    "thirdparty",
    "3rdparty",
    "3rd_party",
    "3rd-party",
    "node_modules",
    "bower_components",
    "jspm_packages",
    "site-packages",
    "dist-packages",
    "pods",
    "carthage",
    "godeps",
];

pub(super) fn is_test(path: &str) -> bool {
    any_folder(path, &TEST_FOLDERS) || is_test_name(file_name(path))
}

pub(super) fn is_example(path: &str) -> bool {
    let name = file_name(path).to_ascii_lowercase();
    any_folder(path, &EXAMPLE_FOLDERS) || name.starts_with("example_") || stem(&name).ends_with("_benchmark")
}

pub(super) fn is_vendored(path: &str) -> bool {
    any_folder(path, &VENDOR_FOLDERS) || path.starts_with("deps/") || path.starts_with(".yarn/")
}

fn any_folder(path: &str, names: &[&str]) -> bool {
    let mut folders = path.split('/');
    folders.next_back();
    folders.any(|folder| names.iter().any(|name| name.eq_ignore_ascii_case(folder)) || is_test_project(folder, names))
}

/// `Foo.Tests` and `FooTests` are how C# and Swift name the folders of their tests.
fn is_test_project(folder: &str, names: &[&str]) -> bool {
    names.as_ptr() == TEST_FOLDERS.as_ptr()
        && [".Test", ".Tests", "Tests", ".UnitTests", ".IntegrationTests"].iter().any(|end| folder.ends_with(end))
}

/// `test_foo.py`, `foo_test.go`, `foo.spec.ts`, `FooTest.java`, `conftest.py`.
fn is_test_name(name: &str) -> bool {
    let stem = stem(name);
    let lower = stem.to_ascii_lowercase();
    let first = lower.split('.').next().unwrap_or("");
    matches!(first, "test" | "tests" | "conftest" | "spec_helper" | "test_helper" | "rails_helper" | "testutil")
        || first.starts_with("test_")
        || ["_test", "_tests", "_spec", "_unittest", "-test", "-spec"].iter().any(|end| lower.ends_with(end))
        || lower.split('.').skip(1).any(|part| matches!(part, "test" | "tests" | "spec" | "e2e" | "cy" | "stories"))
        || is_camel_test(stem)
}

/// `FooTest`, `FooTests`, `FooSpec`, `FooIT`, `FooTestCase`, `TestFoo` with a capital after a small letter.
fn is_camel_test(stem: &str) -> bool {
    let small_before = |end: &str| {
        stem.strip_suffix(end)
            .and_then(|rest| rest.bytes().last())
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    ["Test", "Tests", "Spec", "Specs", "IT", "TestCase", "TestSuite"].iter().any(|end| small_before(end))
        || stem.strip_prefix("Test").is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_uppercase()) && rest.contains(|c: char| c.is_ascii_lowercase())
        })
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A file name without its last extension.
pub(super) fn stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}
