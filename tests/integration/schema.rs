//! Does the JSON Schema say of files what the runner says? An independent validator compares.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Project, repository};
use runner::source::Sources;

const FILE: &str = "docs/scenario.schema.json";

fn printed(arguments: &[&str]) -> String {
    let words = ["schema"].iter().chain(arguments);
    Project::new().runner(words).run().expect_code(0).stdout
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("the schema is JSON")
}

/// A file as JSON, if it can be read at all.
fn tree(path: &Path) -> Option<Value> {
    let mut sources = Sources::new();
    let source = sources.read(path, path).ok()?;
    Some(sources.parse(source).ok()?.to_json())
}

/// The files of a folder that may be scenarios or mount plans.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join(folder)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    found.sort();
    found
}

fn is_script(path: &Path) -> bool {
    path.to_string_lossy().contains(".script.")
}

fn mistakes(schema: &Value, instance: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(schema).expect("a sound schema");
    validator.iter_errors(instance).map(|error| format!("{} at {}", error, error.instance_path())).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the variable by which snapshots are written")]
fn the_file_is_what_the_command_prints() {
    let schema = printed(&[]);
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        std::fs::write(repository().join(FILE), &schema).expect("a file of the repository");
    }
    let file = std::fs::read_to_string(repository().join(FILE)).expect("the schema");
    assert!(
        file == schema,
        "{FILE} is to be made anew: INSTA_UPDATE=always cargo test --test integration schema::"
    );
}

#[test]
fn both_are_schemas_of_the_draft_they_name() {
    for arguments in [&[][..], &["--mount-plan"]] {
        let schema = parsed(&printed(arguments));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::draft202012::meta::validate(&schema).expect("a schema of draft 2020-12");
    }
}

#[test]
fn what_is_valid_is_accepted() {
    let schema = parsed(&printed(&[]));
    let mut files = [files("tests/inputs/valid"), files("scenarios"), files("tests/inputs/engine")].concat();
    files.retain(|path| !is_script(path));
    assert!(files.len() > 20, "{files:?}");
    for path in files {
        let instance = tree(&path).unwrap_or_else(|| panic!("{}", path.display()));
        assert_eq!(mistakes(&schema, &instance), Vec::<String>::new(), "{}", path.display());
    }
}

/// The codes that checking a file of the invalid ones has, as its snapshot says; not those of files that it names.
fn codes(path: &Path) -> Vec<String> {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let snapshot = format!("tests/integration/snapshots/integration__check__invalid_{name}.snap");
    let text = std::fs::read_to_string(repository().join(snapshot)).expect("each has a snapshot");
    let own = format!("invalid/{name}:");
    let followed = text.lines().zip(text.lines().skip(1));
    let own = followed.filter(|(_, next)| !next.contains("╭▸") || next.contains(&own));
    let heads = own.filter_map(|(line, _)| line.strip_prefix("error[RUN")?.split(']').next());
    heads.map(str::to_owned).collect()
}

#[test]
fn mistakes_of_shape_are_refused_and_no_others() {
    let schema = parsed(&printed(&[]));
    let (mut refused, mut accepted) = (0, 0);
    for path in files("tests/inputs/invalid") {
        let Some(instance) = tree(&path) else { continue };
        // Whether roles may be missing depends on what the phases do, and JSON Schema takes 1.0 for 1.
        if path.ends_with("roles-none.yaml") || path.ends_with("version-point.yaml") {
            continue;
        }
        let codes = codes(&path);
        let found = mistakes(&schema, &instance);
        // A word too few or too many is no mistake of shape where the place decides what is meant.
        if codes.iter().any(|code| code.starts_with("02")) {
            assert!(!found.is_empty(), "{} has {codes:?}", path.display());
            refused += 1;
        } else if !codes
            .iter()
            .any(|code| code == "0104" || code == "0301" || code == "0306" || code == "0103")
        {
            assert_eq!(found, Vec::<String>::new(), "{} has {codes:?}", path.display());
            accepted += 1;
        }
    }
    assert!(refused > 55 && accepted > 30, "{refused} refused, {accepted} accepted");
}

#[test]
fn an_editor_is_told_what_a_key_means() {
    let schema = parsed(&printed(&[]));
    let workers = &schema["$defs"]["workers"];
    assert_eq!(workers["additionalProperties"], false);
    assert_eq!(workers["properties"]["claim"]["enum"], serde_json::json!(["engine", "agent"]));
    assert_eq!(workers["properties"]["max_iterations"]["default"], 10);
    let text = workers["properties"]["prompt"]["description"].as_str().expect("a description");
    assert_eq!(text, "The template of one iteration.");
}

#[test]
fn mount_plans_are_accepted_and_their_slips_refused() {
    let schema = parsed(&printed(&["--mount-plan"]));
    for path in [files("mount-plans"), files("tests/inputs/engine/mount-plans")].concat() {
        let instance = tree(&path).unwrap_or_else(|| panic!("{}", path.display()));
        assert_eq!(mistakes(&schema, &instance), Vec::<String>::new(), "{}", path.display());
    }
    let good = tree(&repository().join("mount-plans/coding-worker.json")).expect("JSON");
    let slips = [
        ("/tools/2/config", serde_json::json!({"timeuot": 60})),
        ("/tools/2/config/timeout", serde_json::json!("soon")),
        ("/tools/0/module", serde_json::json!("tool-isue")),
        ("/providers/0/module", serde_json::json!("tool-bash")),
        ("/providers", serde_json::json!([])),
        ("/session", serde_json::json!({"orchestrator": "loop-streaming"})),
        ("/session/context", serde_json::json!("context-smple")),
    ];
    for (at, value) in slips {
        let mut plan = good.clone();
        *plan.pointer_mut(at).expect("it is there") = value;
        assert_ne!(mistakes(&schema, &plan), Vec::<String>::new(), "{at}");
    }
    let mut plan = good;
    plan["tools"][2]["config"]["timeout"] = "${SECONDS:-60}".into();
    assert_eq!(mistakes(&schema, &plan), Vec::<String>::new(), "a value may come from a variable");
}

#[test]
fn shipped_scenarios_name_their_schema_in_the_first_line() {
    for path in files("scenarios").into_iter().filter(|path| !is_script(path)) {
        let text = std::fs::read_to_string(&path).expect("a scenario");
        let first = text.lines().next().unwrap_or_default();
        let expected = match path.extension().is_some_and(|ending| ending == "toml") {
            true => "#:schema ../docs/scenario.schema.json",
            false => "# yaml-language-server: $schema=../docs/scenario.schema.json",
        };
        assert_eq!(first, expected, "{}", path.display());
    }
}
