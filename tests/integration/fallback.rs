//! Whether another model answers where one cannot be had or refuses: visibly, paid for, recorded, and only until the prompt
//! is answered.

use serde_json::{Value, json};

use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Brain, Fault, Part, Usage, brain};

const SCENARIO: &str = "version: 1
name: standing in
workspace: { path: work, fresh: true }
roles:
  clerk: { mount_plan: mount-plans/foreman.json }
phases:
  - id: fill
    session: { role: clerk, prompt: prompts/fill.md }
  - id: work
    workers:
      pool: [{ role: clerk, count: 1 }]
      prompt: prompts/work.md
      claim: agent
      max_iterations: 2
replay: { cassette: tape }
MORE
";

const OPUS: &str = "claude-opus-5";
const SONNET: &str = "claude-sonnet-5";
const FABLE: &str = "claude-fable-5";

/// A project whose clerks ask Opus, with more settings of their provider.
fn project(settings: &Value, more: &str) -> Project {
    let project = Project::shipped();
    let mut plan: Value = serde_json::from_str(&project.read("mount-plans/foreman.json")).expect("a plan");
    let config = plan["providers"][0]["config"].as_object_mut().expect("a map");
    config.extend(
        json!({"default_model": OPUS, "max_retries": 1, "min_retry_delay": 0, "max_retry_delay": 0, "max_tokens": 100})
            .as_object()
            .expect("a map")
            .clone(),
    );
    config.extend(settings.as_object().expect("a map").clone());
    project
        .write("mount-plans/foreman.json", &plan.to_string())
        .write("standing-in.yaml", &SCENARIO.replace("MORE", more))
        .write("prompts/fill.md", "Fill the queue.\n")
        .write("prompts/work.md", "Work.\n");
    project
}

fn tokens() -> Usage {
    Usage { input: 1_000, output: 100, ..Usage::default() }
}

/// A clerk that makes two issues, then takes and closes one in each of two iterations. To the first call of the first
/// iteration, `trouble` is what these models answer.
fn clerk(down: &'static [&'static str], trouble: fn() -> Answer) -> Brain {
    brain(move |asked| {
        let model = asked.body["model"].as_str().expect("a model");
        let (prompt, done) = (asked.prompt(), asked.since_prompt().len());
        let is_first = !asked.messages().iter().any(|message| message.to_string().contains("\"done\""));
        let call = |input: Value| Part::ToolUse { name: "issue_manager".to_owned(), input };
        let create = |title: &str| call(json!({"operation": "create", "params": {"title": title}}));
        let answer = match (prompt.trim(), done) {
            ("Fill the queue.", 0) => Answer::new(vec![create("one"), create("two")]),
            ("Work.", 0) if is_first && down.contains(&model) => return trouble(),
            ("Work.", 0) => Answer::new(vec![call(json!({"operation": "claim"}))]),
            ("Work.", 1) => {
                let id = asked.since_prompt()[0].json()["issue"]["id"].clone();
                let params = json!({"issue_id": id, "reason": "finished"});
                Answer::new(vec![call(json!({"operation": "close", "params": params}))])
            }
            _ => Answer::text("done"),
        };
        answer.usage(tokens())
    })
}

fn overloaded() -> Answer {
    Answer::status(529, "overloaded_error", "Overloaded")
}

fn models(server: &AnthropicServer) -> Vec<String> {
    let asked = server.requests().into_iter();
    asked.map(|request| request.body["model"].as_str().expect("a model").to_owned()).collect()
}

fn happened<'o>(lines: &'o [Value], kind: &str) -> Vec<&'o Value> {
    lines.iter().map(|line| &line["event"]).filter(|event| event["type"] == kind).collect()
}

fn record(project: &Project, server: &AnthropicServer, more: &[&str]) -> Outcome {
    project.point_at(server);
    let line = [&["record", "standing-in.yaml", "--to", "tape", "--json"], more].concat();
    project.runner(line).with_key().run()
}

/// What a run told, without when.
fn told(outcome: &Outcome) -> Vec<Value> {
    let kinds = ["turn.started", "turn.ended", "call.wasted", "fallback", "session.ended", "phase.ended"];
    let lines = outcome.json_lines();
    let events = lines.iter().map(|line| &line["event"]);
    events.filter(|event| kinds.iter().any(|kind| event["type"] == *kind)).cloned().collect()
}

/// A recording plays as it was made, whichever way it is held to.
fn replays_so(project: &Project, recorded: &Outcome) {
    for strictness in ["total", "causal"] {
        let line = ["replay", "standing-in.yaml", "--json", "--strictness", strictness];
        let replayed = project.runner(line).run().expect_code(recorded.code.expect("a code"));
        assert_eq!(told(&replayed), told(recorded), "{strictness}");
    }
}

