//! How a text is cut into the small pieces that a stream carries it in.

/// The text in pieces of at most `size` characters.
pub fn pieces(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().nth(size).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_between_characters_and_give_the_text_again() {
        let text = "a東京é";
        assert_eq!(pieces(text, 2).collect::<Vec<_>>(), ["a東", "京é"]);
        assert_eq!(pieces(text, 1).collect::<String>(), text);
        assert_eq!(pieces("", 3).count(), 0);
    }
}
