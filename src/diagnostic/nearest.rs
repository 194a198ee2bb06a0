//! Which known name somebody most likely meant.

/// The candidate closest to `written`, if one is close enough that the mistake is likely a slip.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let allowed = (written.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != written)
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["prompt", "pool", "claim", "max_iterations"];
        assert_eq!(nearest("promt", known), Some("prompt"));
        assert_eq!(nearest("Claim", known), Some("claim"));
        assert_eq!(nearest("max-iterations", known), Some("max_iterations"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
    }
}
