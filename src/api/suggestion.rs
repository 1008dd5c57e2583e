//! What was probably meant by a name that is not known.

/// A hint at the known name that was probably meant, as a sentence with a space before it; empty when there is none.
pub(super) fn did_you_mean(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (distance(name, known), known)).min();
    nearest
        .filter(|(far, known)| *far <= known.len() / 3)
        .map_or_else(String::new, |(_, known)| format!(" Did you mean '{known}'?"))
}

/// How many bytes have to be put in, taken out or exchanged to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let exchanged = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_given_for_near_names_only() {
        assert_eq!(did_you_mean("webook", &["endpoint", "webhook"]), " Did you mean 'webhook'?");
        assert_eq!(did_you_mean("colour", &["endpoint", "webhook", "id"]), "");
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
    }
}
