//! What names the things of a run: newtype ids, the hashes that identify content, and ids derived instead of drawn.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that is already in the right form.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_id!(
    /// One run of a scenario: a UUID of version 7, so that names sort by time.
    RunId
);
text_id!(
    /// A phase of a scenario, as written in the file (kebab-case); one within another is known as `OUTER.ID`, an item of
    /// a `for_each` as `ID.N`, a phase in the N-th round of a repetition as `OUTER.N.ID`.
    PhaseId
);
text_id!(
    /// A role of a scenario, as written in the file (kebab-case); one of an included scenario is `PHASE.ID`.
    RoleId
);
text_id!(
    /// The shown name of a session: the role, or `{role}-{n}` in a pool.
    SessionName
);
text_id!(
    /// An issue of the queue: `bd-` and eight base-36 characters, or whatever an imported file said.
    IssueId
);

impl PhaseId {
    /// The ids in the file that it is made of, outer ones first; without the numbers of items and rounds.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('.').filter(|name| !name.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// A phase within this one.
    #[must_use]
    pub fn inner(&self, id: &Self) -> Self {
        Self(format!("{}.{id}", self.0))
    }

    /// One of its items or rounds, from 1.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Self {
        Self(format!("{}.{number}", self.0))
    }

    /// The phase, item or round that it is within; none if it stands at the top.
    pub fn outer(&self) -> Option<Self> {
        self.0.rsplit_once('.').map(|(outer, _)| Self(outer.to_owned()))
    }
}

impl RoleId {
    /// The id in its own file: `critic` of `review.critic`.
    pub fn local(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(_, local)| local)
    }
}

impl RunId {
    /// A new id; sorts after every id made earlier on this machine.
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }

    /// When it was made, in seconds since 1970: also a replay and a scripted run, which live in another time, have that.
    pub fn made_at(&self) -> Option<u64> {
        Some(uuid::Uuid::parse_str(&self.0).ok()?.get_timestamp()?.to_unix().0)
    }
}

/// The first 64 bits of a SHA-256, as 16 hex digits: enough to tell texts of one recording apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex(&Sha256::digest(bytes)[..8]))
    }

    /// The fingerprint of a value's canonical JSON: equal values have equal fingerprints, whatever the order of their keys.
    pub fn of_json(value: &serde_json::Value) -> Self {
        Self::of(canonical_json(value).as_bytes())
    }

    /// The sixteen hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads back what `as_str` wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        (text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// JSON with sorted keys and no white space: one text for one value.
pub fn canonical_json(value: &serde_json::Value) -> String {
    use serde_json::Value;
    fn scalar(value: &impl Serialize, out: &mut Vec<u8>) {
        serde_json::to_writer(out, value).expect("memory takes every byte, and a scalar is plain data");
    }
    fn write(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                out.push(b'{');
                for (at, (key, value)) in entries.into_iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    scalar(key, out);
                    out.push(b':');
                    write(value, out);
                }
                out.push(b'}');
            }
            Value::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write(item, out);
                }
                out.push(b']');
            }
            other => scalar(other, out),
        }
    }
    let mut out = Vec::new();
    write(value, &mut out);
    String::from_utf8(out).expect("JSON of texts is a text")
}

/// The seed of a run: every id made inside the run follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(String);

impl Seed {
    /// A seed from a text, as `--seed` gives it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A random seed.
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }

    /// The seed as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Makes the ids of one effect: the n-th id is a function of seed, effect and n, never of time or of other sessions.
#[derive(Debug)]
pub struct IdSource {
    root: String,
    next: AtomicU32,
}

impl IdSource {
    /// Ids for `scope`, the text of an effect id without its attempt.
    pub fn new(seed: &Seed, scope: &str) -> Self {
        Self { root: format!("{}\0{scope}", seed.as_str()), next: AtomicU32::new(0) }
    }

    /// The next id: eight base-36 characters.
    pub fn next(&self) -> String {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::digest(format!("{}\0{n}", self.root));
        base36(&digest[..8])
    }

    /// The next issue id, `bd-` and eight characters.
    pub fn next_issue(&self) -> IssueId {
        IssueId::new(format!("bd-{}", self.next()))
    }
}

fn base36(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut number = bytes.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
    let mut out = [b'0'; 8];
    for digit in &mut out {
        *digit = DIGITS[(number % 36) as usize];
        number /= 36;
    }
    String::from_utf8(out.to_vec()).expect("base-36 digits are ASCII")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_seed_effect_and_count() {
        let ids = |scope: &str| {
            let source = IdSource::new(&Seed::new("s"), scope);
            [source.next_issue(), source.next_issue()]
        };
        assert_eq!(ids("work/a/1.1"), ids("work/a/1.1"));
        assert_ne!(ids("work/a/1.1")[0], ids("work/a/1.1")[1]);
        assert_ne!(ids("work/a/1.1")[0], ids("work/b/1.1")[0]);
        assert_eq!(ids("x")[0].as_str().len(), 11);
    }

    #[test]
    fn canonical_json_sorts_at_every_depth() {
        let value = serde_json::json!({"b": [{"z": 1, "a": "é\n"}], "a": null});
        assert_eq!(canonical_json(&value), r#"{"a":null,"b":[{"a":"é\n","z":1}]}"#);
    }
}
