//! The parse: source in a language with a grammar in, its tree out, in bounded time and memory whatever the text.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tree_sitter::{ParseOptions, ParseState, Parser, Tree};

use super::grammar::Grammar;
use super::outline::{Lines, Outline};
use super::walk::Walk;

/// Larger texts are chunked by lines: a tree takes some ten times the memory of its text.
const PARSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a parse may take, in hundreds of parser steps: this and [`STEPS_PER_KIB`] for each KiB. Ordinary source takes
/// about 8 a KiB and seldom 20. Counted rather than timed, so that the same text always gives the same chunks.
const STEPS_BASE: u64 = 1_000;
const STEPS_PER_KIB: u64 = 80;
/// The last resort against steps that are slow by themselves, 25 times what ordinary source takes: this and
/// [`PARSE_TIME_PER_MIB`] for each MiB.
const PARSE_TIME_BASE: Duration = Duration::from_secs(1);
const PARSE_TIME_PER_MIB: Duration = Duration::from_secs(5);

/// Nesting deeper than this, and more tokens than this without a bracket, comma or semicolon, are no source: the
/// parser's stack would grow with every token, and its memory with the square of it when it gives up.
const NESTING_MAX: u32 = 500;
const RUN_MAX: u32 = 3_000;

thread_local! {
    static PARSER: RefCell<Parser> = RefCell::new(Parser::new());
}

/// The outline of a source file; `None` if it is too large or too strange to be parsed in bounded time.
pub(super) fn outline(grammar: &Grammar, path: &str, lines: &Lines<'_>) -> Option<Outline> {
    if lines.text.len() > PARSE_BYTES_MAX || is_tangled(lines.text) {
        return None;
    }
    let masked = grammar.mask.and_then(|mask| mask(lines.text));
    let source = masked.as_deref().unwrap_or(lines.text.as_bytes());
    let tree = PARSER.with_borrow_mut(|parser| parse(parser, grammar, source))?;
    Some(Walk::new(grammar, path, lines).run(&tree))
}

/// Whether a text would make a parser's stack grow without bound. A look at bytes: brackets in strings count too.
fn is_tangled(text: &str) -> bool {
    let (mut depth, mut run): (u32, u32) = (0, 0);
    let mut in_word = false;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => (depth, run) = (depth + 1, 0),
            b')' | b']' | b'}' => (depth, run) = (depth.saturating_sub(1), 0),
            b',' | b';' => run = 0,
            _ => {}
        }
        let word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        run += u32::from(!(byte.is_ascii_whitespace() || word && in_word));
        in_word = word;
        if depth > NESTING_MAX || run > RUN_MAX {
            return true;
        }
    }
    false
}

fn parse(parser: &mut Parser, grammar: &Grammar, source: &[u8]) -> Option<Tree> {
    parser.set_language(&grammar.language).ok()?;
    let mut steps = STEPS_BASE + source.len() as u64 / 1024 * STEPS_PER_KIB;
    let deadline = Instant::now() + PARSE_TIME_BASE + PARSE_TIME_PER_MIB.mul_f64(source.len() as f64 / 1_048_576.0);
    let mut within_bounds = |_: &ParseState| {
        steps = steps.saturating_sub(1);
        if steps == 0 || Instant::now() > deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut within_bounds);
    let tree = parser.parse_with_options(&mut |at, _| source.get(at..).unwrap_or(&[]), None, Some(options));
    parser.reset();
    tree
}
