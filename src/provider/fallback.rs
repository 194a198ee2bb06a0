//! Which models are asked in a model's place, and when.
//!
//! A mount plan names them in `fallback_models`; each is the same provider with another model, and is asked with the same
//! conversation. A call falls back when its attempts have failed for good and its model is unavailable (`is_unavailable`), and
//! when it was refused, if `refusal_fallback_enabled` says so. That it does is an effect, since faults made on purpose may lead to it, of
//! which a recording has none. The call with the next model is an effect of its own, with that
//! model in its key and its own attempts, so it is recorded, replayed and resumed like any other; `Happening::Fallback` tells
//! of it, it is paid at that model's price, and a budget sets the worst case of the dearest aside from the start. A session
//! stays with the model it has fallen back to for the rest of the prompt, for that one's cache, and begins the next with its own.

use std::sync::Arc;

use super::settings::{BuildError, Settings, key};
use super::{CallError, ErrorClass, Provider};
use crate::plan::{KeyInfo, KeyShape, ModuleSpec};

pub const MODELS: KeyInfo = key(
    "fallback_models",
    KeyShape::Any,
    "",
    "Models that are asked, in this order, when one is overloaded or its server fails after all attempts: one name or a list.",
);
pub const REFUSALS: KeyInfo = key(
    "refusal_fallback_enabled",
    KeyShape::Flag,
    "false",
    "Whether the next of `fallback_models` is asked, too, when a model refuses to answer.",
);

/// Who is asked in a model's place.
#[derive(Clone, Default)]
pub struct StandIns {
    /// In this order.
    pub providers: Vec<Arc<dyn Provider>>,
    /// What becomes of a refusal.
    pub refusals: Refusals,
}

/// What becomes of a refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Refusals {
    /// It is the answer.
    #[default]
    Stand,
    /// The next model is asked.
    FallBack,
}

/// What a mount plan says of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fallback {
    /// Their names, in order, without that of the model they stand in for.
    pub models: Vec<String>,
    /// What becomes of a refusal.
    pub refusals: Refusals,
}

impl Fallback {
    /// Who stands in for this model.
    ///
    /// # Errors
    /// A value makes no sense.
    pub fn read(spec: &ModuleSpec, model: &str) -> Result<Self, BuildError> {
        let settings = Settings::of(spec);
        let mut models = settings.texts(MODELS.name)?;
        let twice = (1..models.len()).find(|at| models[..*at].contains(&models[*at]));
        if let Some(at) = twice {
            return Err(settings.error(MODELS.name, format!("names `{}` twice; take one out", models[at])));
        }
        if models.iter().any(|name| name.trim().is_empty()) {
            return Err(settings.error(MODELS.name, "names a model without a name; take it out"));
        }
        let refusals = match settings.flag(REFUSALS.name)? {
            Some(true) if models.is_empty() => {
                let problem = "asks nobody: name the models that are asked then in `fallback_models`";
                return Err(settings.error(REFUSALS.name, problem));
            }
            Some(true) => Refusals::FallBack,
            _ => Refusals::Stand,
        };
        // Roles with models of their own share a mount plan: one of them may ask first what others fall back to.
        models.retain(|name| name != model);
        Ok(Self { models, refusals })
    }
}

/// Whether a failure says that the model cannot be had at present, which another may well be. That a model is unknown is a
/// mistake in a file, and everything else is no matter of the model.
pub fn is_unavailable(error: &CallError) -> bool {
    matches!(error.class, ErrorClass::Overloaded | ErrorClass::Server)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::source::{Place, Route, SourceId};

    fn read(config: &Value) -> Result<Fallback, String> {
        let spec = ModuleSpec {
            module: "provider-x".to_owned(),
            config: config.as_object().unwrap().clone(),
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        };
        Fallback::read(&spec, "m").map_err(|error| error.to_string())
    }

    #[test]
    fn models_stand_in_order_and_none_for_itself() {
        let models = |value: Value| read(&json!({"fallback_models": value})).unwrap().models;
        assert_eq!(models(json!("a")), ["a"]);
        assert_eq!(models(json!(["b", "m", "a"])), ["b", "a"]);
        assert_eq!(read(&json!({})).unwrap(), Fallback::default());
        let both = json!({"fallback_models": ["a"], "refusal_fallback_enabled": true});
        assert_eq!(read(&both).unwrap().refusals, Refusals::FallBack);
    }

    #[test]
    fn mistakes_are_named() {
        for (config, said) in [
            (json!({"fallback_models": ["a", "b", "a"]}), "`fallback_models` names `a` twice"),
            (json!({"fallback_models": ["a", " "]}), "names a model without a name"),
            (json!({"fallback_models": 3}), "`fallback_models` must be a list of texts"),
            (json!({"refusal_fallback_enabled": true}), "`refusal_fallback_enabled` asks nobody"),
        ] {
            let error = read(&config).unwrap_err();
            assert!(error.contains(said), "{config}: {error}");
        }
    }

    #[test]
    fn only_what_is_a_matter_of_the_model_is() {
        let all = [
            ErrorClass::Credential,
            ErrorClass::Billing,
            ErrorClass::Request,
            ErrorClass::RateLimit,
            ErrorClass::Overloaded,
            ErrorClass::Server,
            ErrorClass::Transport,
            ErrorClass::Timeout,
            ErrorClass::Protocol,
            ErrorClass::Script,
            ErrorClass::Cancelled,
        ];
        let others = all.into_iter().filter(|class| is_unavailable(&CallError::new(*class, "x")));
        assert_eq!(others.collect::<Vec<_>>(), [ErrorClass::Overloaded, ErrorClass::Server]);
    }
}
