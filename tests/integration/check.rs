//! What loading says of every scenario in tests/inputs: a case is a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runner::diagnostic::Look;
use runner::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind, Plan, Variables};
use runner::scenario::{LoadRequest, Loaded, load};
use runner::source::Sources;

/// The modules that the mount plans of these tests and of the shipped scenarios name, with the keys they use there.
const CATALOGUE: [ModuleInfo; 11] = [
    module("loop-streaming", ModuleKind::Orchestrator, &[key("max_iterations")], &[]),
    module("loop-basic", ModuleKind::Orchestrator, &[], &[]),
    module("context-simple", ModuleKind::Context, &[key("max_tokens")], &[]),
    module("provider-mock", ModuleKind::Provider, &[], &[]),
    module(
        "provider-anthropic",
        ModuleKind::Provider,
        &[SECRET, key("base_url"), key("default_model"), key("max_tokens")],
        &[],
    ),
    module("tool-issue", ModuleKind::Tool, &[], &["issue_manager"]),
    module("tool-bash", ModuleKind::Tool, &[key("timeout"), key("safety_profile")], &["bash"]),
    module("tool-task", ModuleKind::Tool, &[], &["task"]),
    module(
        "tool-filesystem",
        ModuleKind::Tool,
        &[key("allowed_write_paths")],
        &["read_file", "write_file", "edit_file"],
    ),
    module("tool-search", ModuleKind::Tool, &[], &["grep", "glob"]),
    module("tool-web", ModuleKind::Tool, &[], &["web_search", "web_fetch"]),
];

const fn module(
    name: &'static str,
    kind: ModuleKind,
    keys: &'static [KeyInfo],
    tools: &'static [&'static str],
) -> ModuleInfo {
    ModuleInfo { name, aliases: &[], kind, summary: "", keys, tools, credential: None }
}

/// A credential that is not set is no mistake of the file.
const SECRET: KeyInfo = KeyInfo { name: "api_key", shape: KeyShape::Secret, default: "", doc: "" };

const fn key(name: &'static str) -> KeyInfo {
    KeyInfo { name, shape: KeyShape::Any, default: "", doc: "" }
}

pub(crate) fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn load_file(file: &Path, inputs: &[(&str, &str)], variables: &Variables) -> (Loaded, Sources) {
    let request = LoadRequest {
        file: file.to_owned(),
        working_dir: project(),
        home: None,
        inputs: inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        variables,
        catalogue: &CATALOGUE,
        tool_names: Vec::new(),
        changes: Vec::new(),
        workspace: None,
    };
    let mut sources = Sources::new();
    let loaded = load(&request, &mut sources);
    (loaded, sources)
}

/// The scenario files of a folder, from the project, sorted.
pub(crate) fn cases(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project().join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| Path::new(folder).join(path.file_name().expect("a file has a name")))
        .collect();
    files.sort();
    files
}

#[test]
fn every_mistake_is_told() {
    let files = cases("tests/inputs/invalid");
    assert!(files.len() >= 160, "{} cases", files.len());
    let given = [("size", "big"), ("color", "green"), ("colour", "red")];
    for file in files {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let inputs: &[_] = if name.starts_with("inputs-given") { &given } else { &[] };
        let variables = Variables::from([("RUNNER_VAR_FROM_ENV".to_owned(), "maybe".to_owned())]);
        let (loaded, sources) = load_file(&file, inputs, &variables);
        assert!(!loaded.report.is_empty(), "{name} is invalid, but nothing was said");
        assert_eq!(
            loaded.plan.is_none(),
            loaded.report.has_errors(),
            "{name}: a plan exactly if there is no error"
        );
        insta::assert_snapshot!(format!("invalid_{name}"), loaded.report.render(&sources, Look::Plain));
    }
}

/// The plan as JSON, without what differs between two spellings of one scenario.
pub(crate) fn model(plan: &Plan) -> serde_json::Value {
    let mut json = serde_json::to_value(plan).expect("a plan serialises");
    json["file"] = serde_json::Value::Null;
    json["root"] = serde_json::Value::Null;
    json
}

/// The valid scenarios of a folder, by the name that the spellings of one have in common.
fn spellings(folder: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in cases(folder) {
        let stem = file.with_extension("").display().to_string();
        found.entry(stem).or_default().push(file.display().to_string());
    }
    found
}

fn valid(file: &str) -> Plan {
    let (loaded, sources) = load_file(Path::new(file), &[], &Variables::new());
    let said = loaded.report.render(&sources, Look::Plain);
    assert!(loaded.report.is_empty(), "{file}:\n{said}");
    loaded.plan.expect("no errors, so a plan")
}

