use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn tree() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("src/deep")).unwrap();
    fs::create_dir_all(root.join("build")).unwrap();
    fs::create_dir_all(root.join(".github")).unwrap();
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::write(root.join(".gitignore"), "build/\n*.log\n").unwrap();
    fs::write(root.join(".git/config"), "needle\n").unwrap();
    fs::write(root.join(".github/ci.yml"), "needle: yes\n").unwrap();
    fs::write(root.join("build/out.txt"), "needle\n").unwrap();
    fs::write(root.join("run.log"), "needle\n").unwrap();
    fs::write(root.join(".env"), "needle\n").unwrap();
    fs::write(root.join("src/db.secret"), "needle\n").unwrap();
    fs::write(root.join("src/a.rs"), "one\ntwo needle Needle\nthree\nfour\nneedle five\r\nsix\n").unwrap();
    fs::write(root.join("src/deep/b.py"), "no\nNEEDLE\n").unwrap();
    fs::write(root.join("blob.bin"), b"needle\n\0\x01\x02needle\n").unwrap();
    fs::write(dir.path().join("outside.txt"), "needle\n").unwrap();
    symlink(dir.path().join("outside.txt"), root.join("link.txt")).unwrap();
    symlink(dir.path(), root.join("loop")).unwrap();
    (dir, Root::new(root).unwrap())
}

fn request(pattern: &str) -> GrepRequest {
    GrepRequest {
        pattern: pattern.into(),
        path: None,
        include: None,
        case_insensitive: false,
        context: 1,
        max_results: 100,
    }
}

fn filter(root: &Root) -> Filter {
    Filter::new(root.path(), std::path::Path::new("/nowhere"), &[], &["*.secret".to_owned()], 1 << 20).unwrap()
}

fn run(root: &Root, request: &GrepRequest) -> Result<GrepAnswer, GrepError> {
    grep(root, &filter(root), request, &GrepLimits::default(), &AtomicBool::new(false))
}

fn places(answer: &GrepAnswer) -> Vec<String> {
    let lines = answer.files.iter().flat_map(|file| {
        file.lines.iter().filter(|l| l.matched.is_some()).map(move |line| format!("{}:{}", file.path, line.number))
    });
    lines.collect()
}

