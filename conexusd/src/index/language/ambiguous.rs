//! Ambiguous extensions: which of two languages a `.h`, `.m` or `.ts` file is in, by a look at its text.

use super::Language;

/// How much of a file is looked at, in bytes.
const LOOK: usize = 64 * 1024;

/// The language of a file whose extension alone does not decide; `None` for other extensions.
pub(super) fn resolve(extension: &str, text: &str) -> Option<Language> {
    let text = head(text);
    Some(match extension {
        "h" => header(text),
        "m" => objective_or_matlab(text),
        "ts" | "mts" | "cts" if text.trim_start().starts_with("<?xml") || text.contains("<!DOCTYPE TS>") => {
            Language::XML
        }
        "pl" | "pro" if text.lines().take(200).any(|line| line.starts_with(":- ")) => Language::PROLOG,
        "pro" => Language::MAKE,
        "d" if text.lines().take(5).any(|line| line.ends_with(" \\") && line.contains(": ")) => Language::MAKE,
        "v" if text.contains("Require Import") || text.contains("\nQed.") => Language::COQ,
        "inc" if text.contains("<?php") => Language::PHP,
        "inc" if text.contains("#define") || text.contains("#include") => Language::CPP,
        "fs" if text.contains("gl_FragColor") || text.starts_with("#version") => Language::GLSL,
        "cls" if text.contains("\\ProvidesClass") || text.contains("\\LoadClass") => Language::LATEX,
        "cls" => Language::APEX,
        _ => return None,
    })
}

fn head(text: &str) -> &str {
    let mut end = text.len().min(LOOK);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// C unless a line begins as only C++ or Objective-C lines do.
fn header(text: &str) -> Language {
    for line in text.lines() {
        let line = line.trim_start();
        let word = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("");
        match word {
            "namespace" | "template" | "class" | "constexpr" | "concept" => return Language::CPP,
            "using" if line.ends_with(';') => return Language::CPP,
            "public" | "private" | "protected" if line[word.len()..].trim_start().starts_with(':') => {
                return Language::CPP;
            }
            "" if line.starts_with("@interface") || line.starts_with("@protocol") || line.starts_with("@class") => {
                return Language::OBJECTIVE_C;
            }
            _ => {}
        }
        if line.starts_with("#include <") && is_cpp_library(line) {
            return Language::CPP;
        }
    }
    Language::C
}

/// Headers of the C++ library have no `.h`: `#include <vector>`.
fn is_cpp_library(line: &str) -> bool {
    line.split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

fn objective_or_matlab(text: &str) -> Language {
    let objective = ["#import", "#include", "@interface", "@implementation", "@import", "//", "/*"];
    if text.lines().map(str::trim_start).any(|line| objective.iter().any(|start| line.starts_with(start))) {
        Language::OBJECTIVE_C
    } else {
        Language::MATLAB
    }
}
