//! What the command line and the environment set in place of values of a scenario: how much a run may spend and do at once,
//! and which models it asks.

use std::num::NonZeroU32;

use clap::Args;

use super::arguments::CommonArguments;
use super::refusal::{Granted, Refusal};
use super::surroundings::Surroundings;
use crate::clock::parse_duration;
use crate::diagnostic::nearest;
use crate::price::Usd;
use crate::source::{Change, Sources};

/// Options of a run; all but `--dry-run` are for one that asks models.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Overrides {
    /// How many sessions work at once; the others wait
    #[arg(short, long, value_name = "NUMBER")]
    pub(super) jobs: Option<NonZeroU32>,
    /// What the model calls may cost together, in dollars [env: RUNNER_MAX_USD]
    #[arg(long, value_name = "USD", value_parser = dollars)]
    pub(super) max_usd: Option<String>,
    /// How long the run may take: 90s, 10m, 2h [env: RUNNER_TIMEOUT]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) timeout: Option<String>,
    /// Ask this model for a role: coder=claude-x or coder=provider-openai/gpt-x [env: RUNNER_MODEL]
    #[arg(long, value_name = "ROLE=MODEL", value_parser = role_and_model)]
    pub(super) model: Vec<(String, String)>,
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Overrides {
    /// Those of the command line, by their names.
    pub(super) fn named(&self) -> Vec<&'static str> {
        let given = [
            (self.jobs.is_some(), "--jobs"),
            (self.max_usd.is_some(), "--max-usd"),
            (self.timeout.is_some(), "--timeout"),
            (!self.model.is_empty(), "--model"),
        ];
        given.into_iter().filter_map(|(is_given, name)| is_given.then_some(name)).collect()
    }

    /// A recording is played as it was made.
    pub(super) fn refuse_in_replay(&self, why: &str) -> Granted<()> {
        let Some(name) = self.named().first().copied() else { return Ok(()) };
        Err(Refusal::invalid(format!(
            "{name} is for a run that asks models, and {why}: a recording is played as it was made; leave {name} out, or ask models with --live"
        )))
    }

    /// The arguments with what stands here, and what variables say in its place. `--set` wins over both.
    pub(super) fn over(
        &self,
        common: &CommonArguments,
        surroundings: &Surroundings,
    ) -> Granted<CommonArguments> {
        let read = |name: &str, read: fn(&str) -> Result<String, String>| match surroundings.variable(name) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .map_err(|why| Refusal::invalid(format!("{name} is set to `{value}`: {why}"))),
        };
        let mut texts = Vec::new();
        let set = |path: &str, value: Option<String>| value.map(|value| format!("limits.{path}={value}"));
        texts.extend(set("max_sessions", self.jobs.map(|jobs| jobs.to_string())));
        texts.extend(set("max_usd", self.max_usd.clone().or(read("RUNNER_MAX_USD", dollars)?)));
        texts.extend(set("timeout", self.timeout.clone().or(read("RUNNER_TIMEOUT", time)?)));
        let models = self.models(surroundings)?;
        check_roles(&models, common, surroundings)?;
        let models = models.iter().map(|model| (&model.role, &model.model));
        texts.extend(models.map(|(role, model)| format!("roles.{role}.model={}", quoted(model))));
        let parse = |text: &String| text.parse::<Change>().map_err(Refusal::invalid);
        let mut changes = texts.iter().map(parse).collect::<Granted<Vec<_>>>()?;
        changes.extend(common.set.iter().cloned());
        Ok(CommonArguments { set: changes, ..common.clone() })
    }

    /// The models of roles: those that the variable names, and those of the command line in place of them.
    fn models(&self, surroundings: &Surroundings) -> Granted<Vec<RoleModel>> {
        const VARIABLE: &str = "RUNNER_MODEL";
        let mut models = Vec::new();
        for word in surroundings.variable(VARIABLE).unwrap_or_default().split(',').map(str::trim) {
            if word.is_empty() {
                continue;
            }
            let (role, model) = role_and_model(word)
                .map_err(|why| Refusal::invalid(format!("{VARIABLE} has `{word}` in it: {why}")))?;
            models.push(RoleModel { role, model, from: VARIABLE });
        }
        for (role, model) in &self.model {
            models.retain(|known: &RoleModel| known.role != *role);
            models.push(RoleModel { role: role.clone(), model: model.clone(), from: "--model" });
        }
        Ok(models)
    }
}

/// A model for a role, and who says so.
struct RoleModel {
    role: String,
    model: String,
    from: &'static str,
}

/// Each role must be one of the scenario's. What is wrong with the file itself is for others to tell.
fn check_roles(models: &[RoleModel], common: &CommonArguments, surroundings: &Surroundings) -> Granted<()> {
    if models.is_empty() {
        return Ok(());
    }
    let mut sources = Sources::new();
    let file = surroundings.working_dir.join(&common.file);
    let Ok(source) = sources.read(&file, &common.file) else { return Ok(()) };
    let Ok(tree) = sources.parse(source) else { return Ok(()) };
    let Some(entries) = tree.get("roles").and_then(|roles| roles.as_map()) else { return Ok(()) };
    let roles: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    for RoleModel { role, from, .. } in models {
        if roles.contains(&role.as_str()) {
            continue;
        }
        let shown = common.file.display();
        let remedy = match nearest(role, roles.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its roles are {}", roles.join(", ")),
        };
        return Err(Refusal::invalid(format!("{from}: {shown} has no role `{role}`; {remedy}")));
    }
    Ok(())
}

/// A model's name as a value of the scenario file: most need no quotes.
fn quoted(model: &str) -> String {
    let is_plain = model.starts_with(|first: char| first.is_ascii_alphabetic())
        && model.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@".contains(c))
        && !model.ends_with(':');
    let is_word =
        matches!(model.to_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off");
    if is_plain && !is_word { model.to_owned() } else { serde_json::Value::from(model).to_string() }
}

fn dollars(text: &str) -> Result<String, String> {
    let amount = text.trim().parse::<f64>().ok().filter(|amount| *amount >= 0.0).and_then(Usd::from_dollars);
    // As a file has it: `0010` is no number there.
    amount
        .and_then(|_| text.trim().parse::<f64>().ok())
        .map(|amount| amount.to_string())
        .ok_or_else(|| "write it as an amount of dollars, as 2.50".to_owned())
}

fn time(text: &str) -> Result<String, String> {
    let time = parse_duration(text.trim()).filter(|time| !time.is_zero());
    time.map(|_| text.trim().to_owned()).ok_or_else(|| "write it with its unit, as 90s, 10m or 2h".to_owned())
}

fn role_and_model(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((role, model)) if !role.trim().is_empty() && !model.trim().is_empty() => {
            Ok((role.trim().to_owned(), model.trim().to_owned()))
        }
        _ => Err("write it as ROLE=MODEL or ROLE=PROVIDER/MODEL, as coder=provider-openai/gpt-x".to_owned()),
    }
}
