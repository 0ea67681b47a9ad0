//! Identifiers: one word in, its parts and the whole out.

use super::stem::Stems;
use super::{TERM_BYTES_MAX, WORD_CHARS_MAX, class, cut};
use crate::ablation::{Signal, off};

/// Emits the terms of an ASCII word of letters, digits and underscores.
pub(super) fn ascii(word: &str, stems: &mut Stems, emit: &mut dyn FnMut(&str)) {
    let mut lower = [0_u8; WORD_CHARS_MAX];
    let mut classes = [0_u8; WORD_CHARS_MAX];
    let mut length = 0;
    let mut pending = 0;
    for &byte in word.as_bytes() {
        let class = class::OF[byte as usize];
        if class == class::UNDERSCORE {
            pending = class::BREAK;
            continue;
        }
        if length == WORD_CHARS_MAX {
            return emit(text(&lower[..TERM_BYTES_MAX]));
        }
        // Lower-cases letters and leaves digits alone.
        lower[length] = byte | 0x20;
        classes[length] = class | pending;
        pending = 0;
        length += 1;
    }
    split(text(&lower[..length]), &classes[..length], |place| place, true, stems, emit);
}

/// Emits the terms of a lower-cased word without underscores. `classes` has one entry a character, `offset` gives the
/// byte at which a character starts (the length for the one past the last).
pub(super) fn split(
    lower: &str,
    classes: &[u8],
    offset: impl Fn(usize) -> usize,
    ascii: bool,
    stems: &mut Stems,
    emit: &mut dyn FnMut(&str),
) {
    let mut start = 0;
    let mut digits = 0;
    for at in 1..=classes.len() {
        digits |= classes[at - 1] & class::DIGIT;
        if at < classes.len() && !begins_part(classes, start, at) {
            continue;
        }
        let alone = at - start == classes.len();
        let part = &lower[offset(start)..offset(at)];
        if alone || (part.len() > 1 && !off(Signal::Splitting)) {
            emit_part(part, &classes[start..at], ascii, stems, emit);
        }
        if at == classes.len() && !alone && !off(Signal::Wholes) {
            emit(cut(whole(lower, ascii && digits == 0)));
        }
        start = at;
    }
}

/// Whether a part begins at `at`; the one before began at `start`, and both are below the word's length.
fn begins_part(classes: &[u8], start: usize, at: usize) -> bool {
    let here = classes[at];
    if here & class::BREAK != 0 {
        return true;
    }
    if classes[start] & class::DIGIT != 0 {
        return false;
    }
    let before = classes[at - 1];
    let lower =
        |place: usize| classes.get(place).is_some_and(|class| class & (class::LOWER | class::BREAK) == class::LOWER);
    if here & class::UPPER != 0 {
        let plural = classes.get(at + 1).is_some_and(|class| class & class::PLURAL != 0) && !lower(at + 2);
        before & (class::LOWER | class::DIGIT) != 0 || (before & class::UPPER != 0 && lower(at + 1) && !plural)
    } else {
        // `md5sum`, but not `i18n` or `e2e`.
        here & class::LOWER != 0 && before & class::DIGIT != 0 && lower(at + 1) && lower(at + 2)
    }
}

/// Emits a part, and its letters and digits where it is the one followed by the other (`sha256`).
fn emit_part(part: &str, classes: &[u8], ascii: bool, stems: &mut Stems, emit: &mut dyn FnMut(&str)) {
    let all = classes.iter().fold(0, |all, class| all | class);
    if !ascii {
        return emit(cut(part));
    }
    if all & class::DIGIT == 0 {
        return emit(cut(stems.stem(part)));
    }
    emit(cut(part));
    let letters = classes.iter().take_while(|&class| class & class::LETTER != 0).count();
    if letters < 2 || classes[letters..].iter().any(|class| class & class::LETTER != 0) {
        return;
    }
    emit(cut(stems.stem(&part[..letters])));
    if part.len() - letters > 1 {
        emit(cut(&part[letters..]));
    }
}

/// A whole identifier as a term.
fn whole(lower: &str, letters: bool) -> &str {
    if letters && lower.len() > 4 { lower.strip_suffix('e').unwrap_or(lower) } else { lower }
}

fn text(ascii: &[u8]) -> &str {
    std::str::from_utf8(ascii).expect("made of ASCII bytes only")
}