#[test]
fn all_spellings_of_a_scenario_resolve_to_one_plan() {
    let mut scenarios = spellings("tests/inputs/valid");
    assert!(scenarios.len() >= 45, "{} scenarios", scenarios.len());
    let in_json = |files: &&Vec<String>| files.iter().any(|file| file.ends_with(".json"));
    assert!(scenarios.values().filter(in_json).count() >= 5);
    scenarios
        .insert("demo".to_owned(), vec!["scenarios/demo.toml".to_owned(), "scenarios/demo.yaml".to_owned()]);
    for (name, files) in scenarios {
        for ending in ["yaml", "toml"] {
            assert!(files.iter().any(|file| file.ends_with(ending)), "{name} is not there as {ending}");
        }
        let yaml = model(&valid(files.last().expect("a file")));
        for file in &files[..files.len() - 1] {
            similar_asserts(&yaml, &model(&valid(file)), file);
        }
    }
}

fn similar_asserts(left: &serde_json::Value, right: &serde_json::Value, what: &str) {
    let pretty = |value| serde_json::to_string_pretty(value).expect("JSON prints");
    assert_eq!(pretty(left), pretty(right), "{what}");
}

#[test]
fn every_key_arrives_in_the_plan() {
    let mut plan = model(&valid("tests/inputs/valid/everything.yaml"));
    let workspace = plan["workspace"]["path"].as_str().expect("a path").to_owned();
    let cassette = plan["replay"]["cassette"].as_str().expect("a path").to_owned();
    let from_project = |path: &str| {
        Path::new(path).strip_prefix(project()).expect("below the project").display().to_string()
    };
    plan["workspace"]["path"] = from_project(&workspace).into();
    plan["replay"]["cassette"] = from_project(&cassette).into();
    // The mount plans are tested where they are read.
    for role in plan["roles"].as_object_mut().expect("roles").values_mut() {
        role["mount_plan"] = role["mount_plan"]["file"].take();
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).expect("JSON prints"));
}

#[test]
fn defaults_depend_on_who_claims() {
    use runner::plan::{PhaseKind, SessionLife, WhenEmpty, WorkspaceStart};
    let plan = valid("scenarios/demo.yaml");
    let PhaseKind::Workers(work) = &plan.phases[1].kind else { panic!("work is a workers phase") };
    assert_eq!((work.session, work.when_empty), (SessionLife::Keep, WhenEmpty::Wait));
    let names: Vec<String> = work.workers().iter().map(|worker| worker.name.to_string()).collect();
    assert_eq!(names, ["coding-worker-1", "coding-worker-2", "research-worker-1"]);
    assert_eq!(plan.workspace.start, WorkspaceStart::Fresh);
    assert_eq!(plan.workspace.path, project().join(".demo-workspace"));
    assert_eq!(plan.queue.path, Path::new(".beads/issues.db"));
    let needs: Vec<_> = plan.phases[1].needs.iter().map(runner::id::PhaseId::as_str).collect();
    assert_eq!(needs, ["create-issues"]);
    assert_eq!(plan.inputs["endpoint_priorities"], "/api/users first, then /api/orders");
    assert_eq!(plan.prompts.len(), 3);

    let small = valid("tests/inputs/valid/smallest.yaml");
    assert_eq!(small.name, "smallest");
    assert_eq!(small.workspace.start, WorkspaceStart::Keep);
    assert_eq!(small.workspace.path, small.root);
}

#[test]
fn the_shipped_scenarios_have_nothing_wrong() {
    let plan = valid("scenarios/hello.yaml");
    assert_eq!(plan.root, project());
    assert_eq!(plan.workspace.path, project().join(".hello-workspace"));
    valid("scenarios/demo.toml");
}

#[test]
fn the_demo_asks_for_what_its_page_says() {
    let plan = valid("scenarios/demo.yaml");
    let templates = runner::template::Templates::new(&plan.prompts).expect("they compile");
    let names = serde_json::json!({
        "inputs": plan.inputs,
        "worker": {"name": "coding-worker-1", "index": 1, "takes": plan.roles[1].takes},
        "iteration": 1,
        "max_iterations": 5,
    });
    let context = runner::template::TemplateContext::new(names.as_object().expect("a map").clone())
        .with_issues(runner::store::Snapshot::default());
    for prompt in ["create-issues", "work", "unblock"] {
        let text = templates.render(&format!("prompts/{prompt}.md"), &context).expect("it renders");
        insta::assert_snapshot!(format!("prompt_{prompt}"), text);
    }
    assert!(templates.reads_queue("prompts/unblock.md"));
    assert!(!templates.reads_queue("prompts/work.md"));
}

