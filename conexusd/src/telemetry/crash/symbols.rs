//! Symbols: what are the addresses of a crash called?
//!
//! Done by another process of the same program, right after the crash: it has the same modules, somewhere else.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// A module of a process: the program or a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// What is added to the addresses in its file.
    pub(super) bias: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Empty for the program itself.
    pub(super) path: String,
}

/// The modules of this process.
pub(super) fn modules() -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    // SAFETY: the callback has the right signature, is called only during the call, and gets our own vector back.
    unsafe { libc::dl_iterate_phdr(Some(add_module), (&raw mut modules).cast()) };
    modules
}

extern "C" fn add_module(info: *mut libc::dl_phdr_info, _: usize, modules: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the loader passes a valid description whose strings and headers live during the call; `modules` is ours.
    let (info, modules) = unsafe { (&*info, &mut *modules.cast::<Vec<Module>>()) };
    // SAFETY: as above.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let bias = info.dlpi_addr as usize;
    let loaded = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let start = loaded().map(|header| bias + header.p_vaddr as usize).min();
    let end = loaded().map(|header| bias + header.p_vaddr as usize + header.p_memsz as usize).max();
    let path = match info.dlpi_name.is_null() {
        true => String::new(),
        // SAFETY: as above, a string that ends with 0.
        false => unsafe { std::ffi::CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned(),
    };
    if let (Some(start), Some(end)) = (start, end) {
        modules.push(Module { bias, start, end, path });
    }
    0
}

/// Appends the names of a crash file's addresses to it: `symbol INDEX LINE FILE<tab>FUNCTION`, innermost first where calls were
/// inlined.
pub fn symbolise(file: &Path) -> io::Result<()> {
    let text = fs::read_to_string(file)?;
    if !text.starts_with(super::HEADING) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no crash file", file.display())));
    }
    let (then, now) = (text.lines().filter_map(module).collect::<Vec<_>>(), modules());
    let mut out = String::new();
    for (index, address) in stack(&text).into_iter().enumerate() {
        if let Some(address) = moved(address, &then, &now) {
            describe(index, address, &mut out);
        } else {
            let _ = writeln!(out, "symbol {index} 0 \t{address:#x}");
        }
    }
    out.push_str("symbols done\n");
    OpenOptions::new().append(true).open(file)?.write_all(out.as_bytes())
}

/// The addresses from where the signal struck.
fn stack(text: &str) -> Vec<usize> {
    let hex = |text: &str| usize::from_str_radix(text, 16).ok();
    let pc = text.lines().find_map(|line| line.strip_prefix("pc ")).and_then(hex);
    let frames: Vec<usize> = text.lines().filter_map(|line| line.strip_prefix("frame ")).filter_map(hex).collect();
    let struck = frames.iter().position(|frame| Some(*frame) == pc).unwrap_or(0);
    frames[struck..].to_vec()
}

fn module(line: &str) -> Option<Module> {
    let mut parts = line.strip_prefix("module ")?.splitn(4, ' ');
    let mut number = || usize::from_str_radix(parts.next()?, 16).ok();
    let (bias, start, end) = (number()?, number()?, number()?);
    Some(Module { bias, start, end, path: parts.next().unwrap_or_default().to_owned() })
}

/// An address of the dead process, in this one.
fn moved(address: usize, then: &[Module], now: &[Module]) -> Option<usize> {
    let there = then.iter().find(|module| (module.start..module.end).contains(&address))?;
    let here = now.iter().find(|module| module.path == there.path)?;
    Some(address.wrapping_sub(there.bias).wrapping_add(here.bias))
}

fn describe(index: usize, address: usize, out: &mut String) {
    let before = out.len();
    // It takes addresses for return addresses, one past the call.
    backtrace::resolve((address + 1) as *mut _, |symbol| {
        let name = symbol.name().map(|name| format!("{name:#}"));
        let file = symbol.filename().map(|file| file.display().to_string());
        let clean = |text: String| text.replace(['\n', '\t'], " ");
        let _ = writeln!(
            out,
            "symbol {index} {} {}\t{}",
            symbol.lineno().unwrap_or(0),
            clean(file.unwrap_or_default()),
            clean(name.unwrap_or_default())
        );
    });
    if out.len() == before {
        let _ = writeln!(out, "symbol {index} 0 \t{address:#x}");
    }
}
