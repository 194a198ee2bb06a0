//! Whether a recording comes back from git as it was, whatever it says, and whether nothing is lost or leaked on the way.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::event::{EffectId, Evidence, Footprint, Policy, Segment};
use crate::id::{PhaseId, RunId, Seed};

/// Texts that YAML, lines or columns could take for something else.
const ODD: [&str; 36] = [
    "",
    " ",
    "  lead",
    "trail ",
    "trail \n",
    "\n",
    "\n\n",
    "a\n\nb\n",
    "a\r\nb",
    "a\rb",
    "\r",
    "tab\tin",
    "\ttab",
    "tab\t",
    "yes",
    "null",
    "~",
    "0x1F",
    "1e3",
    "-0",
    "12:30",
    "2026-01-01",
    "---",
    "...",
    "# no comment",
    "key: value",
    "- item",
    "{a: 1}",
    "[1]",
    "&a *b !c",
    "%d",
    "\u{1}\u{7f}",
    "\u{85}\u{2028}\u{feff}",
    "👩‍👩‍👧 é",
    "'\"`",
    "a: b\n  c:\n - d \n",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(ODD.to_vec()).prop_map(str::to_owned),
        2 => "[ -~\\t\\r\\n]{0,40}",
        1 => "\\PC{0,20}",
        1 => Just("x".repeat(5_000)),
        1 => Just("word ".repeat(600)),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |n| n.is_finite()).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn head() -> RecordingHead {
    RecordingHead {
        format: RECORDING_FORMAT,
        scenario: "odd: \"scenario\"".to_owned(),
        evidence: Evidence::Scripted,
        run: RunId::from("r"),
        seed: Seed::new("null"),
        epoch: Timestamp::UNIX_EPOCH,
        models: BTreeMap::new(),
        prices: crate::price::Prices::default(),
        changes: Vec::new(),
        mcp_tools: BTreeMap::new(),
        inputs: BTreeMap::new(),
        ended: "failed".to_owned(),
    }
}

/// A recording of one session: a prompt and a call a turn, and what the engine did between.
fn recording(turns: Vec<(String, String, Value, Value)>) -> Recording {
    let mut recording = Recording { head: head(), effects: Vec::new(), texts: BTreeMap::new() };
    let mut said: Vec<Segment> = vec![Segment::new("model", "m"), Segment::new("system", "be good\r\n")];
    for (turn, (prompt, file, reply, result)) in (1..).zip(turns) {
        said.push(Segment::new(format!("prompt.{}", said.len()), prompt.as_str()));
        let id = EffectId::turn("work/w-1:2", turn);
        let engine = EffectId::engine(&PhaseId::from("work"), "when", turn);
        let input = Segment::new("input", json!({ "path": file }).to_string());
        let touched = Footprint::none().with(crate::event::Access::Write, format!("fs:{file}"));
        let template = Segment::new("template", "t");
        let parts = [
            (id.clone(), EffectKind::Llm, said.clone(), Footprint::none(), reply),
            (id.call(1), EffectKind::Tool, vec![Segment::new("tool", "x"), input], touched, result.clone()),
            (engine, EffectKind::Render, vec![template], Footprint::none(), result),
        ];
        for (id, kind, key, footprint, result) in parts {
            let seq = recording.effects.len() as u64 * 2 + 1;
            let at = Timestamp::from_microsecond(i64::try_from(seq).unwrap() * 700_001 - 2_000_000).unwrap();
            recording.texts.extend(key.iter().map(|part| (part.hash.clone(), part.text.clone())));
            let policy = Policy::Tape;
            recording.effects.push(EffectRecord { seq, id, kind, at, key, footprint, policy, result });
        }
    }
    recording
}

fn files_of(folder: &Path) -> Files {
    let mut files = Files::new();
    read_into(&mut files, folder, "").unwrap();
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_was_said_reads_back(
        turns in proptest::collection::vec((text(), text(), value(), value()), 1..4)
    ) {
        let recording = recording(turns);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("odd.cassette");
        write(&recording, &folder).unwrap();
        let again = read(&folder).unwrap();
        prop_assert_eq!(&again.head, &recording.head);
        let expected: Vec<_> = recording.effects.iter().map(without_texts).collect();
        prop_assert_eq!(&again.effects, &expected);
        let wanted = |label: &str| label.starts_with("prompt.") || ["model", "system", "input"].contains(&label);
        for part in recording.effects.iter().flat_map(|record| &record.key).filter(|part| wanted(&part.label)) {
            prop_assert_eq!(again.texts.get(&part.hash), Some(&part.text), "{}", part.label);
        }
        // Printing is a function of the recording.
        let once = files_of(&folder);
        write(&recording, &folder).unwrap();
        prop_assert_eq!(files_of(&folder), once);
    }
}

fn plain(prompt: &str) -> Recording {
    recording(vec![(prompt.to_owned(), "f".to_owned(), json!({"say": "x"}), json!(1))])
}

#[test]
fn a_secret_refuses_and_leaves_the_old_recording() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("c");
    write(&plain("old"), &folder).unwrap();
    let before = files_of(&folder);
    let key = "the key is sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv";
    let error = write(&plain(key), &folder).unwrap_err();
    assert!(matches!(&error, CassetteError::Secret { file, .. } if file.starts_with("sessions/")), "{error}");
    assert_eq!(files_of(&folder), before);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["c"], "nothing lies beside it");
}

#[test]
fn a_folder_that_is_no_recording_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let error = write(&plain("new"), dir.path()).unwrap_err();
    assert!(error.to_string().contains("it is left alone"), "{error}");
    assert_eq!(files_of(dir.path()), Files::from([("thesis.txt".to_owned(), "years of work".to_owned())]));
}

#[test]
fn a_new_recording_replaces_an_older_one_entirely() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("c");
    write(&plain("old"), &folder).unwrap();
    std::fs::write(folder.join("blobs/0123456789abcdef"), "stale").unwrap();
    write(&plain("new"), &folder).unwrap();
    assert!(!folder.join("blobs/0123456789abcdef").exists());
    assert_eq!(read(&folder).unwrap().effects.len(), 3);
}

#[test]
fn what_was_edited_by_hand_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("c");
    write(&plain("old"), &folder).unwrap();
    let session = folder.join("sessions/work.w-1.2.yaml");
    let text = std::fs::read_to_string(&session).unwrap();
    std::fs::write(&session, text.replace("say: x", "say: y")).unwrap();
    let error = read(&folder).unwrap_err().to_string();
    assert!(error.contains("was it edited by hand?"), "{error}");
    let head = std::fs::read_to_string(folder.join(HEAD)).unwrap();
    std::fs::write(folder.join(HEAD), head.replace("format: 1", "format: 9")).unwrap();
    assert!(matches!(read(&folder).unwrap_err(), CassetteError::Format { found: 9, .. }));
}

/// Every committed recording is whole, prints as it stands, and holds nothing that looks like a credential.
#[test]
fn committed_recordings_are_what_the_writer_writes() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut seen = 0;
    for entry in std::fs::read_dir(scenarios).unwrap() {
        let folder = entry.unwrap().path();
        if folder.extension().is_none_or(|extension| extension != "cassette") {
            continue;
        }
        seen += 1;
        let files = files_of(&folder);
        for (file, text) in &files {
            assert_eq!(scan::secret_in(text), None, "{}/{file}", folder.display());
        }
        let recording = read(&folder).unwrap();
        assert_eq!(print(&recording).unwrap(), files, "{}", folder.display());
    }
    assert!(seen > 0, "there is at least the demo's");
}
