//! Suggest: which known name someone probably meant.

/// The known name nearest to an unknown one, if any is near: few edits away from it, or from the end of its path.
pub(crate) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 100;
    if unknown.len() > LONGEST {
        return None;
    }
    let unknown = unknown.to_ascii_lowercase();
    let few_edits = unknown.chars().count().div_ceil(5).min(4);
    known
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_ascii_lowercase();
            let tails = lower.match_indices('.').map(|(dot, _)| &lower[dot + 1..]);
            let whole = distance(&unknown, &lower);
            let edits = tails.map(|tail| distance(&unknown, tail)).fold(whole, usize::min);
            (edits <= few_edits).then_some((edits, whole, name))
        })
        .min_by_key(|(edits, whole, _)| (*edits, *whole))
        .map(|(_, _, name)| name)
}

/// Edits (insert, delete, replace, swap neighbours) between two texts.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = previous[j] + usize::from(a != b);
            let mut best = replaced.min(previous[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_name_is_suggested_and_a_far_one_is_not() {
        let known = ["server.port", "server.host", "observability.metrics.port", "observability.log_level"];
        for (unknown, expect) in [
            ("server.prot", Some("server.port")),
            ("sever.port", Some("server.port")),
            ("SERVER.PORT", Some("server.port")),
            ("log_level", Some("observability.log_level")),
            ("metrics.port", Some("observability.metrics.port")),
            ("prot", Some("server.port")),
            ("log.level", Some("observability.log_level")),
            ("observability.metric.port", Some("observability.metrics.port")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, known), expect, "{unknown}");
        }
    }

    #[test]
    fn swapped_neighbours_are_one_edit() {
        for (one, other, edits) in
            [("prot", "port", 1), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }
}
