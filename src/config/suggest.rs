//! What a misspelt name was probably meant to be.

/// The nearest of the known names, if one is near enough to be meant.
pub fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let ranked = known.map(|name| (distance(given, name), name)).min()?;
    let near = ranked.0 <= given.len().min(ranked.1.len()) / 3;
    near.then_some(ranked.1)
}

/// Edits (insert, delete, replace) from one to the other, by bytes.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, byte) in from.bytes().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (at, other) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["write_wait", "pong_wait", "listen"];
        let suggest = |given: &str| nearest(given, known.into_iter());
        assert_eq!(suggest("write_wiat"), Some("write_wait"));
        assert_eq!(suggest("listn"), Some("listen"));
        assert_eq!(suggest("colour"), None);
        assert_eq!(suggest(""), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
