//! What must never be printed: credentials, and the scrubber that takes them out of every text.

use aho_corasick::AhoCorasick;
use secrecy::{ExposeSecret, SecretString};

use crate::limit;

/// A credential. It does not print, does not serialise, and is read in one visible way.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a credential.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The credential itself; call it only where it leaves for its server.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Replaces every known secret in a text by `[secret:NAME]`, before the text is hashed, stored or shown.
#[derive(Debug, Clone, Default)]
pub struct Scrubber {
    finder: Option<AhoCorasick>,
    names: Vec<String>,
}

impl Scrubber {
    /// A scrubber for these credentials, each with the name of the variable that held it. Values shorter than
    /// `limit::SECRET_MIN_BYTES` are left out: replacing them would tear ordinary words apart.
    pub fn new(secrets: &[(String, Secret)]) -> Self {
        let kept: Vec<_> =
            secrets.iter().filter(|(_, secret)| secret.expose().len() >= limit::SECRET_MIN_BYTES).collect();
        if kept.is_empty() {
            return Self::default();
        }
        let finder = AhoCorasick::builder()
            .match_kind(aho_corasick::MatchKind::LeftmostLongest)
            .build(kept.iter().map(|(_, secret)| secret.expose()))
            .expect("a handful of short patterns always builds");
        Self {
            finder: Some(finder),
            names: kept.iter().map(|(name, _)| format!("[secret:{name}]")).collect(),
        }
    }

    /// The secrets among named values, such as those of the environment: values that look like a credential and whose name
    /// speaks of one, the lines of private keys, and passwords in addresses.
    pub fn credentials_in(variables: &std::collections::BTreeMap<String, String>) -> Vec<(String, Secret)> {
        let parts = variables.iter().flat_map(|(name, value)| {
            let whole = (names_a_credential(name) && looks_random(value)).then_some(value.as_str());
            let parts = whole.into_iter().chain(password_in(value)).chain(lines_of_key(value));
            parts.map(|part| (name.clone(), Secret::new(part.to_owned())))
        });
        parts.collect()
    }

    /// The text without secrets.
    pub fn scrub(&self, text: &str) -> String {
        match &self.finder {
            Some(finder) => finder.replace_all(text, &self.names),
            None => text.to_owned(),
        }
    }

    /// The value with every string in it scrubbed, keys included.
    pub fn scrub_json(&self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        if self.finder.is_none() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.scrub(&text)),
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.scrub_json(item)).collect())
            }
            Value::Object(map) => Value::Object(
                map.into_iter().map(|(key, value)| (self.scrub(&key), self.scrub_json(value))).collect(),
            ),
            scalar => scalar,
        }
    }

    /// The bytes without secrets; `None` if they hold none.
    pub fn scrub_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let finder = self.finder.as_ref().filter(|finder| finder.is_match(bytes))?;
        Some(finder.replace_all_bytes(bytes, &self.names))
    }

    /// Whether the text holds one of the marks that `scrub` leaves.
    pub fn has_mark(&self, text: &str) -> bool {
        self.names.iter().any(|mark| text.contains(mark.as_str()))
    }
}

/// Whether a text looks as if a scrubber had taken something out of it.
pub fn is_scrubbed(text: &str) -> bool {
    parts(text).len() > 1
}

