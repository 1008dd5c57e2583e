//! What was probably meant by a name that is not known.

/// The name that was probably meant by `unknown`, if there is one that is close.
pub(crate) fn closest<'a>(unknown: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &'a str| (strsim::jaro_winkler(unknown, name), name);
    let close = names.into_iter().map(likeness).filter(|(likeness, _)| *likeness > 0.8);
    close.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

/// The same as a sentence with a space before it; empty when there is none.
pub(crate) fn did_you_mean(unknown: &str, names: &[&str]) -> String {
    closest(unknown, names.iter().copied()).map_or_else(String::new, |name| format!(" Did you mean '{name}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_given_for_near_names_only() {
        assert_eq!(did_you_mean("webook", &["endpoint", "webhook"]), " Did you mean 'webhook'?");
        assert_eq!(did_you_mean("colour", &["endpoint", "webhook", "id"]), "");
        assert_eq!(did_you_mean("", &["endpoint"]) + &did_you_mean("x", &[]), "");
    }
}