#[test]
fn the_next_model_answers_until_the_prompt_is_answered() {
    let server = AnthropicServer::start(clerk(&[OPUS], overloaded));
    let project = project(&json!({"fallback_models": SONNET}), "");
    let recorded = record(&project, &server, &[]).expect_code(0);
    // Two for the queue; two attempts that fail, three answers of the other, and three of its own in the next iteration.
    assert_eq!(models(&server), [OPUS, OPUS, OPUS, OPUS, SONNET, SONNET, SONNET, OPUS, OPUS, OPUS]);
    let lines = recorded.json_lines();
    assert_eq!(happened(&lines, "retry").len(), 1);
    let [fallback] = happened(&lines, "fallback")[..] else { panic!("{}", recorded.stdout) };
    assert_eq!((&fallback["from"], &fallback["to"]), (&OPUS.into(), &SONNET.into()));
    assert!(fallback["reason"].as_str().is_some_and(|why| why.contains("Overloaded")), "{fallback}");
    // 1000 tokens in and 100 out, of Opus at 5 and 25 dollars a million, of Sonnet at 2 and 10.
    let cost = |event: &&Value| (event["cost"].as_f64().expect("a price") * 1e6).round() as u64;
    let costs: Vec<u64> = happened(&lines, "turn.ended").iter().map(cost).collect();
    assert_eq!(costs, [7_500, 7_500, 3_000, 3_000, 3_000, 7_500, 7_500, 7_500]);
    replays_so(&project, &recorded);
    let plain = project.runner(["replay", "standing-in.yaml"]).run().expect_code(0);
    assert!(plain.text().contains(&format!("asks {SONNET} in place of {OPUS} until")), "{}", plain.text());
}

#[test]
fn an_error_inside_a_stream_is_paid_and_all_models_are_tried_in_their_order() {
    let broken = || {
        let fault = Fault::ErrorEvent { kind: "api_error".to_owned(), after: 3 };
        Answer::text("so far").usage(tokens()).fault(fault)
    };
    let server = AnthropicServer::start(clerk(&[OPUS, SONNET], broken));
    let settings = json!({"fallback_models": [SONNET, FABLE], "max_retries": 0});
    let project = project(&settings, "limits: { max_usd: 1 }");
    let recorded = record(&project, &server, &[]).expect_code(0);
    assert_eq!(models(&server)[2..], [OPUS, SONNET, FABLE, FABLE, FABLE, OPUS, OPUS, OPUS]);
    let lines = recorded.json_lines();
    assert_eq!(happened(&lines, "fallback").len(), 2);
    let costs: Vec<f64> =
        happened(&lines, "call.wasted").iter().map(|event| event["cost"].as_f64().unwrap()).collect();
    assert!(costs.len() == 2 && costs[0] > costs[1], "each at the price of its model: {costs:?}");
    replays_so(&project, &recorded);
}

#[test]
fn what_is_no_matter_of_the_model_or_of_all_of_them_fails() {
    let server = AnthropicServer::start(clerk(&[OPUS, SONNET], overloaded));
    let ours = project(&json!({"fallback_models": [SONNET]}), "");
    let recorded = record(&ours, &server, &[]).expect_code(1);
    assert!(recorded.stdout.contains("(tried 4 times)"), "{}", recorded.stdout);
    assert_eq!(models(&server)[2..], [OPUS, OPUS, SONNET, SONNET]);
    let causes: [fn() -> Answer; 4] = [
        || Answer::status(404, "not_found_error", "model: claude-opus-5"),
        || Answer::status(429, "rate_limit_error", "slow down"),
        || Answer::status(402, "billing_error", "no money"),
        || Answer::text("never").stop("refusal"),
    ];
    for cause in causes {
        let server = AnthropicServer::start(clerk(&[OPUS], cause));
        let project = project(&json!({"fallback_models": [SONNET]}), "");
        record(&project, &server, &[]);
        assert!(!models(&server).iter().any(|model| model == SONNET), "{:?}", cause());
    }
}

#[test]
fn a_refusal_is_put_to_the_next_model_if_that_is_wanted() {
    let refuses = || Answer::text("I would rath").stop("refusal").usage(tokens());
    let server = AnthropicServer::start(clerk(&[OPUS], refuses));
    let settings = json!({"fallback_models": [SONNET], "refusal_fallback_enabled": true});
    let ours = project(&settings, "limits: { max_turns: 9 }");
    let recorded = record(&ours, &server, &[]).expect_code(0);
    assert_eq!(models(&server)[2..], [OPUS, SONNET, SONNET, SONNET, OPUS, OPUS, OPUS]);
    for request in server.requests() {
        assert!(!request.body.to_string().contains("I would rath"), "nothing of it is said again");
    }
    let lines = recorded.json_lines();
    assert_eq!(happened(&lines, "call.wasted").len(), 1);
    replays_so(&ours, &recorded);
    // Both are answers, and both count.
    let project = project(&settings, "limits: { max_turns: 8 }");
    record(&project, &server, &[]).expect_code(7);
}

