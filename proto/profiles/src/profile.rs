//! Profile: stacks with values in, pprof's message out. Functions are named by this process, which knows them best.
//!
//! The message is `perftools.profiles.Profile` of <https://github.com/google/pprof>; fields that nothing here sets are left out.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

/// What a profile is about: names and units of the values of each sample.
pub(crate) struct Kind {
    pub(crate) values: &'static [(&'static str, &'static str)],
    /// What one sample stands for.
    pub(crate) period_type: (&'static str, &'static str),
    pub(crate) period: i64,
    /// A pattern of names: such frames, and what they called, say nothing.
    pub(crate) drop_frames: &'static str,
}

/// A profile being put together.
pub(crate) struct Builder {
    profile: Profile,
    texts: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<usize, u64>,
}

impl Builder {
    pub(crate) fn new(kind: &Kind, duration: Duration) -> Self {
        let mut builder = Self {
            profile: Profile::default(),
            texts: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        // The first text must be the empty one.
        builder.text("");
        let mut value_type =
            |(name, unit): (&str, &str)| ValueType { name: builder.text(name), unit: builder.text(unit) };
        let (sample_types, period_type) =
            (kind.values.iter().copied().map(&mut value_type).collect(), value_type(kind.period_type));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let program = std::env::current_exe().unwrap_or_default();
        let filename = builder.text(&program.to_string_lossy());
        builder.profile.drop_frames = builder.text(kind.drop_frames);
        let profile = &mut builder.profile;
        (profile.sample_types, profile.period_type, profile.period) = (sample_types, Some(period_type), kind.period);
        (profile.time_nanos, profile.duration_nanos) = (now.as_nanos() as i64, duration.as_nanos() as i64);
        // One mapping that says that names are there, so that viewers do not look for the program.
        let (has_functions, has_filenames, has_lines, has_inlines) = (true, true, true, true);
        let mapping =
            Mapping { id: 1, limit: u64::MAX, filename, has_functions, has_filenames, has_lines, has_inlines };
        profile.mappings.push(mapping);
        builder
    }

    /// Adds a stack, innermost address first, with its values and perhaps the thread's name.
    pub(crate) fn add(&mut self, stack: &[usize], values: Vec<i64>, thread: Option<&str>) {
        let locations = stack.iter().map(|&address| self.location(address)).collect();
        let labels = thread.map(|thread| Label { key: self.text("thread"), text: self.text(thread) });
        self.profile.samples.push(Sample { locations, values, labels: labels.into_iter().collect() });
    }

    /// Whether an address belongs to a function whose name has this part.
    pub(crate) fn is_named(&mut self, address: usize, part: &str) -> bool {
        let location = self.location(address) as usize - 1;
        let functions = self.profile.locations[location].lines.iter().map(|line| line.function as usize - 1);
        let mut names = functions.map(|function| self.profile.functions[function].name as usize);
        names.any(|name| self.profile.texts[name].contains(part))
    }

    /// The message, compressed.
    pub(crate) fn finish(self) -> Vec<u8> {
        // What was loaded to look names up is as large as the program.
        backtrace::clear_symbol_cache();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&self.profile.encode_to_vec()).expect("a vector takes any number of bytes");
        gzip.finish().expect("a vector takes any number of bytes")
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(&index) = self.texts.get(text) {
            return index;
        }
        let index = self.profile.texts.len() as i64;
        self.profile.texts.push(text.to_owned());
        self.texts.insert(text.to_owned(), index);
        index
    }

    fn location(&mut self, address: usize) -> u64 {
        if let Some(&id) = self.locations.get(&address) {
            return id;
        }
        let mut found = Vec::new();
        // Addresses of callers are those where they go on: the call is before.
        backtrace::resolve((address - usize::from(address > 0)) as *mut std::ffi::c_void, |symbol| {
            let name = symbol.name().map_or_else(|| "?".to_owned(), |name| format!("{name:#}"));
            let file = symbol.filename().map_or_else(String::new, |file| file.to_string_lossy().into_owned());
            found.push((with_module(&name, &file), file, symbol.lineno().unwrap_or(0)));
        });
        let lines =
            found.iter().map(|(name, file, line)| Line { function: self.function(name, file), line: i64::from(*line) });
        let lines = lines.collect();
        let id = self.profile.locations.len() as u64 + 1;
        self.profile.locations.push(Location { id, mapping: 1, address: address as u64, lines });
        self.locations.insert(address, id);
        id
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let (name, filename) = (self.text(name), self.text(file));
        let next = self.profile.functions.len() as u64 + 1;
        let id = *self.functions.entry((name, filename)).or_insert(next);
        if id == next {
            self.profile.functions.push(Function { id, name, system_name: name, filename });
        }
        id
    }
}

