//! Markdown: sections by heading, cut at paragraphs where they are long.

use super::Kind;
use super::outline::{Item, Lines, NEVER, Outline, name};

/// Costs of beginning a chunk: at a heading by its level, elsewhere by what is cut.
const PARAGRAPH: u8 = 20;
const LIST_ITEM: u8 = 22;
const INSIDE_PARAGRAPH: u8 = 40;
const FENCE: u8 = 60;
const INSIDE_FENCE: u8 = 80;

/// The outline of a Markdown text: headings with `#` or underlined, not those inside fenced code, comments or front
/// matter.
pub(super) fn outline(lines: &Lines<'_>) -> Outline {
    let mut reader = Reader { lines, fence: None, comment: false, open: Vec::new(), outline: Outline::default() };
    let front_matter = front_matter(lines);
    for line in 0..lines.count() {
        let cost = if line < front_matter { INSIDE_FENCE } else { reader.line(line) };
        reader.outline.costs.push(if lines.is_blank(line) { NEVER } else { cost });
    }
    reader.close(1, lines.count());
    reader.outline
}

struct Reader<'a> {
    lines: &'a Lines<'a>,
    /// The character and length of the fence that is open.
    fence: Option<(u8, usize)>,
    /// Whether an HTML comment is open.
    comment: bool,
    /// Open sections with their levels.
    open: Vec<(usize, u32)>,
    outline: Outline,
}

impl Reader<'_> {
    /// Takes one line in and returns its cost.
    fn line(&mut self, line: usize) -> u8 {
        let text = self.lines.get(line);
        let content = text.trim();
        let indent = self.lines.indent(line);
        if self.comment {
            self.comment = !content.contains("-->");
            return INSIDE_FENCE;
        }
        if let Some((mark, length)) = self.fence {
            let run = content.bytes().take_while(|&b| b == mark).count();
            if run >= length && run == content.len() {
                self.fence = None;
            }
            return INSIDE_FENCE;
        }
        if let Some(fence) = fence_start(content, indent) {
            self.fence = Some(fence);
            return FENCE.min(self.text_cost(line, PARAGRAPH + 1));
        }
        if content.starts_with("<!--") && !content.contains("-->") {
            self.comment = true;
        }
        if let Some((level, title)) = atx(content, indent) {
            self.begin(level, title, line);
            return level as u8 - 1;
        }
        if let Some(level) = self.setext(line) {
            self.begin(level, content, line);
            return level as u8 - 1;
        }
        if list_item(content) && line > 0 && !self.lines.is_blank(line - 1) {
            return LIST_ITEM + (indent / 2).min(8) as u8;
        }
        self.text_cost(line, PARAGRAPH + (indent / 2).min(8) as u8)
    }

    fn text_cost(&self, line: usize, paragraph: u8) -> u8 {
        if line == 0 || self.lines.is_blank(line - 1) { paragraph } else { INSIDE_PARAGRAPH }
    }

    /// The level of a heading that the next line underlines.
    fn setext(&self, line: usize) -> Option<usize> {
        let above_is_text =
            line > 0 && !self.lines.is_blank(line - 1) && atx(self.lines.get(line - 1).trim(), 0).is_none();
        if self.lines.is_blank(line) || self.lines.indent(line) > 3 || line + 1 >= self.lines.count() || above_is_text {
            return None;
        }
        let content = self.lines.get(line).trim();
        if list_item(content) || content.starts_with(['>', '|', '<', '-', '=']) || self.lines.indent(line + 1) > 3 {
            return None;
        }
        let under = self.lines.get(line + 1).trim();
        match under.bytes().next()? {
            b'=' if under.bytes().all(|b| b == b'=') => Some(1),
            b'-' if under.len() > 1 && under.bytes().all(|b| b == b'-') => Some(2),
            _ => None,
        }
    }

    fn begin(&mut self, level: usize, title: &str, line: usize) {
        self.close(level, line);
        let index = self.outline.items.len() as u32;
        self.outline.items.push(Item {
            kind: Kind::Section,
            name: name(title),
            qualifier: None,
            parent: self.open.last().map(|&(_, item)| item),
            end_item: index + 1,
            lead: line as u32,
            start: line as u32,
            end: line as u32,
            signature: (0, 0),
            defines: true,
            unit: true,
        });
        self.open.push((level, index));
    }

    /// Ends the open sections of this level and deeper before a line.
    fn close(&mut self, level: usize, line: usize) {
        while let Some(&(open, item)) = self.open.last()
            && open >= level
        {
            self.open.pop();
            let end_item = self.outline.items.len() as u32;
            let item = &mut self.outline.items[item as usize];
            item.end = (line as u32).saturating_sub(1).max(item.start);
            item.end_item = end_item;
        }
    }
}

/// Lines of the YAML or TOML block that a text begins with.
fn front_matter(lines: &Lines<'_>) -> usize {
    let mark = if lines.count() > 0 { lines.get(0).trim_end() } else { "" };
    if mark != "---" && mark != "+++" {
        return 0;
    }
    (1..lines.count().min(200)).find(|&line| lines.get(line).trim_end() == mark).map_or(0, |line| line + 1)
}

/// `## Title ##`: the level and the title.
fn atx(content: &str, indent: u16) -> Option<(usize, &str)> {
    let level = content.bytes().take_while(|&b| b == b'#').count();
    let rest = &content[level..];
    if level == 0 || level > 6 || indent > 3 || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let title = rest.trim();
    let bare = title.trim_end_matches('#');
    let closed = bare.len() < title.len() && (bare.is_empty() || bare.ends_with(' '));
    Some((level, if closed { bare.trim_end() } else { title }))
}

fn fence_start(content: &str, indent: u16) -> Option<(u8, usize)> {
    let mark = content.bytes().next().filter(|b| matches!(b, b'`' | b'~'))?;
    let length = content.bytes().take_while(|&b| b == mark).count();
    let inline = mark == b'`' && content[length..].contains('`');
    // Fences in lists are indented; a fence in a quote is not told apart.
    (length >= 3 && !inline && indent < 16).then_some((mark, length))
}

fn list_item(content: &str) -> bool {
    let digits = content.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &content[digits..];
    if digits == 0 {
        content.starts_with("- ") || content.starts_with("* ") || content.starts_with("+ ")
    } else {
        digits < 10 && (rest.starts_with(". ") || rest.starts_with(") "))
    }
}
