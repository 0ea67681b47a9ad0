//! Mentions: the identifiers, paths and quoted phrases inside a query.

use crate::index::language::Language;

/// How sure it is that a token names something in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Certainty {
    /// A plain word that may be a name: capitalised within a sentence.
    Perhaps,
    /// Has the form of an identifier (`snake_case`, `camelCase`, `a::b`, `f()`, in backticks), or is the whole query.
    Sure,
}

/// An identifier in a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolMention {
    /// The bare name: the last segment (`send`).
    pub name: String,
    /// The segments before it, outermost first (`HttpClient`).
    pub qualifiers: Vec<String>,
    /// How sure.
    pub certainty: Certainty,
}

/// A path in a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMention {
    /// With `/`, without a leading `./`.
    pub path: String,
    /// The line named with it.
    pub line: Option<u32>,
    /// Whether it stands in a line of a stack trace.
    pub is_frame: bool,
}

/// Everything that [`find`] finds.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    pub(super) symbols: Vec<SymbolMention>,
    pub(super) paths: Vec<PathMention>,
    pub(super) phrases: Vec<String>,
    /// Whether the query is one symbol and nothing else.
    pub(super) whole_is_symbol: bool,
    /// Whether the query is one token, or a keyword and one, so that it can only be a name or a path.
    pub(super) names_one: bool,
}

/// More than this many of a kind say nothing more.
const MENTIONS_MAX: usize = 32;

/// Longer tokens are no names.
const NAME_BYTES_MAX: usize = 200;

/// Words that may stand before the one symbol of a query.
const KEYWORDS: &[&str] = &[
    "class",
    "struct",
    "enum",
    "trait",
    "interface",
    "fn",
    "func",
    "function",
    "def",
    "type",
    "impl",
    "module",
    "mod",
    "macro",
    "const",
    "method",
    "namespace",
    "fun",
    "data",
    "newtype",
    "union",
    "typedef",
    "protocol",
    "object",
];

/// Files that have a name but no extension that a language is known by.
const OTHER_EXTENSIONS: &[&str] =
    &["md", "rst", "txt", "json", "toml", "yaml", "yml", "lock", "cfg", "ini", "xml", "html", "css", "proto", "sql"];

/// Finds identifiers, paths and phrases.
pub(super) fn find(text: &str) -> Mentions {
    let mut mentions = Mentions { phrases: phrases(text), ..Mentions::default() };
    for line in text.lines() {
        for path in paths(line) {
            if mentions.paths.len() < MENTIONS_MAX && !mentions.paths.contains(&path) {
                mentions.paths.push(path);
            }
        }
    }
    let readings = readings(text);
    mentions.names_one = !readings.is_empty();
    // `res.json` may be a file or a method: both are looked for.
    mentions.whole_is_symbol = mentions.paths.is_empty() && readings.iter().any(|(_, is_name)| *is_name);
    match mentions.names_one {
        true => mentions.symbols.extend(readings.into_iter().map(|(symbol, _)| symbol)),
        false => symbols(text, &mut mentions.symbols),
    }
    mentions
}

/// The ways to read a query that is one token but for a keyword before it, the likeliest first, and whether each has
/// the form of a name in most languages. None for any other query.
fn readings(text: &str) -> Vec<(SymbolMention, bool)> {
    let tokens: Vec<&str> = text.split_whitespace().take(4).collect();
    let token = match tokens[..] {
        [token] => token,
        [keyword, token] if KEYWORDS.contains(&keyword) => token,
        // C++ names operators with spaces: `operator char*`.
        ["operator", _] | ["operator", _, _] => text,
        _ => return Vec::new(),
    };
    let written = token.trim_matches(['`', '"', ';', ',']).trim_start_matches(['&', '*', '\'']);
    let called = written.split_once('(').map_or(written, |(name, _)| name);
    let mut found: Vec<(SymbolMention, bool)> = Vec::new();
    let mut add = |(qualifiers, name): (Vec<String>, String), is_name: bool| {
        let symbol = SymbolMention { name, qualifiers, certainty: Certainty::Sure };
        if !found.iter().any(|(other, _)| *other == symbol) {
            found.push((symbol, is_name));
        }
    };
    // As it is written, whatever it is: `operator<<`, `bats-exec-file`, `$store`, `~Socket`, `<$>`.
    if !written.is_empty() && written.len() <= NAME_BYTES_MAX {
        let is_name = parse_symbol(written).is_some_and(|(qualifiers, name)| qualifiers.is_empty() && name == written);
        add((Vec::new(), written.to_owned()), is_name);
    }
    if let Some((qualifiers, name)) = parse_symbol(written) {
        // Ruby's and Elixir's `valid?` and `save!`, Haskell's `foldl'`, unless the mark ends a question.
        let mark = called.chars().last().filter(|mark| matches!(mark, '?' | '!' | '\'') && !name.ends_with(*mark));
        if let Some(mark) = mark {
            add((qualifiers.clone(), format!("{name}{mark}")), true);
        }
        add((qualifiers, name), true);
    }
    found
}