#[test]
fn inputs_come_from_the_command_line_then_the_environment_then_the_file() {
    let file = Path::new("tests/inputs/valid/everything.yaml");
    let variables = Variables::from([
        ("RUNNER_VAR_GOAL".to_owned(), "from the environment".to_owned()),
        ("RUNNER_VAR_STEPS".to_owned(), "3".to_owned()),
    ]);
    let given = [("steps", "5"), ("polite", "true"), ("parts", "x, y"), ("maybe", "1")];
    let (loaded, sources) = load_file(file, &given, &variables);
    let plan = loaded.plan.unwrap_or_else(|| panic!("{}", loaded.report.render(&sources, Look::Plain)));
    let expected = serde_json::json!({
        "goal": "from the environment", "steps": 5, "polite": true, "parts": ["x", "y"],
        "notes": "docs/notes.md", "maybe": "1"
    });
    assert_eq!(serde_json::to_value(&plan.inputs).expect("JSON"), expected);
}

#[test]
fn the_workspace_can_be_chosen_from_outside() {
    let variables = Variables::new();
    let request = |workspace: Option<&str>, home: Option<&str>, file: &str| LoadRequest {
        file: file.into(),
        working_dir: project(),
        home: home.map(PathBuf::from),
        inputs: BTreeMap::new(),
        variables: &variables,
        catalogue: &CATALOGUE,
        tool_names: Vec::new(),
        changes: Vec::new(),
        workspace: workspace.map(PathBuf::from),
    };
    let path = |request: LoadRequest<'_>| {
        load(&request, &mut Sources::new()).plan.expect("it is valid").workspace.path
    };
    assert_eq!(path(request(Some("../there"), None, "scenarios/hello.yaml")), normal("../there"));
    assert_eq!(path(request(Some("/tmp/w"), None, "scenarios/hello.yaml")), Path::new("/tmp/w"));
    let home = request(None, Some("/home/somebody"), "tests/inputs/invalid/paths-no-home.yaml");
    assert_eq!(path(home), Path::new("/home/somebody/project"));
}

fn normal(path: &str) -> PathBuf {
    project().parent().expect("a parent").join(path.trim_start_matches("../"))
}

#[test]
fn a_file_cut_anywhere_is_told_about_and_never_breaks_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let variables = Variables::new();
    for ending in ["yaml", "toml"] {
        let text = std::fs::read_to_string(project().join("scenarios/demo").with_extension(ending))
            .expect("readable");
        let name = format!("cut.{ending}");
        for cut in (0..text.len()).step_by(11).filter(|cut| text.is_char_boundary(*cut)) {
            std::fs::write(folder.path().join(&name), &text[..cut]).expect("written");
            let request = LoadRequest {
                file: name.clone().into(),
                working_dir: folder.path().to_owned(),
                home: None,
                inputs: BTreeMap::new(),
                variables: &variables,
                catalogue: &CATALOGUE,
                tool_names: Vec::new(),
                changes: Vec::new(),
                workspace: None,
            };
            let mut sources = Sources::new();
            let loaded = load(&request, &mut sources);
            assert!(loaded.plan.is_none(), "{ending} cut at {cut}: its prompts are not there");
            assert!(loaded.report.render(&sources, Look::Styled).contains("error"), "{ending} cut at {cut}");
            assert_eq!(loaded.report.to_json(&sources).len(), loaded.report.diagnostics().len());
        }
    }
}

#[test]
fn both_yaml_readers_agree_on_every_valid_input() {
    let mut files = cases("tests/inputs/valid");
    files.extend(cases("scenarios"));
    let mut compared = 0;
    let yaml = files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    // Merges, tags and leading zeros are where readers differ; those files are held against their TOML.
    for file in yaml.filter(|file| !file.ends_with("spellings.yaml")) {
        let text = std::fs::read_to_string(project().join(file)).expect("readable");
        if text.contains("<<:") {
            continue;
        }
        let theirs: serde_json::Value = serde_yaml::from_str(&text).expect("valid YAML");
        let mut sources = Sources::new();
        let source = sources.add(file, text);
        let ours = sources.parse(source).expect("valid YAML").to_json();
        similar_asserts(&ours, &theirs, &file.display().to_string());
        compared += 1;
    }
    assert!(compared >= 40, "{compared} files compared");
}
