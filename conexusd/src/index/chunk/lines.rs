//! Lines: what is known of a text without a grammar, from its indentation and its blank lines.

use super::outline::{Lines, NEVER, Outline};
use super::split::text_cost;

/// The outline of a text of unknown structure: no items, and chunks best begun at blank lines and outer indentation.
pub(super) fn outline(lines: &Lines<'_>) -> Outline {
    let cost = |line: usize| match line {
        0 => 0,
        _ if lines.is_blank(line) => NEVER,
        _ => text_cost(lines, line),
    };
    Outline { costs: (0..lines.count()).map(cost).collect(), ..Outline::default() }
}