/// Identifiers within prose, sure ones first.
fn symbols(text: &str, found: &mut Vec<SymbolMention>) {
    let mut starts_sentence = true;
    for raw in text.split_whitespace() {
        let quoted = raw.starts_with('`') || raw.trim_end_matches([',', '.', ';', ':', '?', '!', ')']).ends_with('`');
        let token = raw.trim_matches(|c: char| {
            matches!(
                c,
                '`' | '"' | '\'' | ',' | '.' | ';' | ':' | '?' | '!' | '[' | ']' | '{' | '}' | '<' | '>' | '*' | '&'
            )
        });
        let token = token.strip_prefix('(').unwrap_or(token);
        if let Some((qualifiers, name)) = parse_symbol(token) {
            let certainty = if quoted || has_code_form(token) {
                Some(Certainty::Sure)
            } else if !starts_sentence && name.len() > 2 && name.starts_with(char::is_uppercase) {
                Some(Certainty::Perhaps)
            } else {
                None
            };
            if let Some(certainty) = certainty
                && found.len() < MENTIONS_MAX
                && !found.iter().any(|other| other.name == name && other.qualifiers == qualifiers)
            {
                found.push(SymbolMention { name, qualifiers, certainty });
            }
        }
        starts_sentence = raw.ends_with(['.', '?', '!']) && !raw.ends_with("..");
    }
    found.sort_by_key(|symbol| std::cmp::Reverse(symbol.certainty));
}

/// The segments of a token that is a name: `a::b`, `A.b()`, `A#b`, `a->b`, `ns\A`, `vector<int>`.
fn parse_symbol(token: &str) -> Option<(Vec<String>, String)> {
    let token = token.split(['(', '<']).next().unwrap_or_default();
    let token = token.trim_matches(|c: char| matches!(c, ')' | '>' | ':' | '.' | '#'));
    let plain = token.replace("::", ".").replace("->", ".");
    let mut segments = Vec::new();
    for segment in plain.split(['.', '#', '\\']) {
        let segment = segment.trim_start_matches(['$', '@', '~']).trim_end_matches(['!', '?', '\'']);
        let mut characters = segment.chars();
        if !characters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            || !characters.all(|c| c.is_alphanumeric() || c == '_' || c == '$')
        {
            return None;
        }
        segments.push(segment.to_owned());
    }
    let name = segments.pop()?;
    name.chars().any(char::is_alphanumeric).then_some((segments, name))
}

/// Whether a token looks like code and not like a word of prose.
fn has_code_form(token: &str) -> bool {
    let inner = token.trim_matches('_');
    let hump = inner.chars().zip(inner.chars().skip(1)).any(|(a, b)| a.is_lowercase() && b.is_uppercase());
    let dotted = inner.split('.').filter(|part| part.len() > 1).count() > 1 && !token.ends_with('.');
    inner.contains('_') || hump || dotted || token.contains("::") || token.contains("->") || token.ends_with("()")
}

/// What stands in double quotes, single quotes after a space, or backticks.
fn phrases(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for quote in ['"', '`', '\''] {
        let mut rest = text;
        while let Some(start) = rest.find(quote) {
            let opens = quote != '\'' || rest[..start].is_empty() || rest[..start].ends_with([' ', '(', '=', ':']);
            let after = &rest[start + 1..];
            let Some(end) = after.find(quote) else { break };
            let phrase = &after[..end];
            if opens && !phrase.trim().is_empty() && phrase.len() <= 200 && !phrase.contains('\n') {
                if found.len() < MENTIONS_MAX {
                    found.push(phrase.trim().to_owned());
                }
                rest = &after[end + 1..];
            } else {
                rest = after;
            }
        }
    }
    found
}

