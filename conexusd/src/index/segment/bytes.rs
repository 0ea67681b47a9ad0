//! Bytes: how numbers, vectors and hashes stand in a segment.

/// The bytes of a vector as what they are.
#[inline]
pub(crate) fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: `u8` and `i8` have the same size and alignment and every bit pattern is valid for both.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<i8>(), bytes.len()) }
}

/// A vector as bytes.
#[inline]
pub(crate) fn unsigned(vector: &[i8]) -> &[u8] {
    // SAFETY: as in `signed`.
    unsafe { std::slice::from_raw_parts(vector.as_ptr().cast::<u8>(), vector.len()) }
}

/// The hash of paths and names: FNV-1a with a final mix, the same in every version.
pub fn hash64(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// The hash of a term in the forward index.
pub fn hash32(term: &str) -> u32 {
    hash64(term.as_bytes()) as u32
}

/// The hash of a name in the definitions table: that of its lower-case form.
pub fn name_hash(name: &str) -> u64 {
    if name.is_ascii() { hash64(name.to_ascii_lowercase().as_bytes()) } else { hash64(name.to_lowercase().as_bytes()) }
}

/// The first of `0..count` for which `below` is false.
pub(super) fn partition(count: u32, below: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[inline]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
