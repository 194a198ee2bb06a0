//! A brain that plays the shipped demo: the foreman who fills and unblocks the queue, and the workers who drain it.
//!
//! Every answer follows from the conversation alone, so workers may race in any order and a repeated request gets the
//! same answer again.

use serde_json::{Value, json};

use super::brain::{Answer, Asked, Brain, Exchange, Part, brain};

const TOOL: &str = "issue_manager";

/// What the foreman answers to the blocked issue.
const PRIORITIES: &str = "/api/users first, then /api/orders";

/// The issues of the demo: title, type, priority, who works on it.
const ISSUES: [(&str, &str, u8, &str); 5] = [
    ("Fix login bug", "bug", 0, "coding"),
    ("Implement password reset", "feature", 1, "coding"),
    ("Research competitor pricing", "task", 2, "research"),
    ("Analyze user onboarding flow", "task", 2, "research"),
    ("Optimize database queries", "task", 1, "coding"),
];

/// Plays the whole team.
pub fn demo() -> Brain {
    brain(|asked| {
        let prompt = asked.prompt();
        let calls = asked.since_prompt();
        let said = prompt.to_lowercase();
        if !asked.offers(TOOL) {
            Answer::text("I have no tools left; this is where I stopped.")
        } else if said.contains("create the following") {
            create(&calls)
        } else if let Some(worker) = worker_name(&prompt).or_else(|| worker_name(&asked.system())) {
            work(&worker, asked, &calls)
        } else if said.contains("unblock") || said.contains("blocked issues") {
            unblock(&calls)
        } else {
            Answer::text("There is nothing for me to do here.")
        }
    })
}

fn call(operation: &str, params: impl Into<Value>) -> Answer {
    Answer::call(TOOL, json!({"operation": operation, "params": params.into()}))
}

/// The foreman at the start: five issues in one message, then the last is blocked, then a look at the whole.
fn create(calls: &[Exchange]) -> Answer {
    let created: Vec<_> = calls.iter().filter(|call| call.operation() == "create").collect();
    if created.is_empty() {
        let parts = ISSUES.iter().map(|(title, kind, priority, worker)| Part::ToolUse {
            name: TOOL.to_owned(),
            input: json!({"operation": "create", "params": {
                "title": title, "description": format!("{title}: one of the issues of the demo — naïve but real."),
                "issue_type": kind, "priority": priority, "metadata": {"worker_type": worker},
            }}),
        });
        let mut all = vec![Part::Text("I will create the five issues now.".to_owned())];
        all.extend(parts);
        return Answer::new(all);
    }
    if let Some(failed) = calls.iter().find(|call| call.is_error) {
        return Answer::text(format!("I cannot go on: {}", failed.result));
    }
    let last = created.last().expect("five were created").json();
    if !calls.iter().any(|call| call.operation() == "block") {
        let notes = "Which endpoints should be optimised first?";
        return call("block", json!({"issue_id": last["issue"]["id"], "notes": notes}));
    }
    if !calls.iter().any(|call| call.operation() == "list") {
        return call("list", json!({}));
    }
    let titles: Vec<_> = ISSUES.iter().map(|(title, ..)| *title).collect();
    Answer::text(format!(
        "Created 5 issues: {}. The last is blocked on endpoint priorities.",
        titles.join(", ")
    ))
}

/// A worker: one issue a prompt. Claim, write the plan where files can be written, close, say so.
fn work(worker: &str, asked: &Asked, calls: &[Exchange]) -> Answer {
    let claimed = calls.iter().find(|call| call.operation() == "claim");
    let (id, title) = match (issue_id(&asked.prompt()), claimed) {
        (Some(given), _) => (given, "the issue of this prompt".to_owned()),
        (None, None) => return call("claim", json!({})),
        (None, Some(claim)) if claim.is_error => {
            return Answer::text(format!("I could not claim: {}", claim.result));
        }
        (None, Some(claim)) => {
            let issue = claim.json()["issue"].clone();
            let Some(id) = issue["id"].as_str() else {
                return Answer::text("No work available");
            };
            (id.to_owned(), issue["title"].as_str().unwrap_or_default().to_owned())
        }
    };
    let plan =
        format!("Plan for {title} by {worker}: reproduce or read up, change one thing, check the result.");
    let wrote = calls.iter().any(|call| call.name == "write_file");
    let closed = calls.iter().find(|call| call.operation() == "close");
    match closed {
        None if asked.offers("write_file") && !wrote => {
            Answer::call("write_file", json!({"file_path": format!("plans/{id}.md"), "content": plan}))
        }
        None => call("close", json!({"issue_id": id, "reason": plan})),
        Some(close) if close.is_error => Answer::text(format!("I could not close {id}: {}", close.result)),
        Some(_) => Answer::text(format!("Closed {id}: {title}.")),
    }
}

/// The foreman at a check: list what is blocked, answer each.
fn unblock(calls: &[Exchange]) -> Answer {
    let Some(listed) = calls.iter().find(|call| call.operation() == "list") else {
        return call("list", json!({"status": "blocked"}));
    };
    let listed = listed.json();
    let blocked: Vec<_> = listed["issues"].as_array().into_iter().flatten().collect();
    if blocked.is_empty() {
        return Answer::text("No blocked issues.");
    }
    let answered = calls.iter().filter(|call| call.operation() == "unblock");
    if answered.clone().next().is_none() {
        let parts = blocked.iter().map(|issue| Part::ToolUse {
            name: TOOL.to_owned(),
            input: json!({"operation": "unblock", "params": {"issue_id": issue["id"], "answer": PRIORITIES}}),
        });
        return Answer::new(parts.collect());
    }
    let done = answered.filter(|call| !call.is_error).count();
    Answer::text(format!("Unblocked {done} of {} issues: {PRIORITIES}.", blocked.len()))
}

/// The first `…-worker-N` of a text.
fn worker_name(text: &str) -> Option<String> {
    words(text).find(|word| {
        word.rsplit_once("-worker-")
            .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// The first issue id of a text.
fn issue_id(text: &str) -> Option<String> {
    words(text).find(|word| {
        word.strip_prefix("bd-").is_some_and(|id| {
            id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
    })
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-' && character != '_')
        .map(|word| word.trim_matches('-').to_owned())
}
