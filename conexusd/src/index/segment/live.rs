//! Live: which file rows of a segment are part of the index.

/// A set of rows, with its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    words: Vec<u64>,
    rows: u32,
    alive: u32,
}

impl Live {
    /// All of `rows` rows.
    pub fn all(rows: u32) -> Self {
        let mut words = vec![u64::MAX; rows.div_ceil(64) as usize];
        if let (Some(last), used @ 1..) = (words.last_mut(), rows % 64) {
            *last = (1 << used) - 1;
        }
        Self { words, rows, alive: rows }
    }

    /// Takes a row out. Returns whether it was in.
    pub fn remove(&mut self, row: u32) -> bool {
        let (word, bit) = (row as usize / 64, 1u64 << (row % 64));
        let was = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        self.alive -= u32::from(was);
        was
    }

    /// Whether a row is in.
    #[inline]
    pub fn contains(&self, row: u32) -> bool {
        row < self.rows && self.words[row as usize / 64] & (1 << (row % 64)) != 0
    }

    /// Rows that are in.
    pub fn alive(&self) -> u32 {
        self.alive
    }

    /// Rows, dead ones included.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The rows that are in, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.rows).filter(|&row| self.contains(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_row_is_dead_and_the_others_are_counted() {
        for rows in [0, 1, 63, 64, 65, 130] {
            let mut live = Live::all(rows);
            assert_eq!(live.iter().count() as u32, rows);
            assert!(!live.contains(rows));
            if rows > 0 {
                assert!(live.remove(rows - 1));
                assert!(!live.remove(rows - 1));
                assert_eq!((live.alive(), live.contains(rows - 1)), (rows - 1, false));
            }
        }
    }
}
