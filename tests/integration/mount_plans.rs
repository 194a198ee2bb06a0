//! Which mount plans load, as what, and what is said of those that do not.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking, in its helpers too")]

use std::path::{Path, PathBuf};

use runner::diagnostic::{Look, Report};
use runner::mount_plan::{Known, MountPlanFile, load, read_env_file};
use runner::plan::{
    Credential, KeyInfo, KeyShape, ModuleInfo, ModuleKind, ModuleSpec, MountPlan, Need, Variables,
};
use runner::source::Sources;
use runner::tool::{bash, filesystem, search, web};

const fn key(name: &'static str, shape: KeyShape) -> KeyInfo {
    KeyInfo { name, shape, default: "", doc: "what it is for" }
}

const fn module(name: &'static str, kind: ModuleKind, keys: &'static [KeyInfo]) -> ModuleInfo {
    ModuleInfo { name, aliases: &[], kind, summary: "for tests", keys, tools: &[], credential: None }
}

const CATALOGUE: [ModuleInfo; 11] = [
    module("loop-streaming", ModuleKind::Orchestrator, &[key("max_iterations", KeyShape::Integer)]),
    module("loop-basic", ModuleKind::Orchestrator, &[key("max_iterations", KeyShape::Integer)]),
    module("context-simple", ModuleKind::Context, &[key("max_tokens", KeyShape::Integer)]),
    ModuleInfo {
        credential: Some(Credential { variable: "ANTHROPIC_API_KEY", key: "api_key", need: Need::Required }),
        ..module(
            "provider-anthropic",
            ModuleKind::Provider,
            &[
                key("api_key", KeyShape::Secret),
                key("base_url", KeyShape::Text),
                key("default_model", KeyShape::Text),
                key("max_tokens", KeyShape::Integer),
                key("priority", KeyShape::Integer),
                key("temperature", KeyShape::Number),
                key("debug", KeyShape::Flag),
                key("extra", KeyShape::Any),
            ],
        )
    },
    filesystem::INFO,
    bash::INFO,
    search::INFO,
    web::INFO,
    ModuleInfo { tools: &["issue_manager"], ..module("tool-issue", ModuleKind::Tool, &[]) },
    ModuleInfo { tools: &["write_file"], ..module("tool-files", ModuleKind::Tool, &[]) },
    module("hooks-logging", ModuleKind::Hook, &[]),
];

fn variables() -> Variables {
    let variables = [
        ("ITERATIONS", "7"),
        ("TEMPERATURE", "0.5"),
        ("DEBUG", "true"),
        ("KEY", "sk-test-0123456789"),
        ("WORD", "many"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn load_with(folder: &str, name: &str, variables: &Variables) -> (Option<MountPlan>, String) {
    let shown = Path::new(folder).join(name);
    let file = root().join(&shown);
    let (mut sources, mut report) = (Sources::new(), Report::new());
    let known = Known { catalogue: &CATALOGUE, variables };
    let files = MountPlanFile { file: &file, shown: &shown };
    let plan = load(files, &mut sources, known, &mut report);
    let again = load(files, &mut sources, known, &mut report);
    assert_eq!(plan.is_some(), again.is_some(), "a second load says the same");
    assert_eq!(plan.is_none(), report.has_errors(), "a plan is there exactly when there is no error");
    report.sort(&sources);
    (plan, report.render(&sources, Look::Plain))
}

fn load_input(name: &str) -> (Option<MountPlan>, String) {
    load_with("tests/inputs/mount-plans", name, &variables())
}

fn loaded(name: &str) -> MountPlan {
    let (plan, report) = load_input(name);
    assert_eq!(report, "", "{name}");
    plan.expect("a plan without diagnostics is there")
}

fn summary(spec: &ModuleSpec) -> String {
    let instance = spec.instance_id.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
    format!("{}{instance} {}", spec.module, serde_json::Value::from(spec.config.clone()))
}

#[test]
fn a_plan_of_the_original_demo_loads_without_a_word() {
    let plan = loaded("seed.json");
    assert_eq!(plan.file, Path::new("tests/inputs/mount-plans/seed.json"));
    assert_eq!(summary(&plan.orchestrator), "loop-streaming {}");
    assert_eq!(plan.tools.iter().map(summary).collect::<Vec<_>>(), ["tool-filesystem {}", "tool-web {}"]);
    assert_eq!(plan.tools[1].place.route.to_string(), "tools[1].module");
    assert_eq!(plan.system, None);
}

#[test]
fn modules_as_strings_are_configured_at_the_top_and_variables_are_filled_in() {
    let plan = loaded("strings.yaml");
    assert_eq!(summary(&plan.orchestrator), r#"loop-streaming {"max_iterations":7}"#);
    assert_eq!(summary(&plan.context), r#"context-simple {"max_tokens":5000}"#);
    assert_eq!(
        plan.providers.iter().map(summary).collect::<Vec<_>>(),
        [
            r#"provider-anthropic as first {"api_key":"sk-test-0123456789","priority":1}"#,
            r#"provider-anthropic {"debug":true,"extra":{"a":["m","${MODEL}"]},"temperature":0.5}"#,
            r#"provider-anthropic as spare {"default_model":"claude-sonnet-4-5","priority":200}"#,
        ]
    );
    assert_eq!(plan.system.as_deref(), Some("Be brief."));
}

#[test]
fn toml_says_the_same() {
    let plan = loaded("plan.toml");
    assert_eq!(summary(&plan.orchestrator), "loop-basic {}");
    assert_eq!(summary(&plan.tools[0]), r#"tool-bash {"denied_commands":["git push"],"timeout":60}"#);
}

#[test]
fn shipped_plans_load() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("mount-plans")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (plan, report) = load_with("mount-plans", &name, &Variables::new());
        assert_eq!(report, "", "{name}");
        let keys: Vec<_> = plan.unwrap().providers.remove(0).config.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["default_model", "max_tokens"], "{name}: what the environment lacks is absent");
        names.push(name);
    }
    names.sort();
    let expected = [
        "coding-worker.json",
        "documentation-worker.json",
        "foreman.json",
        "hello.json",
        "research-worker.json",
        "reviewer.json",
        "security-worker.json",
        "testing-worker.json",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_shipped_env_file_reads() {
    let text = std::fs::read_to_string(root().join(".env.example")).unwrap();
    let variables = read_env_file(&text).unwrap();
    assert_eq!(variables.into_iter().collect::<Vec<_>>(), [("ANTHROPIC_API_KEY".to_owned(), String::new())]);
}

#[test]
fn every_mistake_is_said_at_its_place() {
    for name in [
        "everything-wrong.yaml",
        "bad-variables.yaml",
        "half-session.yaml",
        "no-session.yaml",
        "nothing.yaml",
        "list.json",
        "syntax.json",
        "unknown-ending.ini",
        "not-there.json",
    ] {
        let (plan, report) = load_input(name);
        assert!(plan.is_none(), "{name}");
        assert!(!report.contains("many"), "the value of a variable is not shown");
        insta::assert_snapshot!(name, report);
    }
}
