//! Words beyond ASCII: letters of any script, and scripts that are written without spaces.

use super::stem::Stems;
use super::{TERM_BYTES_MAX, WORD_CHARS_MAX, class, cut, identifier};

/// Emits the terms of the word around `at`, where the first character beyond ASCII stands; the ASCII part of the word
/// before it began at `start`. Returns where the text goes on.
pub(super) fn word(text: &str, start: usize, at: usize, stems: &mut Stems, emit: &mut dyn FnMut(&str)) -> usize {
    let first = text[at..].chars().next().expect("`at` is where a character begins");
    if is_spaceless(first) {
        if start < at {
            identifier::ascii(&text[start..at], stems, emit);
        }
        return spaceless(text, at, emit);
    }
    if !is_letter(first) {
        if start < at {
            identifier::ascii(&text[start..at], stems, emit);
        }
        return at + first.len_utf8();
    }
    spaced(text, start, stems, emit)
}

/// A word with letters beyond ASCII, split like any identifier and not stemmed.
fn spaced(text: &str, start: usize, stems: &mut Stems, emit: &mut dyn FnMut(&str)) -> usize {
    let mut lower = String::with_capacity(64);
    let mut classes = Vec::with_capacity(32);
    let mut offsets = Vec::with_capacity(32);
    let mut pending = 0;
    let mut end = text.len();
    for (at, character) in text[start..].char_indices() {
        if character == '_' {
            pending = class::BREAK;
            continue;
        }
        if !is_letter(character) || is_spaceless(character) {
            end = start + at;
            break;
        }
        if classes.len() > WORD_CHARS_MAX {
            continue;
        }
        offsets.push(lower.len());
        lower.extend(character.to_lowercase());
        classes.push(pending | class_of(character));
        pending = 0;
    }
    offsets.push(lower.len());
    if classes.len() > WORD_CHARS_MAX {
        emit(&lower[..lower.floor_char_boundary(TERM_BYTES_MAX)]);
    } else {
        identifier::split(&lower, &classes, |place| offsets[place], false, stems, emit);
    }
    end
}

/// A run of a script without spaces: each character, and each pair of neighbours.
fn spaceless(text: &str, start: usize, emit: &mut dyn FnMut(&str)) -> usize {
    let mut before = None;
    for (at, character) in text[start..].char_indices() {
        let at = start + at;
        if !is_spaceless(character) {
            return at;
        }
        let end = at + character.len_utf8();
        if let Some(before) = before {
            emit(cut(&text[before..end]));
        }
        emit(&text[at..end]);
        before = Some(at);
    }
    text.len()
}

/// Letters and digits of any script, but not the letters in boxes and circles that count as emoji.
fn is_letter(character: char) -> bool {
    character.is_alphanumeric() && !('\u{1f000}'..='\u{1ffff}').contains(&character)
}

fn class_of(character: char) -> u8 {
    if character.is_ascii() {
        class::OF[character as usize]
    } else if character.is_uppercase() {
        class::UPPER
    } else if character.is_numeric() {
        class::DIGIT
    } else {
        class::LOWER
    }
}

/// Han, Kana, Hangul, and the scripts of south-east Asia.
fn is_spaceless(character: char) -> bool {
    matches!(u32::from(character),
        0x0e01..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x1100..=0x11ff
        | 0x3005..=0x3007 | 0x3040..=0x312f | 0x3131..=0x318e | 0x31a0..=0x31bf | 0x31f0..=0x31ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff
        | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xff66..=0xff9f | 0x2_0000..=0x3_ffff)
        && character.is_alphanumeric()
}
