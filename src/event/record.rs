//! What is kept of a run so that it can be played again: every effect in commit order, with what made the replies.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EffectId, EffectKind, Evidence, Footprint, Policy, Segment};
use crate::chat::ToolSpec;
use crate::clock::Timestamp;
use crate::id::{Fingerprint, RoleId, RunId, Seed};
use crate::price::Prices;

/// One committed effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffectRecord {
    /// Its commit number.
    pub seq: u64,
    /// Its id.
    pub id: EffectId,
    /// Its kind.
    pub kind: EffectKind,
    /// The moment it saw as now.
    pub at: Timestamp,
    /// What it was asked with.
    pub key: Vec<Segment>,
    /// What it touched.
    pub footprint: Footprint,
    /// How a replay treats it.
    pub policy: Policy,
    /// What came of it.
    pub result: Value,
}

impl EffectRecord {
    /// The fingerprint of the result.
    pub fn result_hash(&self) -> Fingerprint {
        Fingerprint::of_json(&self.result)
    }
}

/// What a recording says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingHead {
    /// The version of the format.
    pub format: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What made the replies.
    pub evidence: Evidence,
    /// The run it was made from.
    pub run: RunId,
    /// The seed of every id in it.
    pub seed: Seed,
    /// When the run began.
    pub epoch: Timestamp,
    /// `provider-anthropic/claude-…` by role.
    pub models: BTreeMap<RoleId, String>,
    /// What its models cost when it was made, as far as it was known.
    #[serde(default, skip_serializing_if = "Prices::is_empty")]
    pub prices: Prices,
    /// The inputs that were set from outside, as they were written; what a replay is to have unless it is told otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// Values that were set in place of those of the scenario file, as `PATH=VALUE`; a replay has them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// What each role's model was told of tools that other programs offer, by the name of the server.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_tools: BTreeMap<RoleId, BTreeMap<String, Vec<ToolSpec>>>,
    /// How the run ended, by the name of its exit code; most end with `ok`, and do not say so.
    #[serde(default = "well", skip_serializing_if = "is_well")]
    pub ended: String,
}

/// How a run ends of which nothing else is said.
pub const ENDED_WELL: &str = "ok";

fn well() -> String {
    ENDED_WELL.to_owned()
}

fn is_well(ended: &str) -> bool {
    ended == ENDED_WELL
}

/// The only version of recordings this program writes and reads.
pub const RECORDING_FORMAT: u32 = 1;

/// A recorded run.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// What it says of itself.
    pub head: RecordingHead,
    /// Its effects, by commit number.
    pub effects: Vec<EffectRecord>,
    /// Texts of segments by fingerprint, as far as they are kept: prompts, system texts, tool specs.
    pub texts: BTreeMap<Fingerprint, Arc<str>>,
}
