//! Odd trees: whatever a folder contains, a run ends, counts it and can be searched.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use conexus_tests::home::Home;
use conexus_tests::stack::Core;
use serde_json::json;

use crate::{drive, tree};

#[test]
fn odd_names_and_contents_never_stop_a_run() {
    let home = Home::new();
    let root = tree::small(&home);
    tree::write(&root, "a..b/..hidden..name.py", "def dotted_name_marker(): pass\n");
    tree::write(&root, "app/[slug].tsx", "export default function SlugPageMarker() { return <p/>; }\n");
    tree::write(&root, "with space/ünïcode 🦀.rs", "fn unicode_path_marker() {}\n");
    tree::write(&root, "empty.rs", "");
    fs::write(root.join(OsStr::from_bytes(b"latin\xe91.py")), b"def latin_name_marker(): return '\xe9\xff'\n")
        .expect("written");
    fs::write(root.join("binary.bin"), [0u8, 1, 2, 3].repeat(1000)).expect("written");
    symlink("nowhere", root.join("dangling")).expect("linked");
    symlink("..", root.join("src/loop")).expect("linked");
    symlink("/etc", root.join("outside")).expect("linked");
    File::create(root.join("huge.txt")).and_then(|file| file.set_len(100 << 20)).expect("a sparse file of 100 MB");
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("a FIFO");
    tree::write(&root, "locked/secret.rs", "fn locked_marker() {}\n");
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o000)).expect("ours");
    let core = Core::start(&home, &root);
    core.wait_until_indexed(Duration::from_secs(60));
    let markers = [
        ("dotted_name_marker", "a..b/..hidden..name.py"),
        ("SlugPageMarker", "app/[slug].tsx"),
        ("unicode_path_marker", "with space/ünïcode 🦀.rs"),
        ("latin_name_marker", "latin\\xe91.py"),
    ];
    let outcomes = drive::over_http(&core.address, markers.iter().map(|(marker, _)| drive::search(marker)).collect());
    for ((marker, path), outcome) in markers.iter().zip(&outcomes) {
        assert_eq!(drive::paths(outcome).first().map(String::as_str), Some(*path), "{marker}: {outcome}");
    }
    let status =
        drive::over_http(&core.address, json!([{"call": "context_index_control", "arguments": {"action": "status"}}]));
    let skipped = &status[0]["structured"]["files"]["skipped_by_reason"];
    for reason in ["binary", "empty", "symlink", "too_large"] {
        assert!(skipped[reason].as_u64().is_some_and(|count| count > 0), "{reason}: {status:?}");
    }
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o700)).expect("ours");
}
