//! Heap: which functions allocated what is in use, as jemalloc sampled it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use tikv_jemalloc_ctl::raw;

use crate::profile::{Builder, Kind};

/// Begins to take samples. The error says why there can be none.
pub(crate) fn activate() -> Result<(), String> {
    // SAFETY: jemalloc documents `opt.prof` as a bool that can be read.
    let possible: bool = unsafe { raw::read(b"opt.prof\0") }
        .map_err(|error| format!("the program's allocator has no heap profiles ({error})"))?;
    if !possible {
        return Err("jemalloc was started without `prof:true`".to_owned());
    }
    // SAFETY: jemalloc documents `prof.active` as a bool that can be written.
    unsafe { raw::write(b"prof.active\0", true) }.map_err(|error| format!("jemalloc takes no samples: {error}"))
}

/// The profile of what is in use now. Blocks while names are looked up.
pub(crate) fn dump() -> Result<Vec<u8>, String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| format!("no temporary file: {error}"))?;
    let path = CString::new(file.path().as_os_str().as_bytes()).map_err(|_| "a path with a zero byte".to_owned())?;
    // SAFETY: jemalloc documents `prof.dump` as a C string that can be written, and only reads it during the call.
    unsafe { raw::write(b"prof.dump\0", path.as_ptr()) }
        .map_err(|error| format!("jemalloc does not write its samples to {}: {error}", file.path().display()))?;
    let text = std::fs::read_to_string(file.path()).map_err(|error| format!("{}: {error}", file.path().display()))?;
    convert(&text)
}

/// Turns jemalloc's own form (`heap_v2`) into a profile.
fn convert(text: &str) -> Result<Vec<u8>, String> {
    let mut lines = text.lines();
    let rate = lines.next().and_then(|head| head.strip_prefix("heap_v2/")?.parse::<u32>().ok());
    let rate = rate.ok_or("jemalloc wrote samples of an unknown form")?;
    let values = &[("inuse_objects", "count"), ("inuse_space", "bytes")];
    // The allocator's own work: what called it is asked for.
    let drop_frames = "_rjem_.*|(alloc|tikv_jemallocator)::.*|__rust_.*|prof_.*";
    let kind = Kind { values, period_type: ("space", "bytes"), period: i64::from(rate), drop_frames };
    let mut profile = Builder::new(&kind, Duration::ZERO);
    let mut stack: Option<Vec<usize>> = None;
    for line in lines {
        if line.starts_with("MAPPED_LIBRARIES") {
            break;
        }
        if let Some(addresses) = line.strip_prefix("@ ") {
            let parse = |address: &str| usize::from_str_radix(address.trim_start_matches("0x"), 16).ok();
            stack = Some(addresses.split_whitespace().filter_map(parse).collect());
        } else if let Some(sampled) = line.trim_start().strip_prefix("t*: ")
            && let Some(stack) = stack.take()
        {
            // `t*: objects: bytes [...]`, over all threads.
            let mut numbers = sampled.split([':', ' ']).filter_map(|number| number.parse::<f64>().ok());
            let (objects, bytes) = (numbers.next().unwrap_or(0.0), numbers.next().unwrap_or(0.0));
            if objects > 0.0 {
                let scale = scale(bytes / objects, f64::from(rate));
                profile.add(&stack, vec![(objects * scale) as i64, (bytes * scale) as i64], None);
            }
        }
    }
    Ok(profile.finish())
}

/// How many allocations of a size each sampled one stands for: a byte is sampled with the probability 1 / rate, so an
/// allocation of `size` bytes with 1 - e^(-size / rate).
fn scale(size: f64, rate: f64) -> f64 {
    1.0 / -(-size / rate).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_allocations_stand_for_many_and_large_ones_for_themselves() {
        assert!((scale(512.0, 524_288.0) - 1_024.5).abs() < 0.1);
        assert!((scale(1e9, 524_288.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_form_of_jemalloc_is_read_and_another_one_refused() {
        let text = "heap_v2/524288\n  t*: 2: 300 [0: 0]\n  t0: 2: 300 [0: 0]\n@ 0x1000 0x2000\n  t*: 1: 600000 [0: 0]\n  t0: 1: 600000 [0: 0]\n\nMAPPED_LIBRARIES:\n@ 0x1\n";
        assert!(convert(text).unwrap().starts_with(&[0x1f, 0x8b]));
        assert!(convert("heap profile: 1").unwrap_err().contains("unknown form"));
    }
}
