//! Masks: macros that hide definitions from a grammar, blanked out before parsing.
//!
//! In C and C++, `class FMT_API Buffer {` and a lone `FMT_BEGIN_NAMESPACE` would make the parser lose everything up to
//! the next brace. In Rust, `cfg_rt! { … }` around items is only tokens. A mask has the length of its text, so every
//! position in the tree is one of the text.

/// A text with macros replaced by spaces; `None` if there are none.
pub(super) type Mask = fn(&str) -> Option<Vec<u8>>;

/// For Rust: the first and last line of `name! {` … `}` at the left margin, where items stand between them.
pub(super) fn item_macros(text: &str) -> Option<Vec<u8>> {
    let mut masked: Option<Vec<u8>> = None;
    let mut open: Option<(usize, usize)> = None;
    let mut wanted = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        match open {
            None if is_item_macro(line) => (open, wanted) = (Some((at, at + line.trim_end().len())), false),
            None => {}
            Some((from, to)) if line.starts_with('}') => {
                if wanted && content == "}" {
                    let bytes = masked.get_or_insert_with(|| text.as_bytes().to_vec());
                    bytes[from..to].fill(b' ');
                    bytes[at] = b' ';
                }
                open = None;
            }
            Some(_) => wanted |= ITEM_STARTS.iter().any(|start| content.starts_with(start)),
        }
        at += line.len();
    }
    masked
}

const ITEM_STARTS: [&str; 9] = ["pub ", "pub(", "fn ", "async fn ", "unsafe fn ", "impl ", "impl<", "mod ", "trait "];

/// `name! {` with nothing before and after; not a macro's own definition.
fn is_item_macro(line: &str) -> bool {
    let Some(path) = line.trim_end().strip_suffix("! {") else { return false };
    !path.is_empty() && path.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b':')
}

/// For C and C++: macros before names and alone on their lines.
pub(super) fn macros(text: &str) -> Option<Vec<u8>> {
    let mut masked: Option<Vec<u8>> = None;
    let mut at = 0;
    let mut before = b';';
    for line in text.split_inclusive('\n') {
        let span = in_line(line).or_else(|| alone(line, before));
        if let Some((from, to)) = span {
            let bytes = masked.get_or_insert_with(|| text.as_bytes().to_vec());
            bytes[at + from..at + to].fill(b' ');
        } else {
            let code = line.split("//").next().unwrap_or("").trim_end();
            before = match code.bytes().last() {
                Some(_) if code.trim_start().starts_with('#') => b';',
                Some(last) => last,
                None => before,
            };
        }
        at += line.len();
    }
    masked
}

/// A macro before a name: `class API Foo`, `API int foo(`, `static API void foo(`.
fn in_line(line: &str) -> Option<(usize, usize)> {
    let first = line.trim_start().bytes().next()?;
    if !(first.is_ascii_alphabetic() || first == b'_') {
        return None;
    }
    let mut words = Words { line, at: 0 };
    let mut previous = "";
    for _ in 0..5 {
        let (start, word) = words.next_word()?;
        let in_type = matches!(previous, "class" | "struct" | "union");
        if is_macro(word) || is_attribute(word) {
            let after_arguments = words.skip_arguments();
            let (_, next) = Words { line, at: after_arguments }.next_word()?;
            let mut rest = Words { line, at: after_arguments };
            rest.next_word();
            let another = rest.next_word_or_pointer();
            let names_type = matches!(next, "class" | "struct" | "enum" | "union" | "template" | "namespace");
            // `BOOL foo(` and `FILE *p` are types: what follows a macro is a type and then a name.
            if in_type || names_type || (another && after_arguments == words.at) {
                return Some((start, after_arguments));
            }
            return None;
        }
        if word == "template" {
            words.skip_angles();
        }
        let keyword = ["template", "class", "struct", "union", "static", "inline", "extern", "constexpr", "virtual"];
        if !keyword.contains(&word) {
            return None;
        }
        previous = word;
    }
    None
}

/// A macro that is all of its line, where a statement could begin.
fn alone(line: &str, before: u8) -> Option<(usize, usize)> {
    let word = line.trim();
    let start = line.len() - line.trim_start().len();
    let ends_statement = matches!(before, b';' | b'}' | b'>' | b':' | b'/' | b'*' | b')');
    (word.contains('_') && is_macro(word) && ends_statement).then_some((start, start + word.len()))
}

fn is_macro(word: &str) -> bool {
    word.len() > 3
        && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && word.bytes().any(|b| b.is_ascii_uppercase())
}

/// `__always_inline`, `__init`; not the compiler's own `__attribute__`.
fn is_attribute(word: &str) -> bool {
    word.starts_with("__") && !word.ends_with("__") && word.bytes().any(|b| b.is_ascii_lowercase())
}

/// Identifiers of a line, one after the other; anything but white space between them ends the walk.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn next_word(&mut self) -> Option<(usize, &'a str)> {
        let rest = &self.line[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        let word_len = self.line[start..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        if word_len == 0 {
            return None;
        }
        self.at = start + word_len;
        Some((start, &self.line[start..self.at]))
    }

    /// Where the arguments of a macro end, if it has any: `ALIGNED(16)`.
    fn skip_arguments(&self) -> usize {
        let Some(rest) = self.line[self.at..].strip_prefix('(') else { return self.at };
        rest.find(')').map_or(self.at, |end| self.at + end + 2)
    }

    /// Goes behind `<…>`, if that is next and ends on this line.
    fn skip_angles(&mut self) {
        let mut depth = 0;
        for (i, b) in self.line.bytes().enumerate().skip(self.at) {
            match b {
                b'<' => depth += 1,
                b'>' => depth -= 1,
                b' ' | b'\t' => continue,
                _ if depth == 0 => return,
                _ => continue,
            }
            if depth == 0 {
                self.at = i + 1;
                return;
            }
        }
    }

    fn next_word_or_pointer(&mut self) -> bool {
        let rest = self.line[self.at..].trim_start();
        rest.starts_with(['*', '&', '<']) && !rest.starts_with("* ") || self.next_word().is_some() || rest.is_empty()
    }
}
