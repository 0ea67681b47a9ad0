//! What imports of several languages have in common: groups, quotes, calls.

/// Writes `a.{b, c => d, e.{f}}` out as `a.b`, `a.c`, `a.e.f`. Renamings are dropped: `rename` lists what separates a
/// name from its new one.
pub(in super::super) fn expand(text: &str, rename: &[&str], add: &mut dyn FnMut(String)) {
    let mut prefixes: Vec<usize> = Vec::new();
    let mut path = String::new();
    let mut word_start = 0;
    let mut flush = |path: &str, word: &str, after_group: bool| {
        let mut word = word.trim();
        for separator in rename {
            word = word.split(separator).next().unwrap_or(word).trim();
        }
        if word == "self" {
            add(path.trim_end_matches([':', '.', '\\']).to_string());
        } else if !word.is_empty() && !after_group {
            add(format!("{path}{word}"));
        }
    };
    let mut after_group = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => {
                prefixes.push(path.len());
                path.push_str(text[word_start..at].trim());
                (word_start, after_group) = (at + 1, false);
            }
            b',' | b'}' => {
                flush(&path, &text[word_start..at], after_group);
                (word_start, after_group) = (at + 1, byte == b'}');
                if byte == b'}' {
                    path.truncate(prefixes.pop().unwrap_or(0));
                }
            }
            _ => {}
        }
    }
    flush(&path, &text[word_start..], after_group);
}

/// The inside of a quoted text; other text as it is.
pub(in super::super) fn unquote(text: &str) -> &str {
    let text = text.trim();
    for quote in ['"', '\'', '`'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// The quoted arguments of calls like `require("x")`, `require 'x'`, `import("./x")`, wherever they stand, with the
/// byte of each. Comments and strings that look like a call count as one: rare, and harmless.
pub(in super::super) fn calls(text: &str, call: &str, add: &mut dyn FnMut(u32, String)) {
    for at in memchr::memmem::find_iter(text.as_bytes(), call) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = text[at + call.len()..].trim_start();
        let rest = rest.strip_prefix('(').unwrap_or(rest).trim_start();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else { continue };
        let inner = &rest[1..];
        let end = inner.find([quote, '\n']).filter(|&end| end <= 300 && inner[end..].starts_with(quote));
        if let Some(end) = end
            && end > 0
        {
            add(at as u32, inner[..end].to_string());
        }
    }
}
