//! Walk: every line that "Adding a metric" shows stands in the file that it names.

use conexus_tests::workspace;

use crate::shipped;

/// The blocks of the walk: file, and the lines that must be in it.
fn blocks() -> Vec<(String, Vec<String>)> {
    let text = shipped::read(&workspace().join("docs/adding-a-metric.md"));
    let (mut blocks, mut open): (Vec<(String, Vec<String>)>, bool) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("```") {
            Some(head) if !open => {
                let file = head.split_once(' ').expect("a block names its language and its file").1;
                blocks.push((file.to_owned(), Vec::new()));
                open = true;
            }
            Some(_) => open = false,
            None if open => blocks.last_mut().expect("a block was opened").1.push(line.to_owned()),
            None => {}
        }
    }
    blocks
}

#[test]
fn adding_a_metric_shows_lines_that_exist_from_the_fact_to_the_panel() {
    let blocks = blocks();
    let files: Vec<&str> = blocks.iter().map(|(file, _)| file.as_str()).collect();
    let walk = [
        "proto/src/facts.rs",
        "conexusd/src/search.rs",
        "conexus-sidecar/src/catalog.rs",
        "observability/grafana/generate.py",
    ];
    assert_eq!(files, walk, "fact, report, catalogue, panel");
    for (file, lines) in blocks {
        let text = shipped::read(&workspace().join(&file));
        for line in lines {
            assert!(text.lines().any(|own| own.trim() == line), "{file} has no line {line:?}");
        }
    }
}