#[test]
fn the_worst_case_that_a_budget_sets_aside_is_that_of_the_dearest_model() {
    // For a million tokens that are cached, Fable takes 12.5 dollars, Opus 6.25 and Sonnet 2.5.
    let is_enough = |model: &str, dollars: f64| {
        let server = AnthropicServer::start(clerk(&[], overloaded));
        let limit = format!("limits: {{ max_usd: {dollars} }}");
        record(&project(&json!({"fallback_models": model}), &limit), &server, &[]).code == Some(0)
    };
    let least =
        |model: &str| (1..20).map(|tenth| f64::from(tenth) / 10.0).find(|most| is_enough(model, *most));
    let (alone, sonnet, fable) = (least(OPUS), least(SONNET), least(FABLE));
    assert!(alone.is_some() && alone == sonnet, "{alone:?} {sonnet:?}");
    assert!(fable > sonnet, "{fable:?} {sonnet:?}");
}

#[test]
fn a_fault_on_purpose_leads_there_too_and_its_recording_needs_none() {
    let server = AnthropicServer::start(clerk(&[], overloaded));
    let project = project(&json!({"fallback_models": [SONNET], "max_retries": 0}), "");
    let fault = ["--fault", "work/clerk-1/1=http:529"];
    let recorded = record(&project, &server, &fault).expect_code(0);
    assert_eq!(models(&server)[2..], [SONNET, SONNET, SONNET, OPUS, OPUS, OPUS]);
    assert_eq!(happened(&recorded.json_lines(), "fallback").len(), 1);
    replays_so(&project, &recorded);
}

#[test]
fn a_run_that_was_killed_on_the_way_goes_on_with_the_same_model() {
    let expected = {
        let server = AnthropicServer::start(clerk(&[OPUS], overloaded));
        let project = project(&json!({"fallback_models": SONNET}), "limits: { max_usd: 1 }");
        record(&project, &server, &[]).expect_code(0);
        models(&server)
    };
    let mut points = 0;
    for point in (1..).step_by(2) {
        let server = AnthropicServer::start(clerk(&[OPUS], overloaded));
        let project = project(&json!({"fallback_models": SONNET}), "limits: { max_usd: 1 }");
        let killed = record(&project, &server, &["--fault", &format!("commit:{point}=kill")]);
        if killed.signal.is_none() {
            break;
        }
        points = point;
        let resumed = project.runner(["resume", "--json"]).with_key().run();
        assert_eq!(resumed.code, Some(0), "{point}: {}", resumed.text());
        // The call that is under way when the process is killed is made once more.
        let asked = models(&server);
        let without = |at: usize| [&asked[..at], &asked[at + 1..]].concat();
        let is_as_expected = asked == expected || (0..asked.len()).any(|at| without(at) == expected);
        assert!(is_as_expected, "killed after {point}: {asked:?}");
        let cost = project.runner(["show", "--json"]).run().json()["cost_usd"].as_f64().expect("a cost");
        assert!((cost - 0.046_5).abs() < 1e-9, "killed after {point}: {cost}");
    }
    assert!(points > 20, "{points}");
}

#[test]
fn a_model_that_stands_in_needs_a_price_where_money_is_limited() {
    let project = project(&json!({"fallback_models": ["claude-mystery"]}), "limits: { max_usd: 1 }");
    let refused = project.runner(["check", "standing-in.yaml"]).run().expect_code(2);
    assert!(refused.stderr.contains("nobody knows what model `claude-mystery` costs"), "{}", refused.text());
    let priced = "limits: { max_usd: 1 }\nprices: { claude-mystery: { input: 1, output: 2 } }";
    project.replace("standing-in.yaml", "limits: { max_usd: 1 }", priced);
    let checked = project.runner(["check", "standing-in.yaml"]).run().expect_code(0);
    assert!(!checked.text().contains("no role asks"), "{}", checked.text());
    project.replace("mount-plans/foreman.json", "[\"claude-mystery\"]", "[\"a\",\"a\"]");
    let wrong = project.runner(["check", "standing-in.yaml"]).run().expect_code(2);
    assert!(wrong.stderr.contains("`fallback_models` names `a` twice"), "{}", wrong.text());
}