#[test]
fn matches_come_in_the_order_of_path_and_line_with_their_context() {
    let (_dir, root) = tree();
    let answer = run(&root, &request("needle")).unwrap();
    assert_eq!(places(&answer), [".github/ci.yml:1", "src/a.rs:2", "src/a.rs:5"]);
    assert_eq!((answer.total_count, answer.truncated), (3, false));
    let a = &answer.files[1];
    assert_eq!(a.lines.iter().map(|l| l.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(a.lines[4].text, "needle five", "line ends are left out");
    assert_eq!(a.lines[1].matched.as_deref(), Some("needle"));
    assert_eq!(a.around(2, 1).map(|l| l.text.as_str()).collect::<Vec<_>>(), ["one", "two needle Needle", "three"]);
}

#[test]
fn case_include_and_path_narrow_the_search() {
    let (_dir, root) = tree();
    let any_case = GrepRequest { case_insensitive: true, ..request("needle") };
    let check = |path: Option<&str>, include: Option<&str>, expect: &[&str]| {
        let request = GrepRequest { path: path.map(Into::into), include: include.map(Into::into), ..any_case.clone() };
        assert_eq!(places(&run(&root, &request).unwrap()), expect, "{path:?} {include:?}");
    };
    check(None, Some("*.py"), &["src/deep/b.py:2"]);
    check(None, Some("src/*"), &["src/a.rs:2", "src/a.rs:5"]);
    check(None, Some("src/**/*.{py,rs}"), &["src/a.rs:2", "src/a.rs:5", "src/deep/b.py:2"]);
    check(None, Some("src/deep/"), &["src/deep/b.py:2"]);
    check(Some("src/deep"), None, &["src/deep/b.py:2"]);
    check(Some("src/a.rs"), None, &["src/a.rs:2", "src/a.rs:5"]);
    check(Some("."), Some("*.yml"), &[".github/ci.yml:1"]);
}

#[test]
fn nothing_outside_the_root_or_excluded_is_searched() {
    let (dir, root) = tree();
    let at = |path: &str| run(&root, &GrepRequest { path: Some(path.into()), ..request("needle") });
    for path in ["..", "../outside.txt", "/etc", dir.path().to_str().unwrap()] {
        assert!(matches!(at(path), Err(GrepError::Path(PathRefusal::Outside { .. }))), "{path}");
    }
    assert!(matches!(at("link.txt"), Err(GrepError::Path(PathRefusal::SymlinkOutside { .. }))));
    assert!(matches!(at("none"), Err(GrepError::Path(PathRefusal::Missing { .. }))));
    for path in ["build", "build/out.txt", "run.log", ".git/config", ".env", "src/db.secret"] {
        assert_eq!(at(path), Err(GrepError::Ignored(path.into())));
    }
}

#[test]
fn bad_patterns_are_explained() {
    let (_dir, root) = tree();
    let error = run(&root, &request("a(b")).unwrap_err().to_string();
    assert!(error.contains("unclosed group") && error.contains("a(b"), "{error}");
    let error = run(&root, &request("a\\nb")).unwrap_err().to_string();
    assert!(error.contains("line by line"), "{error}");
    let error = run(&root, &GrepRequest { include: Some("a[".into()), ..request("x") }).unwrap_err().to_string();
    assert!(error.contains("a[") && error.contains("unclosed character class"), "{error}");
}

#[test]
fn more_matches_than_asked_for_are_counted_and_said() {
    let (_dir, root) = tree();
    fs::write(root.path().join("many.txt"), "x\n".repeat(1000)).unwrap();
    fs::write(root.path().join("zz.txt"), "x\n".repeat(10)).unwrap();
    let answer = run(&root, &GrepRequest { max_results: 7, context: 2, ..request("^x$") }).unwrap();
    assert_eq!((answer.total_count, answer.truncated), (1010, true));
    assert_eq!(places(&answer), (1..=7).map(|n| format!("many.txt:{n}")).collect::<Vec<_>>());
    assert_eq!(answer.files[0].lines.len(), 9, "the last one keeps its context");
    let exact = run(&root, &GrepRequest { max_results: 1010, ..request("^x$") }).unwrap();
    assert!(!exact.truncated);
}

#[test]
fn the_answer_does_not_depend_on_threads_and_counting_stops_at_its_bound() {
    let (_dir, root) = tree();
    for i in 0..1500 {
        fs::write(root.path().join(format!("f{i:04}.txt")), "hit\nmiss\nhit\n").unwrap();
    }
    let never = AtomicBool::new(false);
    let with = |threads| {
        let limits = GrepLimits { threads, count: 500, time: Duration::from_secs(60) };
        grep(&root, &filter(&root), &GrepRequest { max_results: 5, ..request("hit") }, &limits, &never).unwrap()
    };
    let one = with(1);
    assert!(one.truncated && one.total_count >= 500 && one.total_count < 3000, "{}", one.total_count);
    assert_eq!(one, with(2));
    assert_eq!(one, with(7));
}

#[test]
fn a_cancelled_or_late_search_stops() {
    let (_dir, root) = tree();
    fs::write(root.path().join("huge.txt"), "abc\n".repeat(5_000_000)).unwrap();
    let cancelled = grep(&root, &filter(&root), &request("abc"), &GrepLimits::default(), &AtomicBool::new(true));
    assert_eq!(cancelled, Err(GrepError::Cancelled));
    let limits = GrepLimits { time: Duration::ZERO, ..GrepLimits::default() };
    let late = grep(&root, &filter(&root), &request("needle"), &limits, &AtomicBool::new(false)).unwrap();
    assert!(late.files.is_empty());
    let limits = GrepLimits { time: Duration::from_millis(60), threads: 1, count: u64::MAX };
    let started = Instant::now();
    let slow = GrepRequest { path: Some("huge.txt".into()), ..request("(a|b|c)+$") };
    let late = grep(&root, &filter(&root), &slow, &limits, &AtomicBool::new(false)).unwrap();
    assert!(late.timed_out && late.truncated, "{late:?}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn long_lines_are_cut_around_the_match_and_odd_bytes_stay_readable() {
    let (_dir, root) = tree();
    fs::write(root.path().join("min.js"), format!("{}TARGET{}\n", "é".repeat(5000), "z".repeat(5000))).unwrap();
    fs::write(root.path().join("latin.txt"), b"caf\xe9 TARGET\n").unwrap();
    let answer = run(&root, &GrepRequest { context: 0, ..request("TARGET") }).unwrap();
    assert_eq!(answer.files[0].lines[0].text, "caf\u{fffd} TARGET");
    let line = &answer.files[1].lines[0].text;
    assert!(line.contains("TARGET") && line.ends_with("[line cut: 10006 characters]"), "{line}");
    assert!(line.chars().count() < 450);
}

#[test]
fn visible_is_what_no_ignore_rule_excludes() {
    let (_dir, root) = tree();
    let visible = |path: &str| files::is_visible(&root, &filter(&root), &root.path().join(path));
    assert!(visible("src/a.rs") && visible("src") && visible(".github/ci.yml") && visible("blob.bin"));
    assert!(
        !visible("build/out.txt")
            && !visible("run.log")
            && !visible(".git/config")
            && !visible(".env")
            && !visible("none")
    );
}
