//! Does a converted file say the same, with its comments, and is nothing written over or half understood?

use std::path::{Path, PathBuf};

use runner::plan::Variables;
use runner::source::{Format, Sources, Written};

use crate::check::{cases, load_file, model, project};
use crate::harness::{Project, copy};

fn convert(name: &str, text: &str, to: Format) -> Written {
    let mut sources = Sources::new();
    let id = sources.add(name, text);
    sources.parse(id).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    sources.convert(id, to).unwrap_or_else(|error| panic!("{name}: {error}"))
}

const FORMATS: [(Format, &str); 3] = [(Format::Yaml, "yaml"), (Format::Toml, "toml"), (Format::Json, "json")];

/// A copy of the project, in which converted files lie beside the others without other tests seeing them.
fn copied() -> Project {
    let copied = Project::shipped();
    copy(&project().join("tests/inputs/valid"), &copied.path("tests/inputs/valid"));
    copied
}

/// The plan of a text that stands in place of a file of the project; what its places are left out.
fn plan(copied: &Project, beside: &Path, ending: &str, text: &str) -> serde_json::Value {
    let folder = copied.root().join(beside.parent().expect("in a folder"));
    let file = tempfile::Builder::new()
        .prefix("converted-")
        .suffix(&format!(".{ending}"))
        .tempfile_in(&folder)
        .expect("a file beside it");
    std::fs::write(file.path(), text).expect("written");
    let (loaded, sources) = load_file(file.path(), &[], &Variables::new());
    let said = loaded.report.render(&sources, runner::diagnostic::Look::Plain);
    let plan = loaded.plan.unwrap_or_else(|| panic!("{}.{ending}:\n{said}\n{text}", beside.display()));
    let mut json = model(&plan);
    without_places(&mut json);
    json
}

/// Where a thing stands is another thing in another file; so is the name that the file's name gives.
fn without_places(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(map) => {
            map.retain(|key, _| !matches!(key.as_str(), "place" | "span"));
            if let Some(serde_json::Value::String(name)) = map.get_mut("name")
                && name.starts_with("converted-")
            {
                name.clear();
            }
            map.values_mut().for_each(without_places);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_places),
        _ => {}
    }
}

fn scenarios() -> Vec<PathBuf> {
    let mut files = cases("tests/inputs/valid");
    files.extend(cases("scenarios"));
    files.retain(|file| Format::of(file).is_some() && !file.to_string_lossy().contains(".script."));
    files
}

#[test]
fn every_scenario_resolves_to_the_same_plan_there_and_back() {
    let mut compared = 0;
    let copied = copied();
    for file in scenarios() {
        let text = std::fs::read_to_string(project().join(&file)).expect("readable");
        let from = Format::of(&file).expect("kept for it");
        let own = FORMATS.iter().find(|(format, _)| *format == from).expect("one of three").1;
        let before = plan(&copied, &file, own, &text);
        for (to, ending) in FORMATS.iter().filter(|(to, _)| *to != from) {
            let there = convert(&format!("a.{own}"), &text, *to);
            assert_eq!(plan(&copied, &file, ending, &there.text), before, "{} as {ending}", file.display());
            let back = convert(&format!("a.{ending}"), &there.text, from);
            assert_eq!(
                plan(&copied, &file, own, &back.text),
                before,
                "{} as {ending} and back",
                file.display()
            );
            if *to != Format::Json {
                assert_eq!(
                    (there.dropped, back.dropped),
                    (0, 0),
                    "{}: comments\n{}",
                    file.display(),
                    there.text
                );
            }
            compared += 1;
        }
    }
    assert!(compared >= 20, "{compared} conversions");
}

