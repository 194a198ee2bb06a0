//! How a limit is changed when a run goes on: `limits.max_usd=5` is a place in the plan and a value for it.

use std::collections::BTreeMap;

use crate::clock::parse_duration;
use crate::plan::{LimitsPlan, Plan};
use crate::price::Usd;

/// Why a limit cannot be changed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum LimitError {
    /// There is no such limit.
    #[error(
        "`{name}` is no limit; write limits.KEY, phases.ID.limits.KEY or roles.ID.limits.KEY, where KEY is max_usd, max_tokens, max_turns or timeout (a role has none)"
    )]
    Unknown {
        /// As written.
        name: String,
    },
    /// The scenario has no such phase or role.
    #[error("`{name}`: the scenario has no {what} `{id}`")]
    Nobody {
        /// As written.
        name: String,
        /// `phase` or `role`.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The value makes no sense.
    #[error("`{name}` cannot be `{value}`; it is {wanted}")]
    Value {
        /// As written.
        name: String,
        /// As written.
        value: String,
        /// What it may be.
        wanted: &'static str,
    },
}

/// Changes limits of a plan.
pub(super) fn set(plan: &mut Plan, limits: &BTreeMap<String, String>) -> Result<(), LimitError> {
    for (name, value) in limits {
        set_one(plan, name, value)?;
    }
    Ok(())
}

fn set_one(plan: &mut Plan, name: &str, value: &str) -> Result<(), LimitError> {
    let nobody =
        |what: &'static str, id: &str| LimitError::Nobody { name: name.to_owned(), what, id: id.to_owned() };
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["limits", key] => change(&mut plan.limits, name, key, value),
        ["phases", id, "limits", key] => {
            let phase = plan.phases.iter_mut().find(|phase| phase.id.as_str() == *id);
            change(&mut phase.ok_or_else(|| nobody("phase", id))?.limits, name, key, value)
        }
        ["roles", id, "limits", key] if *key != "timeout" => {
            let role = plan.roles.values_mut().find(|role| role.id.as_str() == *id);
            change(&mut role.ok_or_else(|| nobody("role", id))?.limits, name, key, value)
        }
        _ => Err(LimitError::Unknown { name: name.to_owned() }),
    }
}

fn change(limits: &mut LimitsPlan, name: &str, key: &str, value: &str) -> Result<(), LimitError> {
    let wrong =
        |wanted: &'static str| LimitError::Value { name: name.to_owned(), value: value.to_owned(), wanted };
    let count = || match value.parse::<u64>() {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ => Err(wrong("a whole number of at least 1")),
    };
    match key {
        "max_usd" => {
            let usd = value.parse().ok().and_then(Usd::from_dollars);
            limits.max_usd = Some(usd.ok_or_else(|| wrong("a number of US dollars"))?);
        }
        "max_tokens" => limits.max_tokens = count()?,
        "max_turns" => limits.max_turns = count()?,
        "timeout" => {
            let timeout = parse_duration(value).filter(|timeout| !timeout.is_zero());
            limits.timeout = Some(timeout.ok_or_else(|| wrong("a duration, as `5m` or `1h30m`"))?);
        }
        _ => return Err(LimitError::Unknown { name: name.to_owned() }),
    }
    Ok(())
}
