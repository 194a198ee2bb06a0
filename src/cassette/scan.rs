//! Whether a text holds what looks like a credential: by the shapes that issuers give them, plain or in base64.

/// Beginnings of credentials, how long the rest must be at least, and what they are.
const SHAPES: [(&str, usize, &str); 14] = [
    ("sk-ant-", 20, "an Anthropic key"),
    ("sk-proj-", 20, "an OpenAI key"),
    ("sk-svcacct-", 20, "an OpenAI key"),
    ("gsk_", 40, "a Groq key"),
    ("sk-or-v1-", 20, "an OpenRouter key"),
    ("ghp_", 30, "a GitHub token"),
    ("gho_", 30, "a GitHub token"),
    ("ghs_", 30, "a GitHub token"),
    ("github_pat_", 30, "a GitHub token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("AKIA", 16, "an AWS access key"),
    ("AIza", 35, "a Google API key"),
    ("glpat-", 20, "a GitLab token"),
];

const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// What the text holds that looks like a credential, if anything.
pub(super) fn secret_in(text: &str) -> Option<&'static str> {
    if text.contains(PRIVATE_KEY) {
        return Some("a private key");
    }
    SHAPES.iter().find(|(start, rest, _)| has_shape(text, start, *rest)).map(|(_, _, what)| *what).or_else(
        || {
            let hidden = |start: &str| base64_forms(start).iter().any(|form| text.contains(form.as_str()));
            SHAPES
                .iter()
                .filter(|(start, _, _)| start.len() >= 7)
                .find(|(start, _, _)| hidden(start))
                .map(|(_, _, w)| *w)
        },
    )
}

fn has_shape(text: &str, start: &str, rest: usize) -> bool {
    text.match_indices(start).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let run =
            text[at + start.len()..].bytes().take_while(|b| b.is_ascii_alphanumeric() || b"-_".contains(b));
        !before.is_some_and(|c| c.is_ascii_alphanumeric()) && run.count() >= rest
    })
}

/// How a text looks inside base64, for each of the three places it can begin at, without the characters that depend on
/// what stands around it.
fn base64_forms(text: &str) -> [String; 3] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    [0usize, 1, 2].map(|offset| {
        let mut bytes = vec![0u8; offset];
        bytes.extend_from_slice(text.as_bytes());
        let whole = bytes.len() * 8 / 6;
        let digit = |at: usize| {
            let bit = at * 6;
            let pair =
                (u16::from(bytes[bit / 8]) << 8) | u16::from(bytes.get(bit / 8 + 1).copied().unwrap_or(0));
            DIGITS[usize::from((pair >> (10 - bit % 8)) & 63)] as char
        };
        let skip = (offset * 8).div_ceil(6);
        (skip..whole).map(digit).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_keys_by_their_shape_plain_and_in_base64() {
        let key = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv";
        assert_eq!(secret_in(&format!("key: {key}")), Some("an Anthropic key"));
        assert_eq!(secret_in("-----BEGIN RSA PRIVATE KEY-----"), Some("a private key"));
        // echo -n 'sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv' | base64, and the same one and two bytes further in.
        for hidden in [
            "c2stYW50LWFwaTAzLUFiQ2RFZkdoSWpLbE1uT3BRclN0VXY=",
            "eHNrLWFudC1hcGkwMy1BYkNkRWZHaElqS2xNbk9wUXJTdFV2",
            "eHhzay1hbnQtYXBpMDMtQWJDZEVmR2hJaktsTW5PcFFyU3RVdg==",
        ] {
            assert_eq!(secret_in(hidden), Some("an Anthropic key"), "{hidden}");
        }
    }

    #[test]
    fn ordinary_words_pass() {
        for text in
            ["the task-anthropology department", "sk-ant-", "set ANTHROPIC_API_KEY", "AKIA", "desk-proj-x"]
        {
            assert_eq!(secret_in(text), None, "{text}");
        }
    }
}