/// A function's name with its crate and module. Line tables name inlined functions and methods by their last part alone,
/// but they name the file, and in Rust that is the module.
fn with_module(name: &str, file: &str) -> String {
    // What stands between `<` and `>` are types.
    let whole = name.starts_with('<') || name.split('<').next().is_some_and(|head| head.contains("::"));
    let path = file.strip_suffix(".rs").filter(|_| !whole);
    let Some((folder, inside)) = path.and_then(package_and_file) else { return name.to_owned() };
    // A folder of the registry ends with the version.
    let package = match folder.rsplit_once('-') {
        Some((package, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => package,
        _ => folder,
    };
    let parts =
        std::iter::once(package).chain(inside.split('/')).filter(|part| !matches!(*part, "lib" | "mod" | "src"));
    let module: Vec<String> = parts.map(|part| part.replace('-', "_")).collect();
    format!("{}::{name}", module.join("::"))
}

/// The folder of a package, and the file in its sources.
fn package_and_file(path: &str) -> Option<(&str, &str)> {
    // The registry's own folder is called `src` too; below it come the index's folder and the packages'.
    if let Some((_, below)) = path.split_once("/registry/src/") {
        return below.split_once('/')?.1.split_once('/');
    }
    let (before, inside) = path.rsplit_once("/src/")?;
    Some((before.rsplit('/').next()?, inside))
}

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_types: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mappings: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    locations: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    functions: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    texts: Vec<String>,
    /// A pattern of names: such frames and what they called say nothing.
    #[prost(int64, tag = "7")]
    drop_frames: i64,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    name: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    locations: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    labels: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "3")]
    limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_lines: bool,
    #[prost(bool, tag = "10")]
    has_inlines: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    lines: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_name_gets_its_module_from_the_file_unless_it_has_one() {
        let check = |name: &str, file: &str, expect: &str| assert_eq!(with_module(name, file), expect);
        check("apply", "/home/ana/conexusd/src/index/pipeline/writer.rs", "conexusd::index::pipeline::writer::apply");
        check("map<a::B, C>", "/r/tokio-1.54.1/src/runtime/mod.rs", "tokio::runtime::map<a::B, C>");
        check("go", "/r/registry/src/index-1/tree-sitter-0.27.1/binding_rust/lib.rs", "tree_sitter::binding_rust::go");
        check("go", "/r/registry/src/index-1/rtrb-0.4.0/src/lib.rs", "rtrb::go");
        check("run", "/x/conexus-sidecar/src/lib.rs", "conexus_sidecar::run");
        check("a::b", "/x/c/src/d.rs", "a::b");
        check("<A as B>::c", "/x/c/src/d.rs", "<A as B>::c");
        check("memcpy", "../sysdeps/x86_64/memcpy.S", "memcpy");
    }

    #[test]
    fn a_stack_is_named_once_and_reads_back() {
        let kind = Kind {
            values: &[("cpu", "nanoseconds")],
            period_type: ("cpu", "nanoseconds"),
            period: 10,
            drop_frames: "",
        };
        let mut builder = Builder::new(&kind, Duration::from_secs(2));
        let mut here = Vec::new();
        backtrace::trace(|frame| {
            here.push(frame.ip() as usize);
            true
        });
        builder.add(&here, vec![20], Some("worker"));
        builder.add(&here, vec![10], None);
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*builder.finish()).read_to_end(&mut bytes).unwrap();
        let profile = Profile::decode(&*bytes).unwrap();
        assert_eq!((profile.texts[0].as_str(), profile.period), ("", 10));
        assert_eq!(profile.samples[0].locations, profile.samples[1].locations);
        assert!(profile.locations.len() <= here.len());
        let text = |index: i64| profile.texts[index as usize].as_str();
        assert!(
            profile.functions.iter().any(|f| text(f.name).ends_with("a_stack_is_named_once_and_reads_back")),
            "{profile:?}"
        );
        let label = profile.samples[0].labels[0];
        assert_eq!((text(label.key), text(label.text)), ("thread", "worker"));
    }
}
