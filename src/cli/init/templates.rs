//! The templates: what is in `templates/`, a folder each, compiled in; and the files that go with all of them.

use crate::source::Sources;

/// A file of a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    /// From the folder of the project, with `/` between its parts.
    pub(super) path: &'static str,
    pub(super) text: &'static str,
}

/// A project to begin with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Template {
    pub(super) name: &'static str,
    pub(super) files: &'static [File],
}

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

impl Template {
    /// The scenario that it is about.
    pub(super) fn scenario(&self) -> String {
        format!("scenarios/{}.yaml", self.name)
    }

    /// What the scenario says of itself.
    pub(super) fn description(&self) -> String {
        let path = self.scenario();
        let text = self.files.iter().find(|file| file.path == path).map_or("", |file| file.text);
        let mut sources = Sources::new();
        let source = sources.add(path.as_str(), text);
        let tree = sources.parse(source).ok();
        let description = tree.as_ref().and_then(|tree| tree.get("description")?.as_text());
        description.unwrap_or_default().to_owned()
    }
}
