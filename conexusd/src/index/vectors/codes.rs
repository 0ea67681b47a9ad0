//! Codes: one bit a dimension, to find out fast which vectors are worth a closer look.
//!
//! A vector's code has the signs of its values. Two vectors that point the same way have mostly equal signs, so the
//! nearest few thousand codes hold nearly all of the nearest fifty vectors, at an eighth of the bytes to read.

/// Bytes of the code of a vector of so many dimensions: whole words of 64 bits.
pub const fn bytes_of(dimensions: usize) -> usize {
    dimensions.div_ceil(64) * 8
}

/// Adds the code of a vector to `out`.
pub fn encode(vector: &[i8], out: &mut Vec<u8>) {
    for part in vector.chunks(64) {
        let bits = part.iter().enumerate().fold(0u64, |bits, (i, &value)| bits | u64::from(value > 0) << i);
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

/// In how many bits each of the codes that stand one after the other differs from `query`.
///
/// # Panics
///
/// If `codes` is not `out.len()` times as long as `query`.
pub fn distances(query: &[u8], codes: &[u8], out: &mut [u16]) {
    assert_eq!(codes.len(), query.len() * out.len(), "codes must be as many as distances and as long as the query");
    let query: Vec<u64> = words(query).collect();
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512vpopcntdq") && std::arch::is_x86_feature_detected!("avx512vl") {
            // SAFETY: the processor has the two things that the function needs beyond what every x86-64 has.
            return unsafe { distances_avx512(&query, codes, out) };
        }
        if std::arch::is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has POPCNT, the one thing the function needs beyond what every x86-64 has.
            return unsafe { distances_popcnt(&query, codes, out) };
        }
    }
    distances_any(&query, codes, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512vpopcntdq,avx512vl")]
fn distances_avx512(query: &[u64], codes: &[u8], out: &mut [u16]) {
    distances_any(query, codes, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt")]
fn distances_popcnt(query: &[u64], codes: &[u8], out: &mut [u16]) {
    distances_any(query, codes, out);
}

/// The loop that the compiler fits to each set of instructions; the usual length is known to it.
#[inline(always)]
fn distances_any(query: &[u64], codes: &[u8], out: &mut [u16]) {
    if let Ok(query) = <&[u64; 4]>::try_from(query) {
        for (code, out) in codes.as_chunks::<32>().0.iter().zip(out) {
            let mut distance = 0;
            for (i, word) in code.as_chunks::<8>().0.iter().enumerate() {
                distance += (u64::from_le_bytes(*word) ^ query[i]).count_ones();
            }
            *out = distance as u16;
        }
        return;
    }
    if query.is_empty() {
        return out.fill(0);
    }
    for (code, out) in codes.chunks_exact(query.len() * 8).zip(out) {
        *out = words(code).zip(query).map(|(a, b)| (a ^ b).count_ones() as u16).sum();
    }
}

fn words(code: &[u8]) -> impl Iterator<Item = u64> + '_ {
    code.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_instruction_set_counts_the_signs_that_differ(dimensions in 1usize..400, rows in 0usize..6, seed: u64) {
            let value = |at: usize| (seed.wrapping_mul(at as u64 + 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as i8;
            let query: Vec<i8> = (0..dimensions).map(value).collect();
            let vectors: Vec<i8> = (0..dimensions * rows).map(|at| value(at + 1000)).collect();
            let expected: Vec<u16> = vectors
                .chunks(dimensions)
                .map(|vector| vector.iter().zip(&query).filter(|(a, b)| (**a > 0) != (**b > 0)).count() as u16)
                .collect();
            let (mut code, mut codes) = (Vec::new(), Vec::new());
            encode(&query, &mut code);
            vectors.chunks(dimensions).for_each(|vector| encode(vector, &mut codes));
            prop_assert_eq!(code.len(), bytes_of(dimensions));
            let mut found = vec![0; rows];
            distances(&code, &codes, &mut found);
            prop_assert_eq!(&found, &expected);
            distances_any(&words(&code).collect::<Vec<_>>(), &codes, &mut found);
            prop_assert_eq!(&found, &expected);
        }
    }
}
