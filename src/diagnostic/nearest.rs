//! Which known name somebody most likely meant.

/// The candidate closest to `written`, if one is close enough that the mistake is likely a slip.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| *candidate != written)
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter_map(|(distance, candidate)| Some((distance?, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many slips lie between two words, if no more than likely. Of paths in one folder the names are compared, without
/// the ending that they share.
fn distance(written: &str, candidate: &str) -> Option<usize> {
    let folder = |path: &str| path.rfind('/').map_or(0, |at| at + 1);
    let shared = folder(written);
    let is_file = |path: &str| path[folder(path)..].contains('.');
    let is_beside = is_file(written)
        && is_file(candidate)
        && shared > 0
        && folder(candidate) == shared
        && written[..shared] == candidate[..shared];
    let (mut written, mut candidate) = match is_beside {
        true => (&written[shared..], &candidate[shared..]),
        false => (written, candidate),
    };
    if shared > 0
        && let (Some((name, ending)), Some((other, same))) =
            (written.rsplit_once('.'), candidate.rsplit_once('.'))
        && ending == same
    {
        (written, candidate) = (name, other);
    }
    let length = written.chars().count();
    let allowed = (length / 3).clamp(1, 4);
    if candidate.chars().count().abs_diff(length) > allowed {
        return None;
    }
    // What both begin and end with makes no difference, and most of a file's names are alike.
    let begins = shared_begin(written.chars(), candidate.chars());
    let (left, right) = (&written[begins..], &candidate[begins..]);
    let ends = shared_begin(left.chars().rev(), right.chars().rev());
    let (left, right) = (&left[..left.len() - ends], &right[..right.len() - ends]);
    if differing(left, right) > allowed {
        return None;
    }
    let distance = strsim::damerau_levenshtein(left, right);
    // What has no letter in common resembles nothing.
    (distance <= allowed && (distance < length || distance == 0)).then_some(distance)
}

/// The bytes of one word that have no equal in the other: no fewer slips lie between them, four to a character at most.
fn differing(left: &str, right: &str) -> usize {
    let mut more = [0_i32; 256];
    left.bytes().for_each(|byte| more[usize::from(byte)] += 1);
    right.bytes().for_each(|byte| more[usize::from(byte)] -= 1);
    let (left_only, right_only) = more.iter().fold((0, 0), |(left, right), count| match count {
        0 => (left, right),
        n if *n > 0 => (left + n, right),
        n => (left, right - n),
    });
    let bytes = left_only.max(right_only).unsigned_abs() as usize;
    if left.is_ascii() && right.is_ascii() { bytes } else { bytes / 4 }
}

/// The bytes of the characters with which both begin.
fn shared_begin(left: impl Iterator<Item = char>, right: impl Iterator<Item = char>) -> usize {
    left.zip(right).take_while(|(left, right)| left == right).map(|(c, _)| c.len_utf8()).sum()
}

/// Most names that a message lists.
const LISTED: usize = 20;

/// Names to choose from, in a list that can be read.
pub fn some_of(names: &[&str]) -> String {
    match names.len().checked_sub(LISTED).filter(|more| *more > 1) {
        Some(more) => format!("{} and {more} more", names[..LISTED].join(", ")),
        None => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        assert_eq!(some_of(&["a", "b"]), "a, b");
        let many = vec!["x"; 22];
        assert_eq!(some_of(&many), format!("{} and 2 more", ["x"; 20].join(", ")));
        assert!(!some_of(&many[..21]).contains("more"));
    }

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["prompt", "pool", "claim", "max_iterations"];
        assert_eq!(nearest("promt", known), Some("prompt"));
        assert_eq!(nearest("Claim", known), Some("claim"));
        assert_eq!(nearest("max-iterations", known), Some("max_iterations"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("b", ["a", "B"]), Some("B"));
        assert_eq!(nearest("b", ["a"]), None);
        assert_eq!(nearest("größe", ["groesse", "gröse", "grüße"]), Some("gröse"));
        assert_eq!(nearest("prüfugn", ["prüfung"]), Some("prüfung"));
    }

    #[test]
    fn files_of_one_folder_are_compared_by_their_names() {
        let known = ["prompts/plain.md", "prompts/latin.md", "other/system.md"];
        assert_eq!(nearest("prompts/plan.md", known), Some("prompts/plain.md"));
        assert_eq!(nearest("prompts/sytem.md", known), None);
        assert_eq!(nearest("prompts/nothing.md", known), None);
        assert_eq!(nearest("promts/plain.md", known), Some("prompts/plain.md"));
        assert_eq!(nearest("prompts/plain.txt", known), Some("prompts/plain.md"));
        assert_eq!(nearest("work/worker/9", ["work/worker/1"]), Some("work/worker/1"));
    }
}
