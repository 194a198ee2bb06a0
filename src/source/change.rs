//! How one value of a file is set from outside: `roles.coder.model=claude-x`, without a change of the file.

use std::fmt;
use std::str::FromStr;

use super::node::{Entry, Node, NodeValue};
use super::route::Step;
use super::yaml;

/// A value in place of the one that stands at a route. A step by name into a list means its item with this `id`.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    text: String,
    steps: Vec<Step>,
    value: NodeValue,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage =
            "write it as PATH=VALUE, as roles.coder.model=claude-x or phases[0].workers.max_iterations=3";
        let (path, value) = text.split_once('=').ok_or(usage)?;
        let steps = steps(path).ok_or(usage)?;
        let value =
            yaml::parse(value).map_err(|error| format!("the value cannot be read: {}", error.message))?;
        Ok(Self { text: text.to_owned(), steps, value: value.value })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in path.trim().split('.') {
        let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !name.is_empty() {
            steps.push(Step::Key(name.to_owned()));
        } else if rest.is_empty() || steps.is_empty() {
            return None;
        }
        while let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Some(steps)
}

impl Change {
    /// Makes the change. What is new stands where what it belongs to begins.
    ///
    /// # Errors
    /// The route leads nowhere; the text says where it ends. Nothing has changed then.
    pub fn apply(&self, tree: &mut Node) -> Result<(), String> {
        let mut node = tree;
        for (at, step) in self.steps.iter().enumerate() {
            node = child(node, step).ok_or_else(|| self.lost(at))?;
        }
        node.value = placed(&self.value, &node.span);
        Ok(())
    }

    /// Where the route ends before its end.
    fn lost(&self, at: usize) -> String {
        let before = super::Route(self.steps[..at].to_vec());
        let place = if at == 0 { "the scenario".to_owned() } else { format!("`{before}`") };
        match &self.steps[at] {
            Step::Key(key) => format!("{place} can have no `{key}`"),
            Step::Index(index) => format!("{place} has no item {index}; items count from 0"),
        }
    }
}

/// The child that a step leads to; a key that a map does not have yet comes into being.
fn child<'n>(node: &'n mut Node, step: &Step) -> Option<&'n mut Node> {
    let start = node.span.start..node.span.start;
    if node.is_null() && matches!(step, Step::Key(_)) {
        node.value = NodeValue::Map(Vec::new());
    }
    match (&mut node.value, step) {
        (NodeValue::List(items), Step::Index(index)) => items.get_mut(*index),
        (NodeValue::List(items), Step::Key(id)) => {
            items.iter_mut().find(|item| item.get("id").and_then(Node::as_text) == Some(id))
        }
        (NodeValue::Map(entries), Step::Key(key)) => {
            let at = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
                let value = Node { value: NodeValue::Null, span: start.clone() };
                entries.push(Entry { key: key.clone(), key_span: start, value });
                entries.len() - 1
            });
            Some(&mut entries[at].value)
        }
        _ => None,
    }
}

/// The value with all its parts in one place.
fn placed(value: &NodeValue, span: &std::ops::Range<usize>) -> NodeValue {
    let node = |node: &Node| Node { value: placed(&node.value, span), span: span.clone() };
    match value {
        NodeValue::List(items) => NodeValue::List(items.iter().map(node).collect()),
        NodeValue::Map(entries) => NodeValue::Map(
            entries
                .iter()
                .map(|entry| Entry {
                    key: entry.key.clone(),
                    key_span: span.clone(),
                    value: node(&entry.value),
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(text: &str, changes: &[&str]) -> Result<serde_json::Value, String> {
        let mut tree = yaml::parse(text).expect("the test writes YAML");
        for change in changes {
            change.parse::<Change>()?.apply(&mut tree)?;
        }
        Ok(tree.to_json())
    }

    const TEXT: &str = "roles: {a: {model: x}}\nphases: [{id: work, workers: {pool: [1, 2]}}]\nlimits:\n";

    #[test]
    fn values_are_replaced_and_come_into_being() {
        let changes = ["roles.a.model=y", "roles.b.vars.deep=[1, two]", "phases.work.workers.pool[1]=3"];
        let expected = json!({
            "roles": {"a": {"model": "y"}, "b": {"vars": {"deep": [1, "two"]}}},
            "phases": [{"id": "work", "workers": {"pool": [1, 3]}}],
            "limits": null,
        });
        assert_eq!(changed(TEXT, &changes), Ok(expected));
        let limits = changed(TEXT, &["limits.max_turns=7", "phases[0].id=other=1"]).unwrap();
        assert_eq!(
            (&limits["limits"], &limits["phases"][0]["id"]),
            (&json!({"max_turns": 7}), &json!("other=1"))
        );
    }

    #[test]
    fn a_route_that_leads_nowhere_says_where_it_ends() {
        let error = |change: &str| changed(TEXT, &[change]).unwrap_err();
        assert_eq!(error("phases[3].id=x"), "`phases` has no item 3; items count from 0");
        assert_eq!(error("phases.play.id=x"), "`phases` can have no `play`");
        assert_eq!(error("roles.a.model.name=x"), "`roles.a.model` can have no `name`");
        for wrong in ["roles", "=x", ".a=1", "a..b=1", "a[x]=1", "a[1=1", "[0]=1"] {
            assert!(error(wrong).starts_with("write it as PATH=VALUE"), "{wrong}");
        }
        assert!(error("a={").starts_with("the value cannot be read"), "{}", error("a={"));
    }
}
