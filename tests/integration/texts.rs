//! What becomes of texts that nobody would write: enormous ones, endless lines, towers of brackets. Those that are small are
//! files in tests/inputs.

use runner::diagnostic::Look;
use runner::limit;
use runner::plan::Variables;

use crate::check::load_file;

/// What is told of a file with this text.
fn told(name: &str, text: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("written");
    let (loaded, sources) = load_file(&file, &[], &Variables::new());
    let said = loaded.report.render(&sources, Look::Plain);
    assert!(loaded.plan.is_none(), "{name} is no scenario");
    let json = loaded.report.to_json(&sources);
    assert_eq!(json.len(), loaded.report.diagnostics().len());
    assert!(said.len() < 200_000, "{name}: {} bytes are told", said.len());
    said.replace(&folder.path().display().to_string(), "")
}

#[test]
fn enormous_files_are_refused_or_read() {
    let most = limit::SOURCE_BYTES;
    let repeat = |text: &str| text.repeat(most / text.len());
    let cases: [(&str, String, &str); 17] = [
        ("a.yaml", "#".repeat(most + 1), "is larger than 10485760 bytes; split it"),
        ("b.yaml", repeat("# remark\n"), "RUN0104"),
        ("c.yaml", repeat("- x\n"), "this file holds more than 200000 values"),
        ("d.yaml", repeat("{a: "), "nested more than 64 levels"),
        ("e.yaml", repeat("- "), "nested more than 64 levels"),
        ("f.yaml", format!("a: |\n{}", " ab\n".repeat(most / 4 - 2)), "unknown key `a`"),
        ("g.yaml", format!("- &a x\n{}", "- *a\n".repeat(199_000)), "RUN0203"),
        ("h.yaml", repeat("? "), "nested more than 64 levels"),
        ("i.toml", repeat("a = 1\n"), "this file holds more than 200000 values"),
        ("j.toml", repeat("["), "nested more than"),
        ("k.toml", format!("a = '''{}'''", "x\n".repeat(most / 2 - 10)), "unknown key `a`"),
        ("l.toml", repeat("a."), "nested more than"),
        ("m.toml", format!("{}1", "a = {b = ".repeat(90_000)), "nested more than"),
        ("n.json", repeat("["), "EOF while parsing a list"),
        ("o.json", format!("{}{}", "[".repeat(most / 2), "]".repeat(most / 2)), "nested more than 64 levels"),
        ("p.json", repeat("{\"a\":"), "EOF while parsing a value"),
        (
            "q.json",
            format!("[{}1]", "1,".repeat(limit::SOURCE_NODES + 1)),
            "this file holds more than 200000 values",
        ),
    ];
    for (name, text, expected) in cases {
        let said = told(name, text.as_bytes());
        assert!(said.contains(expected), "{name}: {}", said.chars().take(500).collect::<String>());
    }
}

#[test]
fn long_lines_and_keys_are_shown_cut() {
    let (x, k) = ("x".repeat(300_000), "k".repeat(300_000));
    let cases = [
        ("a.yaml", format!("version: 1\nname: {x} b: c\n")),
        ("b.yaml", format!("{k}: 1\n{k}: 2\n")),
        ("c.toml", format!("{k} = 1\n{k} = 2\n")),
        ("d.json", format!("{{\"{k}\": 1, \"version\": \"{x}\"}}")),
        (
            "e.yaml",
            format!("version: 1\nroles: {{a: {{mount_plan: {x}}}}}\nphases: [{{id: \"{k} {k}\", {k}: 1}}]\n"),
        ),
        ("f.yaml", format!("version: 1\nroles: *{k}\n")),
        ("g.yaml", format!("version: !{k} 1\n")),
    ];
    for (name, text) in cases {
        let said = told(name, text.as_bytes());
        let longest = said.lines().map(|line| line.chars().count()).max().expect("something is said");
        assert!(
            longest < 700,
            "{name}: a line of {longest} characters: {}",
            said.chars().take(900).collect::<String>()
        );
        assert!(said.contains('…'), "{name}: {said}");
    }
}

#[test]
fn what_is_shown_obeys_no_terminal() {
    for (name, text) in [
        ("a.yaml", "a: \u{1b}[31m\u{9b}0m\u{7}\n"),
        ("b.toml", "a = '\u{1b}]0;x\u{7}'\n"),
        ("c.yaml", "\"a\\u001b[31m\": 1\n"),
    ] {
        let said = told(name, text.as_bytes());
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{name}: {said:?}");
    }
}

#[test]
fn every_text_that_is_no_scenario_says_so_in_every_format() {
    for ending in ["yaml", "toml", "json"] {
        for text in
            [&b"\xff\xfe\0"[..], b"\xc3", b"\0", b"\r", b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf", b"\n\n"]
        {
            let said = told(&format!("a.{ending}"), text);
            assert!(
                said.starts_with("error[RUN01") || said.starts_with("error[RUN02"),
                "{text:?}.{ending}: {said}"
            );
        }
    }
}
