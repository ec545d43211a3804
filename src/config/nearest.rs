//! "Did you mean …?": the candidate that a misspelt word is nearest to.

/// Greatest number of slips in a word that is still recognised; with more, guesses mislead.
const SLIPS_MAX: usize = 2;

/// The candidate nearest to `word`, if it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    // In a word of three letters, two slips leave nothing of it.
    let slips_max = SLIPS_MAX.min(word.chars().count() / 2);
    candidates
        .into_iter()
        .map(|candidate| (slips(&word, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, drop, change or swap with a neighbour to make one word of the other.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let changed = last[j] + usize::from(letter != other);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const KEYS: [&str; 5] = ["schedule", "suspend", "keep_weekly", "keep_yearly", "jobs"];

    #[rstest]
    #[case("shedule", Some("schedule"))]
    #[case("scheduel", Some("schedule"))]
    #[case("keep-weekly", Some("keep_weekly"))]
    #[case("Jobs", Some("jobs"))]
    #[case("keep_weakly", Some("keep_weekly"))]
    #[case("cron", None)]
    #[case("", None)]
    fn a_word_with_up_to_two_slips_is_recognised(#[case] word: &str, #[case] expected: Option<&str>) {
        assert_eq!(nearest(word, KEYS), expected);
    }
}