/// The paths of one line, with the line numbers that stand with them (`a.rs:1:2`, `"a.py", line 3`, `A.java(4)`).
fn paths(line: &str) -> Vec<PathMention> {
    let trimmed = line.trim_start();
    let frame_line = trimmed.starts_with("at ")
        || trimmed.starts_with("File \"")
        || trimmed.starts_with('#')
        || trimmed.starts_with("from ")
        || trimmed.starts_with("-->");
    let mut found = Vec::new();
    let is_edge = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | ')' | ',' | ';' | '<' | '>' | '[' | ']' | '{' | '}')
    };
    let mut start = 0;
    while start < line.len() {
        let rest = &line[start..];
        let length = rest.find(is_edge).unwrap_or(rest.len());
        if let Some(mut path) = parse_path(&rest[..length], line.trim().len() == length) {
            let after = &rest[length..];
            let after_word = after.strip_prefix(' ').filter(|_| rest[..length].ends_with(":line"));
            path.line = path.line.or_else(|| after_word.and_then(number)).or_else(|| number_after(after));
            let marked = [", line", ") ", " +0x"].iter().any(|mark| after.trim_start_matches('"').starts_with(mark));
            let panics = line[..start].ends_with("panicked at ");
            path.is_frame = path.line.is_some() && (frame_line || marked || panics || rest[..length].ends_with(":in"));
            if path.is_frame {
                path.path = with_package(path.path, &line[..start]);
            }
            found.push(path);
        }
        start += length + rest[length..].chars().next().map_or(1, char::len_utf8);
    }
    // A line that is only `path.go:12 +0x1d` is a frame of Go or of a compiler.
    if line.starts_with(['\t', ' ']) && found.len() == 1 && found[0].line.is_some() {
        found[0].is_frame = true;
    }
    found
}

/// Java and its kin name only the file (`at a.b.C.run(C.java:12)`): the package before it gives the folders.
fn with_package(path: String, before: &str) -> String {
    let Some(name) = before.strip_suffix('(').and_then(|before| before.split_whitespace().last()) else { return path };
    let name = name.rsplit('/').next().unwrap_or(name);
    let stem = path.split('.').next().unwrap_or(&path);
    let segments: Vec<&str> = name.split('.').collect();
    match segments.iter().position(|segment| segment.split('$').next() == Some(stem)) {
        Some(class) if class > 0 && !path.contains('/') => format!("{}/{path}", segments[..class].join("/")),
        _ => path,
    }
}

/// The number in `", line 12`, `:line 12` or `(12)`.
fn number_after(text: &str) -> Option<u32> {
    let digits =
        text.strip_prefix("\", line ").or_else(|| text.strip_prefix("(")).or_else(|| text.strip_prefix(" line "))?;
    number(digits)
}

/// The number that a text begins with.
fn number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn parse_path(token: &str, alone: bool) -> Option<PathMention> {
    let token = token.trim_end_matches(['.', ':', '?', '!']);
    let mut parts = token.split(':');
    let mut path = parts.next()?;
    let mut line = parts.next().and_then(|number| number.parse().ok());
    if let Some((windows, _)) = token.split_once(":\\")
        && windows.len() == 1
    {
        path = token;
        line = None;
    }
    let path = path.replace('\\', "/");
    let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
    if path.contains("//") || path.len() < 3 {
        return None;
    }
    let name = path.rsplit('/').next().unwrap_or(&path);
    let known = name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty() && (OTHER_EXTENSIONS.contains(&extension) || Language::detect(name, "") != Language::TEXT)
    });
    let slashes = path.matches('/').count();
    let word = |c: char| c.is_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | '+' | '@' | '~' | '$');
    let is_path = known || (slashes >= 1 && path.chars().all(word) && (alone || slashes >= 2 || path.starts_with('/')));
    is_path.then_some(PathMention { path: path.trim_start_matches('/').to_owned(), line, is_frame: false })
}