/// Whether a text is what this one was before it was scrubbed, whatever stood where the marks are.
pub fn fits_scrubbed(text: &str, scrubbed: &str) -> bool {
    let parts = parts(scrubbed);
    let (Some((first, rest)), true) = (parts.split_first(), text.len() >= parts.concat().len()) else {
        return false;
    };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let Some((last, between)) = rest.split_last() else { return left.is_empty() };
    for part in between {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// What of a text stands between the marks.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut left = text;
    while let Some(start) = left.find("[secret:") {
        let Some(end) = left[start..].find(']') else { break };
        parts.push(&left[..start]);
        left = &left[start + end + 1..];
    }
    parts.push(left);
    parts
}

/// Whether a variable's name says that it holds a credential.
pub fn names_a_credential(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["API_KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PRIVATE_KEY", "CREDENTIAL", "ACCESS_KEY"]
        .iter()
        .any(|word| name.contains(word))
}

/// The password of an address: `postgres://user:PASSWORD@host/`.
pub fn password_in(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

/// A private key, and its lines between its marks: whoever shows a file may show them one by one.
fn lines_of_key(value: &str) -> impl Iterator<Item = &str> {
    let key = value.contains("PRIVATE KEY-----").then(|| value.trim());
    let lines = key.into_iter().flat_map(str::lines).map(str::trim);
    key.into_iter().chain(lines.filter(|line| line.len() >= 16 && !line.starts_with("-----")))
}

/// Whether a text looks like a token whatever its name: one run of letters and digits that no word has.
pub fn looks_like_a_token(value: &str) -> bool {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+=".contains(&byte));
    let mixed = |run: &str| {
        let has = |kind: fn(&u8) -> bool| run.bytes().filter(kind).count() >= 3;
        run.len() >= 12 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    is_plain && looks_random(value) && value.split(['_', '-', '+', '=']).any(mixed)
}

fn looks_random(value: &str) -> bool {
    if value.len() < 12 || value.contains(char::is_whitespace) || value.starts_with('/') {
        return false;
    }
    let mut counts = [0u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let total = value.len() as f64;
    let entropy: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum();
    entropy >= 2.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_what_is_left_of_it() {
        let kept = "key: [secret:A]\nother: [secret:B]\nend\n";
        assert!(is_scrubbed(kept) && !is_scrubbed("a [secret: b"));
        assert!(fits_scrubbed("key: one\nother: two\nend\n", kept));
        assert!(!fits_scrubbed("key: one\nanother: two\nend\n", kept));
        assert!(!fits_scrubbed("key: one\nother: two\n", kept));
        assert!(fits_scrubbed("plain", "plain") && !fits_scrubbed("plain", "plai"));
    }

    #[test]
    fn passwords_and_the_lines_of_keys_are_found_whatever_their_variable_is_called() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nshort\n-----END PRIVATE KEY-----\n";
        let variables = [
            ("DATABASE", "postgres://team:pw-of-the-team@db.test:5432/team?x=1@y"),
            ("PAGE", "https://x.test/a:b@c"),
            ("SIGNING", key),
            ("PLAIN", "a text with words"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let found: Vec<_> = Scrubber::credentials_in(&variables)
            .into_iter()
            .map(|(name, secret)| (name, secret.expose().to_owned()))
            .collect();
        let expected = [
            ("DATABASE", "pw-of-the-team"),
            ("SIGNING", key.trim()),
            ("SIGNING", "MIIEvQIBADANBgkqhkiG9w0B"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn tokens_are_told_from_words_versions_and_paths() {
        for token in ["pat9f2d6b83e7a15c40", "tok-4f8a1c9e77b2d056"] {
            assert!(looks_like_a_token(token), "{token}");
        }
        for word in [
            "claude-sonnet-4-5-20250929",
            "production-database",
            "/opt/a1b2c3d4e5f6a7b8",
            "20261126120000",
            "a b",
        ] {
            assert!(!looks_like_a_token(word), "{word}");
        }
    }

    #[test]
    fn scrubs_text_and_json_and_prints_nothing() {
        let secret = Secret::new("sk-ant-0123456789".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let scrubber = Scrubber::new(&[("ANTHROPIC_API_KEY".to_owned(), secret)]);
        assert_eq!(scrubber.scrub("key sk-ant-0123456789."), "key [secret:ANTHROPIC_API_KEY].");
        let bytes = scrubber.scrub_bytes(b"\xff\0sk-ant-0123456789\xff").unwrap();
        assert_eq!(bytes, b"\xff\0[secret:ANTHROPIC_API_KEY]\xff");
        assert_eq!(scrubber.scrub_bytes(b"\xff"), None);
        let value = serde_json::json!({"a": ["x sk-ant-0123456789"]});
        assert_eq!(scrubber.scrub_json(value), serde_json::json!({"a": ["x [secret:ANTHROPIC_API_KEY]"]}));
        assert!(scrubber.has_mark("curl [secret:ANTHROPIC_API_KEY]"));
    }

    #[test]
    fn finds_credentials_by_name_and_look() {
        let env = [
            ("GITHUB_TOKEN", "ghp_a8Zk3Lq9Xw2"),
            ("TOKEN_FILE", "/run/secrets/token-of-mine"),
            ("MY_TOKEN", "aaaaaaaaaaaaaaaa"),
            ("HOME", "ghp_a8Zk3Lq9Xw2"),
        ];
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let found: Vec<_> = Scrubber::credentials_in(&env).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["GITHUB_TOKEN"]);
    }
}
