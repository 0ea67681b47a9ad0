//! Tests of scopes and of what the filter lets through.

use super::*;

#[test]
fn a_scope_holds_what_is_at_or_below_its_paths() {
    let scope = Scope::Paths(Arc::new(BTreeSet::from([PathBuf::from("a/b"), PathBuf::from("c.rs")])));
    let check = |path: &str, contained: bool, below: bool| {
        assert_eq!((scope.contains(Path::new(path)), scope.is_below(Path::new(path))), (contained, below), "{path}");
    };
    check("a", false, true);
    check("a/b", true, true);
    check("a/b/c/d.rs", true, false);
    check("a/bc", false, false);
    check("c.rs", true, true);
    check("c", false, false);
    check("d", false, false);
}

#[test]
fn rules_above_the_root_hold_only_within_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("project");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(folder.path().join(".gitignore"), "*.rs\n").unwrap();
    std::fs::write(root.join("a.rs"), "x").unwrap();
    let files = || {
        let filter = Filter::new(&root, Path::new("/none"), &[], &[], 100).unwrap();
        let count = AtomicI64::new(0);
        walk(&filter, &Scope::All, 2, &|found| {
            count.fetch_add(i64::from(matches!(found, Found::File { .. })), Ordering::Relaxed);
            true
        });
        count.into_inner()
    };
    assert_eq!(files(), 1, "a file that just lies in the folder above");
    std::fs::create_dir(folder.path().join(".git")).unwrap();
    assert_eq!(files(), 0, "the repository's own");
}
