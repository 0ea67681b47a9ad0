//! The sum: tokens with their counts in, the weighted sum of their rows out.

/// Adds `root * weight * row` of each piece to the vector, which may be shorter than the rows. A piece is a token's
/// number and the square root of its count.
pub(super) fn weighted(vector: &mut [f32], pieces: &[(u16, f32)], weights: &[f32], rows: &[u8], width: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, the one thing the function needs beyond what every x86-64 has.
        return unsafe { weighted_avx2(vector, pieces, weights, rows, width) };
    }
    weighted_any(vector, pieces, weights, rows, width);
}

/// The same code for wider registers. No step of it is fused or reordered, so the sums are equal to the last bit.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn weighted_avx2(vector: &mut [f32], pieces: &[(u16, f32)], weights: &[f32], rows: &[u8], width: usize) {
    weighted_any(vector, pieces, weights, rows, width);
}

#[inline(always)]
fn weighted_any(vector: &mut [f32], pieces: &[(u16, f32)], weights: &[f32], rows: &[u8], width: usize) {
    let length = vector.len();
    let row = |&(token, root): &(u16, f32)| {
        let start = token as usize * width;
        (&rows[start..start + length], root * weights[token as usize])
    };
    let (fours, rest) = pieces.as_chunks::<4>();
    for [a, b, c, d] in fours {
        let ((a, wa), (b, wb), (c, wc), (d, wd)) = (row(a), row(b), row(c), row(d));
        let (a, b, c, d) = (&a[..length], &b[..length], &c[..length], &d[..length]);
        // Plain indices: zipped iterators are not inlined in every profile.
        for (place, sum) in vector.iter_mut().enumerate() {
            *sum = *sum + wa * value(a[place]) + wb * value(b[place]) + wc * value(c[place]) + wd * value(d[place]);
        }
    }
    for piece in rest {
        let (row, weight) = row(piece);
        for (place, sum) in vector.iter_mut().enumerate() {
            *sum += weight * value(row[place]);
        }
    }
}

#[inline(always)]
fn value(byte: u8) -> f32 {
    byte as i8 as f32
}
