//! How a place in a file is named without offsets: `phases[1].workers.pool[0].role`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text owned by `Sources`, by its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(pub u32);

/// One step from a node to a child.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Into the value of a key.
    Key(String),
    /// Into the n-th item, from 0.
    Index(usize),
}

/// The way from the top of a file to a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Route(pub Vec<Step>);

impl Route {
    /// The top of the file.
    pub fn root() -> Self {
        Self::default()
    }

    /// The route one key deeper.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.into()));
        Self(steps)
    }

    /// The route one item deeper.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// The route one step shorter; the top stays the top.
    #[must_use]
    pub fn parent(&self) -> Self {
        let mut steps = self.0.clone();
        steps.pop();
        Self(steps)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Which part of an entry is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The key itself, for mistakes in the key.
    Key,
    /// The value.
    Value,
}

/// A node of a file: what rules, plans and errors carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub source: SourceId,
    /// The way to the node.
    pub route: Route,
    /// Key or value.
    pub part: Part,
}

impl Place {
    /// The value at a route.
    pub fn value(source: SourceId, route: Route) -> Self {
        Self { source, route, part: Part::Value }
    }

    /// The key at a route.
    pub fn of_key(source: SourceId, route: Route) -> Self {
        Self { source, route, part: Part::Key }
    }
}