#[test]
fn every_mount_plan_says_the_same_there_and_back() {
    for file in cases("mount-plans") {
        let text = std::fs::read_to_string(project().join(&file)).expect("readable");
        let from = Format::of(&file).expect("a mount plan");
        let own = FORMATS.iter().find(|(format, _)| *format == from).expect("one of three").1;
        for (to, ending) in FORMATS.iter().filter(|(to, _)| *to != from) {
            let there = convert(&format!("a.{own}"), &text, *to);
            let back = convert(&format!("a.{ending}"), &there.text, from);
            let value = |name: &str, text: &str| {
                let mut sources = Sources::new();
                let id = sources.add(name, text);
                sources.parse(id).expect("valid").to_json()
            };
            let name = format!("a.{own}");
            assert_eq!(value(&name, &back.text), value(&name, &text), "{}", file.display());
        }
    }
}

#[test]
fn comments_go_along_with_what_they_stand_at() {
    let text = std::fs::read_to_string(project().join("scenarios/demo.yaml")).expect("readable");
    insta::assert_snapshot!("demo_toml", convert("a.yaml", &text, Format::Toml).text);
    let text = std::fs::read_to_string(project().join("scenarios/demo.toml")).expect("readable");
    insta::assert_snapshot!("demo_yaml", convert("a.toml", &text, Format::Yaml).text);
    let json = convert("a.toml", &text, Format::Json);
    assert_eq!(json.dropped, 11, "JSON has no comments");
}

#[test]
fn everything_that_can_be_said_is_said_as_it_was() {
    let text =
        std::fs::read_to_string(project().join("tests/inputs/valid/everything.yaml")).expect("readable");
    insta::assert_snapshot!("everything_toml", convert("a.yaml", &text, Format::Toml).text);
    let text =
        std::fs::read_to_string(project().join("tests/inputs/valid/spellings.yaml")).expect("readable");
    let written = convert("a.yaml", &text, Format::Toml);
    assert!(written.is_expanded);
    insta::assert_snapshot!("spellings_toml", written.text);
    insta::assert_snapshot!("spellings_again_yaml", convert("a.toml", &written.text, Format::Yaml).text);
}

#[test]
fn the_line_that_names_the_schema_is_written_as_the_format_has_it() {
    let yaml = "# yaml-language-server: $schema=../scenario.schema.json\n# A remark.\nversion: 1\n";
    let toml = convert("a.yaml", yaml, Format::Toml);
    assert_eq!(toml.text, "#:schema ../scenario.schema.json\n# A remark.\nversion = 1\n");
    assert_eq!(convert("a.toml", &toml.text, Format::Yaml).text, yaml);
}

#[test]
fn odd_texts_and_numbers_survive() {
    let texts = [
        "",
        " ",
        "a ",
        " a",
        "\n",
        "a\n",
        "a\n\n",
        "\na",
        "a\n b\n",
        "  a\nb",
        "a\n\tb",
        "\ta\nb",
        "a\n\nb\n",
        "a\n  \nb",
        "yes",
        "No",
        "~",
        "null",
        "1",
        "1e3",
        "010",
        "1:30",
        "2024-05-01",
        ".inf",
        "0x1F",
        "- a",
        "-",
        "--- a",
        "...",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "@a",
        "`a",
        "%a",
        "?",
        "? a",
        "[a]",
        "{a}",
        "a,b",
        "a]",
        "'",
        "\"",
        "'\"",
        "\"\"\"",
        "a\n\"\"\"\n",
        "a\nb\"",
        "\\",
        "C:\\a",
        "a\\\nb",
        "\u{1}",
        "\0",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{fffe}",
        "a\r\nb",
        "é😀",
        "<<",
        "=",
        "{{ x }}",
        "a\n...\n",
        "a\n---\nb",
        "# x\ny",
        "a\n# x\n",
        "\u{9b}",
        "a\tb",
        "a:\tb",
        "'a': b",
    ];
    let map: serde_json::Map<String, serde_json::Value> = texts
        .iter()
        .map(|text| ((*text).to_owned(), serde_json::json!({"text": text, "list": [text, {"in": text}, [text]], "deep": {"er": {"est": text}}})))
        .collect();
    let json = serde_json::to_string(&serde_json::json!({
        "texts": map, "numbers": [0, -1, 9223372036854775807_i64, 1.5, -0.0, 1e300, 5e-324, 100.0],
        "empty": [{}, [], "", {"a": {}, "b": []}], "lists": [[{"a": 1}, {"b": {"c": [1, {"d": 2}]}}], [[1], [2, [3]]]],
    }))
    .expect("JSON");
    let json = json
        .replace('\u{7f}', "\\u007f")
        .replace('\u{9b}', "\\u009b")
        .replace('\u{fffe}', "\\ufffe")
        .replace('\u{feff}', "\\ufeff");
    let value = |name: &str, text: &str| {
        let mut sources = Sources::new();
        let id = sources.add(name, text);
        sources.parse(id).unwrap_or_else(|errors| panic!("{errors:?}")).to_json()
    };
    let before = value("a.json", &json);
    let yaml = convert("a.json", &json, Format::Yaml).text;
    assert_eq!(value("a.yaml", &yaml), before);
    let toml = convert("a.yaml", &yaml, Format::Toml).text;
    assert_eq!(value("a.toml", &toml), before);
    assert_eq!(value("a.json", &convert("a.toml", &toml, Format::Json).text), before);
    assert_eq!(value("a.yaml", &convert("a.toml", &toml, Format::Yaml).text), before);
}

