//! Is the queue's story the one that the workers tell? The log of events against what each wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use runner::clock::{Timestamp, later};
use runner::id::IssueId;
use rusqlite::Connection;
use serde_json::Value;

use super::log::{Line, Wrote};

/// An event as it stands in the file.
pub(super) struct Event {
    seq: i64,
    run: Option<String>,
    effect: Option<String>,
    issue: IssueId,
    kind: String,
    session: String,
    changes: Value,
    at: Timestamp,
}

type Effect = (String, String);

/// What has been seen, so that a test that saw nothing is found out.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub claims: usize,
    pub written: usize,
    pub refused: usize,
    /// Runs of which something failed because the file could not be used.
    pub failed: BTreeSet<String>,
    pub lapsed: usize,
    /// Asked, never answered.
    pub unanswered: usize,
}

pub(super) fn events(conn: &Connection) -> Vec<Event> {
    let sql =
        "SELECT seq, run_id, effect_id, issue_id, event_type, session, changes, at FROM events ORDER BY seq";
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        let text = |column| row.get::<_, String>(column);
        Ok(Event {
            seq: row.get(0)?,
            run: row.get(1)?,
            effect: row.get(2)?,
            issue: IssueId::new(text(3)?),
            kind: text(4)?,
            session: text(5)?,
            changes: serde_json::from_str(&text(6)?).unwrap(),
            at: text(7)?.parse().unwrap(),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Everything that was acknowledged is there, once; everything that is there was asked for; nobody held what another did.
pub(super) fn check(file: &Path, lines: &[Line], board: &IssueId) -> Seen {
    let conn = Connection::open(file).unwrap();
    let damage: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(damage, "ok");
    let events = events(&conn);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(usize::try_from(event.seq).unwrap(), n + 1, "an event is missing");
    }
    let mut seen = Seen::default();
    let mut written: BTreeMap<Effect, Vec<&Event>> = BTreeMap::new();
    for event in &events {
        if let (Some(run), Some(effect)) = (&event.run, &event.effect) {
            written.entry((run.clone(), effect.clone())).or_default().push(event);
        }
    }
    let asked = asked(lines);
    for effect in written.keys() {
        assert!(asked.contains_key(effect), "nobody has asked for {effect:?}");
    }
    let claims = holds(&events, &asked, &mut seen);
    let mut answered = BTreeSet::new();
    for line in lines {
        let (effect, count) = match line {
            Line::Asks { .. } => continue,
            Line::Done { run, effect, .. }
            | Line::Refused { run, effect }
            | Line::Failed { run, effect, .. } => {
                let effect = (run.clone(), effect.clone());
                let count = written.get(&effect).map_or(0, Vec::len);
                (effect, count)
            }
        };
        match line {
            Line::Asks { .. } => {}
            Line::Done { wrote, .. } => {
                let right = match wrote {
                    Wrote::Perhaps => count <= 1,
                    Wrote::Nothing => count == 0,
                    _ => count == 1,
                };
                assert!(right, "{effect:?} was acknowledged with {wrote:?} and has {count} events");
                seen.written += count;
                found(&conn, (wrote, &effect), board, &claims);
            }
            Line::Refused { .. } => {
                assert_eq!(count, 0, "{effect:?} was refused and happened");
                seen.refused += 1;
            }
            Line::Failed { why, .. } => {
                assert_eq!(count, 0, "{effect:?} failed ({why}) and happened");
                seen.failed.insert(effect.0.clone());
            }
        }
        answered.insert(effect);
    }
    seen.unanswered = asked.len() - answered.len();
    seen
}

type Asked = BTreeMap<Effect, (Timestamp, Option<std::time::Duration>)>;

fn asked(lines: &[Line]) -> Asked {
    let mut asked = Asked::new();
    for line in lines {
        if let Line::Asks { run, effect, at, lease } = line {
            let before = asked.insert((run.clone(), effect.clone()), (*at, *lease));
            assert!(before.is_none(), "{run} {effect} twice");
        }
    }
    asked
}

/// Which effect the n-th claim of each issue is.
type Claims<'e> = BTreeMap<&'e IssueId, Vec<Option<Effect>>>;

/// Goes through the events as they came: an issue is claimed only while nobody holds it, its holder alone ends the hold,
/// and others only once the lease is over. No step of the test uses force, so that the n-th claim has the epoch n.
fn holds<'e>(events: &'e [Event], asked: &Asked, seen: &mut Seen) -> Claims<'e> {
    let mut claims = Claims::new();
    let mut holder: BTreeMap<&IssueId, &Event> = BTreeMap::new();
    for event in events {
        let Event { seq, issue, kind, .. } = event;
        let who = |event: &Event| (event.run.clone(), event.session.clone());
        let status = |side| event.changes.pointer(&format!("/status/{side}")).and_then(Value::as_str);
        if kind == "claimed" {
            let other = holder.insert(issue, event).map(who);
            assert_eq!(other, None, "event {seq} takes {issue} from its holder");
            claims.entry(issue).or_default().push(event.run.clone().zip(event.effect.clone()));
            seen.claims += 1;
            continue;
        }
        if status("old") != Some("in_progress") {
            continue;
        }
        let claim = holder.remove(issue).unwrap_or_else(|| panic!("event {seq}: nobody held {issue}"));
        // At a person's limit of attempts what lapses is blocked.
        let given_up = kind == "blocked" && event.changes.get("attempt").is_some();
        if kind == "lease_expired" || given_up {
            seen.lapsed += 1;
            // A person's claim is in no log; its lease is a day.
            let claimed = claim.run.clone().zip(claim.effect.clone()).map(|effect| asked[&effect]);
            if let Some((at, Some(lease))) = claimed {
                let until = later(at, lease);
                assert!(
                    until <= event.at,
                    "event {seq} at {}: the lease of {issue} is until {until}",
                    event.at
                );
            }
        } else {
            assert_eq!(who(event), who(claim), "event {seq} ({kind}) ends somebody else's hold of {issue}");
        }
    }
    claims
}

/// What an answer spoke of is in the tables.
fn found(conn: &Connection, (wrote, effect): (&Wrote, &Effect), board: &IssueId, claims: &Claims<'_>) {
    let count = |sql: &str, of: [&str; 2]| -> i64 { conn.query_row(sql, of, |row| row.get(0)).unwrap() };
    match wrote {
        Wrote::Claim(id, epoch) => {
            let claim =
                usize::try_from(*epoch).ok().and_then(|n| claims.get(id)?.get(n.checked_sub(1)?)?.clone());
            assert_eq!(claim.as_ref(), Some(effect), "claim {epoch} of {id}");
        }
        Wrote::Comment(id, body) => {
            let sql = "SELECT count(*) FROM comments WHERE issue_id = ?1 AND body = ?2";
            assert_eq!(count(sql, [id.as_str(), body]), 1, "comment {body} on {id}");
        }
        Wrote::Note(mark) => {
            let sql = "SELECT count(*) FROM issues, json_each(metadata) WHERE issues.id = ?1 AND key = ?2";
            assert_eq!(count(sql, [board.as_str(), mark]), 1, "note {mark}");
        }
        Wrote::Issue(id) => {
            let sql = "SELECT count(*) FROM issues WHERE id = ?1 AND id <> ?2";
            assert_eq!(count(sql, [id.as_str(), board.as_str()]), 1, "issue {id}");
        }
        Wrote::Event | Wrote::Perhaps | Wrote::Nothing => {}
    }
}
