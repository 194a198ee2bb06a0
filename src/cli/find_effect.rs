//! Which effect of a run or recording is meant: by its whole id, or the end of it that only one has.

use crate::diagnostic::nearest;
use crate::event::EffectRecord;

/// Why no effect is meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindEffectError {
    /// None is called so.
    #[error("there is no effect `{name}` among the {count} that are recorded{}; `runner logs RUN --effects` and the ledger of a recording name them", .nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// How many there are.
        count: usize,
        /// The one that is nearest.
        nearest: Option<String>,
    },
    /// Several are.
    #[error("`{name}` may be each of {}; give more of it", .found.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Those it may be; not more than a few.
        found: Vec<String>,
    },
}

/// Names shown of those an effect may be.
const SHOWN: usize = 6;

/// The effect that is meant.
pub(super) fn find_effect<'e>(
    effects: &'e [EffectRecord],
    name: &str,
) -> Result<&'e EffectRecord, FindEffectError> {
    if let Some(effect) = effects.iter().find(|effect| effect.id.as_str() == name) {
        return Ok(effect);
    }
    let ends = |effect: &&EffectRecord| !name.is_empty() && effect.id.as_str().ends_with(name);
    let found: Vec<&EffectRecord> = effects.iter().filter(ends).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let names = effects.iter().map(|effect| effect.id.as_str());
            let nearest = nearest(name, names).map(ToOwned::to_owned);
            Err(FindEffectError::Unknown { name: name.to_owned(), count: effects.len(), nearest })
        }
        several => {
            let found = several.iter().take(SHOWN).map(|effect| effect.id.to_string()).collect();
            Err(FindEffectError::Ambiguous { name: name.to_owned(), found })
        }
    }
}
