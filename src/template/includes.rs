//! Which other templates a template names, and where such a name leads: inside `prompts/`, never out of it.

/// What a template includes, extends or imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Includes {
    /// The names that stand there as text.
    pub names: Vec<Target>,
    /// Whether a name is computed: it may then lead to any template.
    pub computed: bool,
}

/// A name that stands in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As written.
    pub name: String,
    /// Where it starts, in bytes.
    pub at: usize,
    /// Whether the template goes on without it.
    pub optional: bool,
}

/// The path from the project root of the template that `name` means in the template `parent`: `x.md` and
/// `prompts/x.md` are the same, `./x.md` and `../x.md` start at the folder of `parent`. `None` if it would leave `prompts/`.
pub fn include_path(name: &str, parent: &str) -> Option<String> {
    if name.starts_with('/') || name.contains('\\') || name.is_empty() {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    if name.starts_with("./") || name.starts_with("../") {
        parts.extend(parent.split('/'));
        parts.pop();
    } else if !name.starts_with("prompts/") {
        parts.push("prompts");
    }
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (parts.len() > 1 && parts[0] == "prompts").then(|| parts.join("/"))
}

/// What a template names. Comments and raw blocks are passed over.
pub fn includes(text: &str) -> Includes {
    let mut found = Includes::default();
    let mut rest = 0;
    while let Some(open) = text[rest..].find('{').map(|at| rest + at) {
        let after = &text[open..];
        if after.starts_with("{#") {
            rest = after.find("#}").map_or(text.len(), |end| open + end + 2);
        } else if after.starts_with("{%") {
            let end = after.find("%}").map_or(text.len(), |end| open + end + 2);
            let tag = text[open + 2..end].trim_start_matches(['-', '+']).trim_start();
            let start = end - tag.len();
            rest = if tag.starts_with("raw") { end_of_raw(text, end) } else { end };
            read_tag(tag, start, &mut found);
        } else {
            rest = open + 1;
        }
    }
    found
}

fn end_of_raw(text: &str, from: usize) -> usize {
    text[from..].find("endraw").map_or(text.len(), |at| from + at)
}

fn read_tag(tag: &str, start: usize, found: &mut Includes) {
    let Some(word) = ["include", "extends", "import", "from"].into_iter().find(|word| {
        tag.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', '\t', '\n', '"', '\'', '[', '(']))
    }) else {
        return;
    };
    let written = &tag[word.len()..];
    let names = literals(written);
    let plain = written.trim_start();
    let several = plain.starts_with('[');
    if names.is_empty() || !(several || plain.starts_with(['"', '\''])) {
        found.computed = true;
    }
    let optional = several || written.contains("ignore missing");
    let wanted = if several { names.len() } else { 1 };
    for (name, at) in names.into_iter().take(wanted) {
        found.names.push(Target { name, at: start + word.len() + at, optional });
    }
}

fn literals(written: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some(open) = written[rest..].find(['"', '\'']).map(|at| rest + at) {
        let quote = &written[open..=open];
        let Some(len) = written[open + 1..].find(quote) else { break };
        found.push((written[open + 1..open + 1 + len].to_owned(), open + 1));
        rest = open + len + 2;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_into_prompts_and_nowhere_else() {
        let cases = [
            ("x.md", "prompts/work.md", Some("prompts/x.md")),
            ("prompts/x.md", "prompts/work.md", Some("prompts/x.md")),
            ("parts/x.md", "other/work.md", Some("prompts/parts/x.md")),
            ("./x.md", "prompts/parts/work.md", Some("prompts/parts/x.md")),
            ("../x.md", "prompts/parts/work.md", Some("prompts/x.md")),
            ("../x.md", "prompts/work.md", None),
            ("a/../../x.md", "prompts/work.md", None),
            ("../../../etc/passwd", "prompts/work.md", None),
            ("/etc/passwd", "prompts/work.md", None),
            ("./x.md", "other/work.md", None),
            ("..\\x.md", "prompts/work.md", None),
            ("", "prompts/work.md", None),
        ];
        for (name, parent, path) in cases {
            assert_eq!(include_path(name, parent).as_deref(), path, "{name} in {parent}");
        }
    }

    #[test]
    fn finds_what_is_named_and_passes_over_the_rest() {
        let text = "{# {% include 'no' %} #}{%- include \"a.md\" -%}{% raw %}{% include 'no' %}{% endraw %}\
                    {% extends 'b.md' %}{% include ['c.md', 'd.md'] ignore missing %}{% from 'e.md' import x %}\
                    {{ 'include' }}{% set include_x = 'no' %}";
        let found = includes(text);
        let names: Vec<_> = found.names.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["a.md", "b.md", "c.md", "d.md", "e.md"]);
        assert!(found.names.iter().all(|target| text[target.at..].starts_with(&target.name)));
        assert!(!found.computed && found.names[2].optional && !found.names[0].optional);
        assert!(includes("{% include role.id ~ '.md' %}").computed);
        assert_eq!(includes("{% include 'cut").names, []);
    }
}
