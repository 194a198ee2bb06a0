//! What is read of a configuration, and how tools are named.

use serde_json::json;

use super::*;

#[allow(clippy::needless_pass_by_value, reason = "cases are written where they are used")]
fn read_servers(servers: Value) -> Result<Vec<ServerPlan>, String> {
    let variables = [("PATH", "/bin"), ("HOME", "/home/a"), ("OTHER", "b")];
    let variables: Variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config = json!({ "servers": servers });
    let scrubber = Scrubber::default();
    let ground = Ground {
        root: Path::new("/project"),
        workspace: Path::new("/project/work"),
        variables: &variables,
        scrubber: &scrubber,
    };
    read(config.as_object().unwrap(), ground).map_err(|error| error.to_string())
}

#[test]
fn a_program_gets_its_environment_and_no_more() {
    let plans =
        read_servers(json!({"a": {"command": "tools/a", "args": ["-x"], "env": {"K": "v"}}})).unwrap();
    let Address::Program(program) = &plans[0].address else { panic!("{plans:?}") };
    assert_eq!(program.command, Path::new("/project/tools/a"));
    assert_eq!(program.folder, Path::new("/project/work"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(program.environment, [pair("HOME", "/home/a"), pair("PATH", "/bin"), pair("K", "v")]);
}

#[test]
fn what_cannot_be_used_is_said() {
    for (server, problem) in [
        (json!({"command": "a", "url": "http://b"}), "either `command`"),
        (json!({}), "either `command`"),
        (json!({"url": "http://b", "type": "sse"}), "given up"),
        (json!({"url": "http://b", "type": "pigeon"}), "of type pigeon"),
        (json!({"url": "b"}), "http:// or https://"),
        (json!({"command": "a", "args": [1]}), "list of strings under `args`"),
        (json!({"command": "a", "env": {"K": 1}}), "map of strings under `env`"),
        (json!({"command": "a", "cwd": "b"}), "unknown key `cwd`"),
        (json!("a"), "must be a map"),
    ] {
        let error = read_servers(json!({ "s": server })).unwrap_err();
        assert!(error.contains(problem) && error.starts_with("tool-mcp: `servers` names s"), "{error}");
    }
    let twins = read_servers(json!({"a b": {"command": "x"}, "a_b": {"command": "x"}})).unwrap_err();
    assert!(twins.contains("same names"), "{twins}");
}

#[test]
fn names_fit_what_models_may_be_told() {
    assert_eq!(shown_name("git hub", "list/issues"), "mcp_git_hub_list_issues");
    let (one, other) = (format!("{}1", "x".repeat(80)), format!("{}2", "x".repeat(80)));
    let names = [shown_name("s", &one), shown_name("s", &other)];
    assert!(names.iter().all(|name| name.len() == NAME_CHARS && name.starts_with("mcp_s_xxx")), "{names:?}");
    assert_ne!(names[0], names[1]);
}

#[test]
fn credentials_are_found_in_headers_and_variables() {
    let config = json!({"servers": {"s": {"url": "http://b", "headers": {"Authorization": "Bearer abc", "Accept": "x"}},
        "t": {"command": "c", "env": {"SOME_TOKEN": "def", "MODE": "fast"}}}});
    let found = secrets(config.as_object().unwrap());
    let found: Vec<_> = found.iter().map(|(_, secret)| secret.expose()).collect();
    assert_eq!(found, ["abc", "Bearer abc", "def"]);
}
