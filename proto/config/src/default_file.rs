//! Default file: a file to begin with, every key with its words and its default.

use crate::key::{DefaultValue, Key};
use crate::load::constant;
use crate::settings::SECTIONS;

/// The commented default file. Read as it stands it changes nothing; keys without a constant default are commented out
/// and show an example.
pub fn default_file() -> String {
    let mut text = String::from(
        "# Configuration of conexusd and conexus-sidecar; both read this file.\n\
         # A flag or an environment variable overrides what stands here.\n",
    );
    for section in SECTIONS {
        let (depth, name) = (section.path.matches('.').count(), section.path.rsplit('.').next().unwrap_or_default());
        let margin = "  ".repeat(depth);
        text.push('\n');
        for line in wrapped(section.doc, 110 - margin.len()) {
            text.push_str(&format!("{margin}# {line}\n"));
        }
        text.push_str(&format!("{margin}{name}:\n"));
        for key in section.keys {
            push_key(&mut text, key, &"  ".repeat(depth + 1));
        }
    }
    text
}

fn push_key(text: &mut String, key: &Key, margin: &str) {
    let allowed = format!("{} Allowed: {}.", key.doc(), key.kind.allowed());
    let doc = match key.default {
        DefaultValue::Is(_) => allowed,
        DefaultValue::Unset => format!("{allowed} Not set by default."),
        DefaultValue::Derived(words, _) => format!("{allowed} Default: {words}."),
    };
    for line in wrapped(&doc, 110 - margin.len()) {
        text.push_str(&format!("{margin}# {line}\n"));
    }
    match key.default {
        DefaultValue::Is(value) => {
            text.push_str(&format!("{margin}{}: {}\n", key.name(), constant(key, value).to_yaml()))
        }
        DefaultValue::Unset | DefaultValue::Derived(..) => {
            text.push_str(&format!("{margin}# {}: {}\n", key.name(), key.example.unwrap_or_default()));
        }
    }
}

/// Words in lines of at most so many characters, where no single word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.replace('`', "").split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(word);
    }
    lines
}
