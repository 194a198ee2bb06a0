//! How the effects of a recording stand in `ledger.txt`: a line each, so that a change of schedule is lines that move.
//!
//! ```text
//! 12 llm work/coding-worker-1/2 +1.250000 ^4,reply.1:0f…,results.2:9a… - tape =77d0…
//! ```
//!
//! Columns: number, kind, id, seconds since the epoch of the recording, key, footprint, policy, result. A key that begins
//! like that of the session's call before says with `^N` that the first N parts are the same. A result is `=HASH` when it
//! stands in a session's transcript, `@HASH` when it is a blob, else the JSON itself.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::in_transcript;
use crate::clock::Timestamp;
use crate::event::{EffectId, EffectKind, EffectRecord, Footprint, Policy, Recording, Segment};
use crate::id::Fingerprint;
use crate::limit;

const TITLE: &str = "# number kind id time key footprint policy result";

pub(super) fn print(recording: &Recording) -> String {
    let mut out = format!("{TITLE}\n");
    let mut before: HashMap<&str, &[Segment]> = HashMap::new();
    for record in &recording.effects {
        let last = match (record.kind, record.id.session()) {
            (EffectKind::Llm, Some(session)) => before.insert(session, &record.key).unwrap_or_default(),
            _ => &[],
        };
        let since = record.at.duration_since(recording.head.epoch).as_micros();
        let (sign, since) = if since < 0 { ('-', -since) } else { ('+', since) };
        let json = record.result.to_string();
        let result = if in_transcript(record) {
            format!("={}", record.result_hash())
        } else if json.len() > limit::INLINE_RESULT_BYTES {
            format!("@{}", record.result_hash())
        } else {
            json
        };
        let _ = writeln!(
            out,
            "{} {} {} {sign}{}.{:06} {} {} {} {result}",
            record.seq,
            record.kind.as_str(),
            record.id,
            since / 1_000_000,
            since % 1_000_000,
            print_key(&record.key, last),
            record.footprint,
            record.policy.as_str(),
        );
    }
    out
}

fn print_key(key: &[Segment], last: &[Segment]) -> String {
    let same = key.iter().zip(last).take_while(|(a, b)| a.hash == b.hash && a.label == b.label).count();
    let mut parts = Vec::new();
    if same > 0 {
        parts.push(format!("^{same}"));
    }
    parts.extend(key[same..].iter().map(|segment| format!("{}:{}", segment.label, segment.hash)));
    if parts.is_empty() { "-".to_owned() } else { parts.join(",") }
}

/// A line whose result may stand elsewhere.
pub(super) struct Line {
    pub(super) record: EffectRecord,
    elsewhere: Option<Elsewhere>,
}

enum Elsewhere {
    Transcript(Fingerprint),
    Blob(Fingerprint),
}

impl Line {
    /// Fetches the result from where it stands and holds it against the ledger's fingerprint.
    pub(super) fn fill(
        &mut self,
        results: &BTreeMap<EffectId, (&String, Value)>,
        texts: &BTreeMap<Fingerprint, Arc<str>>,
    ) -> Result<(), (String, String)> {
        let id = &self.record.id;
        let (file, hash, result) = match &self.elsewhere {
            None => return Ok(()),
            Some(Elsewhere::Transcript(hash)) => match results.get(id) {
                Some((file, result)) => ((*file).clone(), hash, result.clone()),
                None => {
                    return Err((super::LEDGER.to_owned(), format!("no session holds the result of {id}")));
                }
            },
            Some(Elsewhere::Blob(hash)) => {
                let file = format!("blobs/{hash}");
                let Some(text) = texts.get(hash) else { return Err((file, "it is missing".to_owned())) };
                let result = serde_json::from_str(text).map_err(|error| (file.clone(), error.to_string()))?;
                (file, hash, result)
            }
        };
        if Fingerprint::of_json(&result) != *hash {
            return Err((
                file,
                format!("the result of {id} is not the one of the ledger; was it edited by hand?"),
            ));
        }
        self.record.result = result;
        Ok(())
    }
}

pub(super) fn parse(text: &str, epoch: Timestamp) -> Result<Vec<Line>, String> {
    let mut lines: Vec<Line> = Vec::new();
    let mut before: HashMap<String, Vec<Segment>> = HashMap::new();
    for (number, text) in
        text.lines().enumerate().filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
    {
        let line =
            parse_line(text, epoch, &before).ok_or_else(|| format!("line {} makes no sense", number + 1))?;
        if lines.last().is_some_and(|last| last.record.seq >= line.record.seq) {
            return Err(format!("line {}: the numbers do not rise", number + 1));
        }
        if let (EffectKind::Llm, Some(session)) = (line.record.kind, line.record.id.session()) {
            before.insert(session.to_owned(), line.record.key.clone());
        }
        lines.push(line);
    }
    Ok(lines)
}

fn parse_line(text: &str, epoch: Timestamp, before: &HashMap<String, Vec<Segment>>) -> Option<Line> {
    let mut columns = text.splitn(8, ' ');
    let mut column = || columns.next();
    let seq = column()?.parse().ok()?;
    let kind = EffectKind::from_text(column()?)?;
    let id = EffectId::from_text(column()?);
    let at = parse_time(column()?, epoch)?;
    let last = id.session().and_then(|session| before.get(session)).map(Vec::as_slice).unwrap_or_default();
    let key = parse_key(column()?, last)?;
    let footprint = Footprint::from_text(column()?)?;
    let policy = Policy::from_text(column()?)?;
    let result = column()?;
    let (result, elsewhere) = match result.split_at_checked(1)? {
        ("=", hash) => (Value::Null, Some(Elsewhere::Transcript(Fingerprint::from_text(hash)?))),
        ("@", hash) => (Value::Null, Some(Elsewhere::Blob(Fingerprint::from_text(hash)?))),
        _ => (serde_json::from_str(result).ok()?, None),
    };
    Some(Line { record: EffectRecord { seq, id, kind, at, key, footprint, policy, result }, elsewhere })
}

fn parse_time(text: &str, epoch: Timestamp) -> Option<Timestamp> {
    let (sign, rest) = text.split_at_checked(1)?;
    let (seconds, micros) = rest.split_once('.')?;
    let span = Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros.parse().ok()?);
    match sign {
        "+" => epoch.checked_add(span).ok(),
        "-" => epoch.checked_sub(span).ok(),
        _ => None,
    }
}

fn parse_key(text: &str, last: &[Segment]) -> Option<Vec<Segment>> {
    let mut key = Vec::new();
    if text == "-" {
        return Some(key);
    }
    for part in text.split(',') {
        if let Some(same) = part.strip_prefix('^') {
            key.extend_from_slice(last.get(..same.parse().ok()?)?);
        } else {
            let (label, hash) = part.rsplit_once(':')?;
            key.push(Segment {
                label: label.to_owned(),
                hash: Fingerprint::from_text(hash)?,
                text: Arc::default(),
            });
        }
    }
    Some(key)
}