#[test]
fn the_command_writes_over_nothing_and_converts_what_has_mistakes_of_meaning_alone() {
    let project = Project::new();
    project.write("a.yaml", "version: 1\nroles: [] # none\nprices: { m: { input: 2.50, output: 1e1 } }\n");
    let run = |args: &[&str]| project.runner([&["convert"], args].concat()).run();
    let outcome = run(&["a.yaml", "-o", "b.toml"]).expect_code(0);
    assert_eq!(outcome.stderr, "");
    let text = "version = 1\nroles = [] # none\n\n[prices]\nm = { input = 2.50, output = 1e1 }\n";
    assert_eq!(project.read("b.toml"), text);
    let outcome = run(&["a.yaml", "-o", "b.toml"]).expect_code(2);
    assert_eq!(outcome.stderr, "error: b.toml is there already; --force writes over it\n");
    run(&["a.yaml", "-o", "b.toml", "--force"]).expect_code(0);
    let outcome = run(&["a.yaml", "--to", "json"]).expect_code(0);
    assert!(outcome.stdout.starts_with("{\n  \"version\": 1,\n  \"roles\": [],"), "{}", outcome.stdout);
    assert_eq!(outcome.stderr, "a.yaml: 1 comment was left out, having no place in the new file\n");
    for (args, words) in [
        (&["a.yaml"][..], "name a format with --to, or a file with --output"),
        (&["a.yaml", "--to", "yaml"], "a.yaml is written in this format already"),
        (&["a.yaml", "--to", "toml", "-o", "c.json"], "--to and the ending of --output name two formats"),
        (&["a.yaml", "-o", "c.txt"], "c.txt does not end in .yaml"),
        (&["c.yaml", "--to", "toml"], "there is no file c.yaml"),
        (&["a.yaml", "-o", "no/c.toml"], "cannot write no/c.toml"),
    ] {
        let outcome = run(args).expect_code(2);
        assert!(outcome.stderr.contains(words), "{args:?}: {}", outcome.stderr);
    }
    project
        .write("wrong.yaml", "a: [1\n")
        .write("list.json", "[1]")
        .write("null.json", "{\"a\": [{\"b\": null}]}");
    for (file, words) in
        [("wrong.yaml", "RUN0102"), ("list.json", "a TOML file holds a map"), ("null.json", "null.json:1:14")]
    {
        let outcome = run(&[file, "-o", "never.toml"]).expect_code(2);
        assert!(outcome.stderr.contains(words), "{file}: {}", outcome.stderr);
        assert!(!project.path("never.toml").exists());
    }
}
