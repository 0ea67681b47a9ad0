//! PromQL: which series does an expression select, and which labels does it name?
//!
//! Reads just enough of the language for that: names, matchers and label lists. Prometheus itself judges the rest.

/// A selector: a metric and its matchers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    /// The metric's name.
    pub(crate) metric: String,
    /// Label, operator and value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

/// What an expression names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Its selectors.
    pub(crate) selectors: Vec<Selector>,
    /// Labels in `by`, `without`, `on`, `ignoring` and `group_left`.
    pub(crate) labels: Vec<String>,
}

const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 8] = ["and", "or", "unless", "offset", "bool", "atan2", "inf", "nan"];

/// Reads an expression.
pub(crate) fn names(expression: &str) -> Names {
    let text: Vec<char> = expression.chars().collect();
    let mut names = Names::default();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            '#' => at = end(&text, at, |c| c != '\n'),
            '"' | '\'' => at = quoted(&text, at).1,
            // A range or a subquery: only durations and variables are in it.
            '[' => at = end(&text, at, |c| c != ']') + 1,
            c if c.is_ascii_digit() => at = end(&text, at, |c| c.is_ascii_alphanumeric() || c == '.'),
            c if c.is_ascii_alphabetic() || c == '_' || c == ':' => {
                let after = end(&text, at, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
                let word: String = text[at..after].iter().collect();
                let next = end(&text, after, char::is_whitespace);
                at = take(&text, &word, after, next, &mut names);
            }
            _ => at += 1,
        }
    }
    names
}

/// Takes one word, which ends at `after` and is followed by what is at `next`; the place to go on.
fn take(text: &[char], word: &str, after: usize, next: usize, names: &mut Names) -> usize {
    let follows = text.get(next).copied();
    if LISTS.contains(&word) && follows == Some('(') {
        let close = end(text, next, |c| c != ')');
        let list: String = text[next + 1..close].iter().collect();
        names.labels.extend(list.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
        return close;
    }
    let function =
        follows == Some('(') || (LISTS.iter().any(|list| starts(text, next, list)) && AGGREGATIONS.contains(&word));
    if function || WORDS.contains(&word.to_ascii_lowercase().as_str()) {
        return after;
    }
    let (matchers, at) = if follows == Some('{') { matchers(text, next + 1) } else { (Vec::new(), after) };
    names.selectors.push(Selector { metric: word.to_owned(), matchers });
    at
}

const AGGREGATIONS: [&str; 12] =
    ["sum", "min", "max", "avg", "group", "stddev", "stdvar", "count", "count_values", "bottomk", "topk", "quantile"];

fn starts(text: &[char], at: usize, word: &str) -> bool {
    word.chars().enumerate().all(|(i, c)| text.get(at + i) == Some(&c))
}

/// Reads matchers up to the closing brace.
fn matchers(text: &[char], mut at: usize) -> (Vec<(String, String, String)>, usize) {
    let mut found = Vec::new();
    while at < text.len() && text[at] != '}' {
        if !(text[at].is_ascii_alphabetic() || text[at] == '_') {
            at += 1;
            continue;
        }
        let name_end = end(text, at, |c| c.is_ascii_alphanumeric() || c == '_');
        let operator_start = end(text, name_end, char::is_whitespace);
        let operator_end = end(text, operator_start, |c| "=!~".contains(c));
        let (value, after) = quoted(text, end(text, operator_end, char::is_whitespace));
        found.push((text[at..name_end].iter().collect(), text[operator_start..operator_end].iter().collect(), value));
        at = after;
    }
    (found, at + 1)
}

/// The quoted text that begins at `at`, and the place after it.
fn quoted(text: &[char], at: usize) -> (String, usize) {
    let Some(&quote) = text.get(at) else { return (String::new(), at) };
    let close = end(text, at + 1, |c| c != quote);
    (text[(at + 1).min(close)..close].iter().collect(), close + 1)
}

fn end(text: &[char], mut at: usize, belongs: impl Fn(char) -> bool) -> usize {
    while at < text.len() && belongs(text[at]) {
        at += 1;
    }
    at.min(text.len())
}

#[test]
fn an_expression_names_its_metrics_and_labels_and_nothing_else() {
    let names = names(
        "histogram_quantile(0.95, sum by (job, le) (rate(a_bucket{job=\"x\", m!~\"b|c\"}[5m]))) > 1e9 and on (job) (b == 0)\n/ sum(c) without (d) unless e offset 5m # f",
    );
    let metrics: Vec<&str> = names.selectors.iter().map(|selector| selector.metric.as_str()).collect();
    assert_eq!(metrics, ["a_bucket", "b", "c", "e"]);
    assert_eq!(names.labels, ["job", "le", "job", "d"]);
    let matcher = |name: &str, operator: &str, value: &str| (name.to_owned(), operator.to_owned(), value.to_owned());
    assert_eq!(names.selectors[0].matchers, [matcher("job", "=", "x"), matcher("m", "!~", "b|c")]);
}
