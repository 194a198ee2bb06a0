//! How does checking a scenario grow with its length? `cargo bench --bench check` prints the table of
//! `docs/performance.md`.
//!
//! Each unit of a made scenario has a role, an input, a seed, a session and a pool of workers with prompts of their own, so
//! all lists of the file grow alike. What is counted is the CPU time of loading it: reading, parsing, all rules, and
//! rendering every prompt with sample values. The allocator is warm, and the
//! files are in the system's cache.

#[path = "../turns/figures.rs"]
#[expect(dead_code, reason = "the other bench uses more of it")]
mod figures;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use figures::{Sample, short};
use runner::plan::{ModuleInfo, Variables};
use runner::scenario::{LoadRequest, load};
use runner::session::Registry;
use runner::source::Sources;

/// Lines of the scenarios.
const LINES: [usize; 5] = [1_000, 2_000, 4_000, 8_000, 16_000];

/// Lines of one unit.
const UNIT: usize = 40;

/// How often each is measured; three more come before, to warm up.
const TIMES: usize = 15;

fn main() {
    let catalogue = Registry::builtin().catalogue();
    let folder = tempfile::tempdir().expect("a temporary folder");
    say("\n## Checking\n");
    say(
        "| lines | phases | check, ms of CPU | by the line, µs | with two mistakes a unit, ms of CPU | by the line, µs |",
    );
    say("|---:|---:|---:|---:|---:|---:|");
    let mut medians = Vec::new();
    for lines in LINES {
        let units = lines / UNIT;
        let root = folder.path().join(lines.to_string());
        let written = project(&root, units);
        let lines = written.lines;
        let clean = measure(&root, written.right, &catalogue, 0);
        let faulty = measure(&root, written.wrong, &catalogue, 2 * units);
        let by_line = |sample: &Sample| short(sample.median() * 1e3 / lines as f64);
        let cells = [clean.spread(), by_line(&clean), faulty.spread(), by_line(&faulty)];
        say(&format!("| {lines} | {} | {} |", 2 * units, cells.join(" | ")));
        medians.push((clean.median(), faulty.median()));
    }
    let growth = |of: fn(&(f64, f64)) -> f64| {
        let times = medians.windows(2).map(|pair| short(of(&pair[1]) / of(&pair[0])));
        times.collect::<Vec<_>>().join(", ")
    };
    say(&format!(
        "\nTwice the lines take {} times as long; with mistakes {}.",
        growth(|m| m.0),
        growth(|m| m.1)
    ));
}

/// A scenario, once as it should be and once with mistakes.
struct Written {
    right: &'static str,
    wrong: &'static str,
    lines: usize,
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads what a bench prints");
}

/// Writes a scenario of so many units and one with two mistakes in each.
fn project(root: &Path, units: usize) -> Written {
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("folders");
        std::fs::write(path, text).expect("written");
    };
    write(
        "mount-plans/worker.yaml",
        "session: { orchestrator: loop-basic, context: context-simple }\n\
         providers: [{ module: provider-mock }]\n\
         tools: [{ module: tool-issue }]\n",
    );
    for unit in 0..units {
        let plan = format!("Plan {{{{ inputs.goal_{unit} }}}} as {{{{ role.id }}}}.\n");
        write(&format!("prompts/plan-{unit}.md"), &plan);
        let work = "{{ worker.name }}: {{ issue.title }}\n\
                    {% for other in issues.list(status=\"open\") %}- {{ other.title }}\n{% endfor %}\n";
        write(&format!("prompts/work-{unit}.md"), work);
    }
    let text = scenario(units);
    write("right.yaml", &text);
    let wrong = text.replace("max_iterations", "max_iteration").replace("needs: [plan-", "needs: [plam-");
    write("wrong.yaml", &wrong);
    Written { right: "right.yaml", wrong: "wrong.yaml", lines: text.lines().count() }
}

fn scenario(units: usize) -> String {
    let mut text = String::from("version: 1\nname: long\n");
    let mut part = |head: &str, unit: &dyn Fn(usize) -> String| {
        text.push_str(head);
        (0..units).for_each(|at| text.push_str(&unit(at)));
    };
    part("inputs:\n", &|at| {
        format!("  goal_{at}:\n    description: What unit {at} is for\n    default: goal {at}\n")
    });
    part("roles:\n", &|at| {
        format!(
            "  role-{at}:\n    mount_plan: mount-plans/worker.yaml\n    takes: {{ unit: u{at} }}\n    vars:\n      number: {at}\n      tone: calm\n"
        )
    });
    part("phases:\n", &|at| {
        let mut phases = String::new();
        let needs = if at == 0 { "[]".to_owned() } else { format!("[work-{}]", at - 1) };
        let _ = write!(
            phases,
            "  - id: plan-{at}\n    needs: {needs}\n    session:\n      role: role-{at}\n      prompt: prompts/plan-{at}.md\n    limits:\n      max_turns: 20\n      timeout: 5m\n    expect:\n      - issues.total > {at}\n"
        );
        let _ = write!(
            phases,
            "  - id: work-{at}\n    needs: [plan-{at}]\n    when: phases[\"plan-{at}\"].status == \"completed\"\n    workers:\n      pool:\n        - role: role-{at}\n          count: 1\n      prompt: prompts/work-{at}.md\n      max_iterations: 5\n    expect:\n      - issues.open == 0\n"
        );
        phases
    });
    part("queue:\n  issues:\n", &|at| {
        format!(
            "    - key: seed-{at}\n      title: Work on {{{{ inputs.goal_{at} }}}}\n      description: What there is to do in unit {at}\n      priority: high\n      metadata:\n        unit: u{at}\n"
        )
    });
    text
}

fn measure(root: &Path, name: &str, catalogue: &[ModuleInfo], least: usize) -> Sample {
    let variables = Variables::new();
    let spans: Vec<Duration> = (0..TIMES + 3)
        .map(|_| {
            let request = LoadRequest {
                file: name.into(),
                working_dir: root.to_owned(),
                home: None,
                inputs: BTreeMap::new(),
                variables: &variables,
                catalogue,
                tool_names: Vec::new(),
                changes: Vec::new(),
                workspace: None,
            };
            let begun = cpu();
            let mut sources = Sources::new();
            let loaded = load(&request, &mut sources);
            let shown = loaded.report.render(&sources, runner::diagnostic::Look::Plain);
            let spent = cpu() - begun;
            let head: String = shown.chars().take(2_000).collect();
            assert_eq!(loaded.plan.is_some(), least == 0, "{head}");
            assert!(loaded.report.diagnostics().len() >= least, "{head}");
            spent
        })
        .collect();
    Sample::of(spans.into_iter().skip(3))
}

/// What this thread has spent on a CPU. Loading has no other threads.
fn cpu() -> Duration {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells what a thread has used");
    let nanos =
        text.split(' ').next().and_then(|number| number.parse().ok()).expect("nanoseconds come first");
    Duration::from_nanos(nanos)
}
