//! YAML: text in, mappings with line numbers out, and every fault that does not hinder reading on.

use std::ffi::OsString;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::raw::{Entry, Raw, quoted};

/// Something wrong with the text itself.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: String,
}

/// How deep mappings and lists may nest; the schema needs five.
const DEPTH_MAX: usize = 32;

/// Reads one document. What cannot be read is a fault, and the value then holds nothing or what stood before.
pub(super) fn read(text: &str) -> (Raw, Vec<Fault>) {
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut reader = Reader { events: Parser::new_from_str_with_options(text, options), faults: Vec::new() };
    let root = reader.document().unwrap_or_else(|fault| {
        reader.faults.push(fault);
        Raw::Null
    });
    (root, reader.faults)
}

struct Reader<'input> {
    events: Parser<'input, StrInput<'input>>,
    faults: Vec<Fault>,
}

impl<'input> Reader<'input> {
    fn document(&mut self) -> Result<Raw, Fault> {
        let mut root = None;
        loop {
            let (event, line) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root.unwrap_or(Raw::Null)),
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(fault(line, "holds more than one document; join them, or remove the line \"---\""));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                node => root = Some(self.node(node, line)?),
            }
        }
    }

    /// The value that begins with an event.
    fn node(&mut self, event: Event<'input>, line: usize) -> Result<Raw, Fault> {
        if event.anchor_id().is_some() {
            self.faults.push(fault(line, "anchors are not supported; write the value where it is used"));
        }
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema()) {
            self.faults.push(fault(line, &format!("the tag {} is not supported", quoted(&Tag::original(tag)))));
        }
        match event {
            Event::Scalar(text, style, ..) => Ok(scalar(text.into_owned(), style)),
            Event::SequenceStart(..) => self.sequence(),
            Event::MappingStart(..) => self.mapping(),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.faults.push(fault(
                    line,
                    "aliases (*name) are not supported; write the value, in quotes if it begins with *",
                ));
                Ok(Raw::Null)
            }
            _ => Err(fault(line, "is not a value")),
        }
    }

    fn sequence(&mut self) -> Result<Raw, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Raw::List(items)),
                (event, line) => items.push(self.node(event, line)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Raw, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Raw::Map(entries));
            }
            let key = match &event {
                Event::Scalar(text, ..) => Some(text.to_string()),
                _ => None,
            };
            self.node(event, line)?;
            let (event, value_line) = self.next()?;
            let value = self.node(event, value_line)?;
            let Some(key) = key else {
                self.faults.push(fault(line, "a key must be a plain word"));
                continue;
            };
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => {
                    let message = format!("the key {} is there twice, first on line {}", quoted(&key), first.line);
                    self.faults.push(Fault { line, message });
                }
                None => entries.push(Entry { key, line, value }),
            }
        }
    }

    /// The next event and its line, counted from 1.
    fn next(&mut self) -> Result<(Event<'input>, usize), Fault> {
        let line = |span: &Span| span.start.line().max(1);
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, line(&span))),
            Some(Err(error)) => Err(Fault {
                line: error.marker().line().max(1),
                message: format!("is not valid YAML: {}", error.info()),
            }),
            None => Ok((Event::StreamEnd, 1)),
        }
    }
}

fn fault(line: usize, message: &str) -> Fault {
    Fault { line, message: message.to_owned() }
}

fn scalar(text: String, style: ScalarStyle) -> Raw {
    let null = style == ScalarStyle::Plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
    if null { Raw::Null } else { Raw::Scalar(OsString::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(text: &str) -> Vec<(usize, String)> {
        read(text).1.into_iter().map(|fault| (fault.line, fault.message)).collect()
    }

    fn text(text: &str) -> Raw {
        Raw::Scalar(text.into())
    }

    fn entry(key: &str, line: usize, value: Raw) -> Entry {
        Entry { key: key.into(), line, value }
    }

    #[test]
    fn scalars_stay_as_they_are_written_and_keys_know_their_lines() {
        let (root, faults) = read("a: 1.10 # comment\nb:\n  c: \"~\"\n  d: ~\n  e:\n  f: [x, 'y, z']\n");
        let b = vec![
            entry("c", 3, text("~")),
            entry("d", 4, Raw::Null),
            entry("e", 5, Raw::Null),
            entry("f", 6, Raw::List(vec![text("x"), text("y, z")])),
        ];
        assert_eq!(root, Raw::Map(vec![entry("a", 1, text("1.10")), entry("b", 2, Raw::Map(b))]));
        assert_eq!(faults, []);
    }

    #[test]
    fn an_empty_file_holds_nothing() {
        for text in ["", "\n", "# only a comment\n", "---\n", "---\n...\n", "\u{feff}", "~"] {
            assert_eq!(read(text), (Raw::Null, vec![]), "{text:?}");
        }
    }

    #[test]
    fn line_ends_and_byte_order_marks_of_other_systems_are_read() {
        let expect = Raw::Map(vec![entry("a", 1, text("1")), entry("b", 2, text("2"))]);
        assert_eq!(read("\u{feff}a: 1\r\nb: 2\r\n"), (expect, vec![]));
    }

    #[test]
    fn every_fault_names_its_line_and_reading_goes_on_where_it_can() {
        assert_eq!(faults("a: 1\nb: 2\na: 3\n"), [(3, "the key \"a\" is there twice, first on line 1".into())]);
        let found = faults("a: &x 1\nb: *x\nc: *y\nd: !include other.yml\n? [e]\n: 1\n");
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5], "{found:?}");
        assert!(faults("a: 1\n---\nb: 2\n")[0].1.contains("more than one document"));
        let (line, message) = faults("a: 1\nb: [1,\nc: }\n").remove(0);
        assert!(line >= 2 && message.starts_with("is not valid YAML: "), "{line} {message}");
        assert_eq!(faults(&format!("a: {}", "[".repeat(100))).len(), 1, "too deep");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ab:\\-\\[\\]{}&*!|>'\"#%@`,? \n\t~\r\u{feff}\\PC]{0,60}") {
            let _ = read(&text);
        }
    }
}
