//! The templates of a run, compiled once: renders prompts, evaluates conditions, and says what they read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::context::{TemplateContext, Unknown};
use super::error::{Mistake, TemplateError};
use super::includes::{Includes, include_path, includes};
use crate::id::canonical_json;
use crate::limit;

/// The templates of a run.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    includes: BTreeMap<String, Includes>,
}

/// What an include becomes that would leave `prompts/`; no template has this name.
const OUTSIDE: &str = "(outside of prompts/)";

impl Templates {
    /// Compiles every template, by its path from the project root.
    ///
    /// # Errors
    /// Those that are not written as templates are, all of them.
    pub fn new(texts: &BTreeMap<String, String>) -> Result<Self, Vec<TemplateError>> {
        let mut environment = environment();
        let mut errors = Vec::new();
        for (name, text) in texts {
            if let Err(error) = environment.add_template_owned(name.clone(), text.clone()) {
                errors.push(TemplateError::new(&error, name));
            }
        }
        if errors.is_empty() {
            let includes = texts.iter().map(|(name, text)| (name.clone(), includes(text))).collect();
            Ok(Self { environment, includes })
        } else {
            Err(errors)
        }
    }

    /// Renders a template.
    ///
    /// # Errors
    /// It names something undefined, fails, or takes too many steps.
    pub fn render(&self, name: &str, context: &TemplateContext) -> Result<String, TemplateError> {
        self.environment.get_template(name).and_then(|template| template.render(context.to_value())).map_err(
            |error| self.with_suggestion(TemplateError::new(&error, name), &|| BTreeSet::new(), context),
        )
    }

    /// Renders a template that stands in the scenario itself.
    ///
    /// # Errors
    /// It is not written as templates are, names something undefined, fails, or takes too many steps.
    pub fn render_text(&self, text: &str, context: &TemplateContext) -> Result<String, TemplateError> {
        self.environment
            .template_from_named_str("", text)
            .and_then(|template| template.render(context.to_value()))
            .map_err(|error| {
                self.with_suggestion(TemplateError::new(&error, ""), &|| self.text_names(text), context)
            })
    }

    /// Whether a template that stands in the scenario itself is written as templates are.
    ///
    /// # Errors
    /// It is not.
    pub fn check_text(&self, text: &str) -> Result<(), TemplateError> {
        let template = self.environment.template_from_named_str("", text);
        template.map(|_| ()).map_err(|error| TemplateError::new(&error, ""))
    }

    /// Whether an expression is written as expressions are.
    ///
    /// # Errors
    /// It is not.
    pub fn check_expression(&self, text: &str) -> Result<(), TemplateError> {
        self.environment
            .compile_expression_owned(text.to_owned())
            .map(|_| ())
            .map_err(|error| TemplateError::new(&error, ""))
    }

    /// Evaluates an expression that is true or false.
    ///
    /// # Errors
    /// It is no expression, names something undefined, fails, or is neither true nor false.
    pub fn holds(&self, text: &str, context: &TemplateContext) -> Result<bool, TemplateError> {
        let value = self.evaluate(text, context)?;
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            _ if value.downcast_object_ref::<Unknown>().is_some() => Ok(true),
            kind => Err(failure(format!(
                "a condition is true or false, and this is a {kind}; compare it with something"
            ))),
        }
    }

    /// Evaluates an expression whose value is a list.
    ///
    /// # Errors
    /// It is no expression, names something undefined, fails, or is no list.
    pub fn list(
        &self,
        text: &str,
        context: &TemplateContext,
    ) -> Result<Vec<serde_json::Value>, TemplateError> {
        let value = self.evaluate(text, context)?;
        if value.downcast_object_ref::<Unknown>().is_some() {
            return Ok(vec![serde_json::Value::Null]);
        }
        let no_list = || failure(format!("this must be a list, and it is a {}", value.kind()));
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return Err(no_list());
        }
        let json = serde_json::to_value(&value).map_err(|error| failure(error.to_string()))?;
        match json {
            serde_json::Value::Array(items) => Ok(items),
            _ => Err(no_list()),
        }
    }

    fn evaluate(&self, text: &str, context: &TemplateContext) -> Result<Value, TemplateError> {
        let names = || self.expression_names(text);
        let value = self
            .environment
            .compile_expression_owned(text.to_owned())
            .and_then(|expression| expression.eval(context.to_value()))
            .map_err(|error| self.with_suggestion(TemplateError::new(&error, ""), &names, context))?;
        if value.is_undefined() {
            let error = failure(format!("`{}` is undefined", text.trim()));
            return Err(self.with_suggestion(error, &names, context));
        }
        Ok(value)
    }

    /// Whether a rendering of this template may look at the queue, itself or through what it includes.
    pub fn reads_queue(&self, name: &str) -> bool {
        self.names(name).iter().any(|path| is_queue(path))
    }

    /// Whether this expression looks at the queue.
    pub fn expression_reads_queue(&self, text: &str) -> bool {
        self.expression_names(text).iter().any(|path| is_queue(path))
    }

    /// The names a template looks up, as dotted paths, with those of all it includes.
    pub fn names(&self, name: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for template in self.closure(name) {
            if let Ok(template) = self.environment.get_template(&template) {
                names.extend(template.undeclared_variables(true));
            }
        }
        names
    }

    /// The names an expression looks up, as dotted paths.
    pub fn expression_names(&self, text: &str) -> BTreeSet<String> {
        self.environment
            .compile_expression_owned(text.to_owned())
            .map(|expression| expression.undeclared_variables(true).into_iter().collect())
            .unwrap_or_default()
    }

    /// The names a template that stands in the scenario itself looks up, with those of all it includes.
    pub fn text_names(&self, text: &str) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self
            .environment
            .template_from_named_str("", text)
            .map(|template| template.undeclared_variables(true).into_iter().collect())
            .unwrap_or_default();
        let included = includes(text);
        let all = self.includes.keys().filter(|_| included.computed).cloned();
        let named = included.names.iter().filter_map(|target| include_path(&target.name, ""));
        for name in all.chain(named) {
            names.extend(self.names(&name));
        }
        names
    }

    /// Whether a rendering of such a template may look at the queue.
    pub fn text_reads_queue(&self, text: &str) -> bool {
        self.text_names(text).iter().any(|path| is_queue(path))
    }

    /// A template with all it includes; with every template there is if a name is computed.
    fn closure(&self, name: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![name.to_owned()];
        while let Some(name) = waiting.pop() {
            let Some(includes) = self.includes.get(&name) else { continue };
            if !seen.insert(name.clone()) {
                continue;
            }
            if includes.computed {
                return self.includes.keys().cloned().collect();
            }
            waiting.extend(includes.names.iter().filter_map(|target| include_path(&target.name, &name)));
        }
        seen
    }

    /// Looks for the name that was meant where an undefined one stands in a template, or in a text with these names.
    fn with_suggestion(
        &self,
        mut error: TemplateError,
        own: &dyn Fn() -> BTreeSet<String>,
        context: &TemplateContext,
    ) -> TemplateError {
        let quoted = error.message.strip_prefix('`').and_then(|rest| rest.strip_suffix("` is undefined"));
        let Some(path) =
            quoted.map(|quoted| quoted.split(['(', '|']).next().unwrap_or_default().trim().to_owned())
        else {
            return error;
        };
        if !path.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.')) {
            return error;
        }
        let names = if error.template.is_empty() {
            own()
        } else {
            let template = self.environment.get_template(&error.template);
            template
                .map(|template| template.undeclared_variables(true).into_iter().collect())
                .unwrap_or_default()
        };
        // A name that the template itself defines (a loop's, a macro's) is not among those it is given.
        if !names.iter().any(|name| *name == path || name.starts_with(&format!("{path}."))) {
            return error;
        }
        // The first step that is not there is the wrong one.
        let mut before = String::new();
        for step in path.split('.') {
            let known = context.names_below(&before);
            let below =
                |name: &str| if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") };
            if !known.iter().any(|name| name == step) {
                let meant = crate::diagnostic::nearest(step, known.iter().map(String::as_str));
                error.did_you_mean = meant.map(below);
                error.message = format!("`{}` is undefined", below(step));
                error.mistake = Mistake::UnknownName;
                return error;
            }
            before = below(step);
        }
        error
    }
}

fn failure(message: String) -> TemplateError {
    TemplateError {
        mistake: Mistake::Failure,
        template: String::new(),
        line: 1,
        range: None,
        message,
        did_you_mean: None,
    }
}

fn is_queue(path: &str) -> bool {
    path == "issues" || path.starts_with("issues.")
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(limit::TEMPLATE_FUEL));
    environment.set_debug(true);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the ordinary delimiters are valid"),
    );
    environment.set_path_join_callback(|name, parent| {
        include_path(name, parent).map_or(Cow::Borrowed(OUTSIDE), Cow::Owned)
    });
    environment.add_filter("tojson", to_json);
    environment.add_filter("truncate_tokens", truncate_tokens);
    environment
}

/// The beginning of a text, so long that a model counts about this many tokens: four characters for one.
fn truncate_tokens(text: Cow<'_, str>, tokens: usize) -> String {
    let most = tokens.saturating_mul(4);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.into_owned(),
    }
}

/// JSON with sorted keys: one text for one value, so that a recorded prompt is found again.
#[expect(clippy::needless_pass_by_value, reason = "the form minijinja asks a filter to have")]
fn to_json(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<Value>>("indent")?,
    };
    kwargs.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let width = match indent {
        None => None,
        Some(value) if value.kind() == ValueKind::Bool => value.is_true().then_some(2),
        Some(value) => Some(usize::try_from(value)?.min(16)),
    };
    let text = match width {
        None => canonical_json(&json),
        Some(width) => indented(&json, width)?,
    };
    state.consume_fuel(1 + text.len() as u64 / 64)?;
    Ok(text)
}

fn indented(json: &serde_json::Value, width: usize) -> Result<String, Error> {
    let indent = " ".repeat(width);
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(json, &mut serializer)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    String::from_utf8(out).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::IssueId;
    use crate::issue::{Counts, Snapshot};
    use crate::issue::{Issue, Status};
    use serde_json::json;

    fn templates(texts: &[(&str, &str)]) -> Templates {
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Templates::new(&texts).expect("they compile")
    }

    fn context(variables: &serde_json::Value) -> TemplateContext {
        TemplateContext::new(variables.as_object().expect("a map").clone())
    }

    fn render(text: &str, context: &TemplateContext) -> Result<String, String> {
        templates(&[("prompts/t.md", text)])
            .render("prompts/t.md", context)
            .map_err(|error| error.to_string())
    }

    fn issue(id: &str, status: Status, assignee: Option<&str>) -> Issue {
        Issue {
            id: IssueId::new(id),
            title: format!("Issue {id}"),
            description: String::new(),
            status,
            priority: 2,
            issue_type: "task".to_owned(),
            assignee: assignee.map(str::to_owned),
            parent_id: None,
            blocking_notes: None,
            metadata: serde_json::Map::new(),
            labels: Vec::new(),
            estimate_minutes: None,
            defer_until: None,
            close_reason: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            closed_at: None,
            attempt: 0,
        }
    }

    fn queue() -> TemplateContext {
        let issues = vec![
            issue("a", Status::Closed, Some("w-1")),
            issue("b", Status::Open, None),
            issue("c", Status::Blocked, Some("w-1")),
            issue("d", Status::Open, None),
        ];
        let counts = Counts { total: 4, open: 2, ready: 2, in_progress: 0, blocked: 1, closed: 1 };
        let ready = vec![IssueId::new("d"), IssueId::new("b")];
        context(&json!({"n": 2})).with_issues(Snapshot { issues, ready, holds: Vec::new(), counts })
    }

    #[test]
    fn what_is_undefined_is_an_error_with_a_suggestion() {
        let context = context(&json!({"worker": {"name": "w", "index": 1}, "inputs": {"goal": "x"}}));
        let fails = |text: &str| render(text, &context).expect_err(text);
        assert_eq!(
            fails("a\n{{ worker.nmae }}"),
            "prompts/t.md:2: `worker.nmae` is undefined; did you mean `worker.name`?"
        );
        assert_eq!(fails("{{ woker.name }}"), "prompts/t.md:1: `woker` is undefined; did you mean `worker`?");
        assert_eq!(
            fails("{% if inputs.gaol %}x{% endif %}"),
            "prompts/t.md:1: `inputs.gaol` is undefined; did you mean `inputs.goal`?"
        );
        assert_eq!(
            fails("{% for woker in ['x'] %}{{ woker.nmae }}{% endfor %}"),
            "prompts/t.md:1: `woker.nmae` is undefined"
        );
        assert_eq!(fails("{{ issues.total }}"), "prompts/t.md:1: `issues` is undefined");
        assert_eq!(
            fails("{{ worker.name | uper }}"),
            "prompts/t.md:1: unknown filter: filter uper is unknown"
        );
        assert_eq!(render("{{ nothing | default('x') }}", &context), Ok("x".to_owned()));
    }

    #[test]
    fn the_queue_is_counts_and_lists() {
        let queue = queue();
        assert_eq!(
            render("{% for issue in issues.list() %}{{ issue.labels | length }}{% endfor %}", &queue),
            Ok("0000".to_owned()),
            "an issue without labels has an empty list of them"
        );
        assert_eq!(
            render("{{ issues.total }} {{ issues.ready }} {{ issues.closed }}", &queue),
            Ok("4 2 1".to_owned())
        );
        let list = |call: &str| {
            render(&format!("{{% for i in issues.{call} %}}{{{{ i.id }}}}{{% endfor %}}"), &queue)
        };
        assert_eq!(list("list()"), Ok("abcd".to_owned()));
        assert_eq!(list("list(status='open')"), Ok("bd".to_owned()));
        assert_eq!(list("list(status='blocked', assignee='w-1')"), Ok("c".to_owned()));
        assert_eq!(list("ready_list()"), Ok("db".to_owned()));
        let wrong = list("list(status='done')").expect_err("no status");
        assert!(
            wrong.ends_with("there is no status `done`; it is one of open, in_progress, blocked, closed"),
            "{wrong}"
        );
        assert!(list("list(state='open')").is_err());
        assert!(list("all()").expect_err("no method").contains("it has list and ready_list"));
    }

    #[test]
    fn conditions_are_true_or_false_and_nothing_else() {
        let templates = templates(&[]);
        let holds = |text: &str| templates.holds(text, &queue()).map_err(|error| error.to_string());
        assert_eq!(holds("issues.closed == 1 and issues.blocked < n"), Ok(true));
        assert_eq!(holds("issues.list(status='closed') | length > 1"), Ok(false));
        assert_eq!(
            holds("issues.closed"),
            Err("a condition is true or false, and this is a number; compare it with something".to_owned())
        );
        assert_eq!(holds("isues.closed > 1"), Err("`isues` is undefined; did you mean `issues`?".to_owned()));
        assert_eq!(
            holds("issues.blokced > 1"),
            Err("`issues.blokced` is undefined; did you mean `issues.blocked`?".to_owned())
        );
        assert_eq!(holds("issues.done"), Err("`issues.done` is undefined".to_owned()));
        assert!(holds("issues.closed ==").is_err());
        assert_eq!(templates.check_expression("a ==").expect_err("cut").mistake, Mistake::Syntax);
        assert_eq!(templates.check_expression("a == b"), Ok(()));
    }

    #[test]
    fn includes_stay_inside_and_are_followed() {
        let templates = templates(&[
            ("prompts/a.md", "A {% include 'parts/b.md' %}"),
            ("prompts/parts/b.md", "B {% include './c.md' %}"),
            ("prompts/parts/c.md", "{{ issues.total }}\n"),
            ("prompts/loop.md", "{% include 'loop.md' %}"),
            ("prompts/out.md", "{% include '../secret.md' %}"),
            ("prompts/optional.md", "{% include 'none.md' ignore missing %}"),
            ("prompts/plain.md", "{{ n }}"),
            ("secret.md", "secret"),
        ]);
        assert_eq!(templates.render("prompts/a.md", &queue()).expect("renders"), "A B 4");
        assert!(templates.reads_queue("prompts/a.md") && templates.reads_queue("prompts/parts/b.md"));
        assert!(!templates.reads_queue("prompts/plain.md") && !templates.reads_queue("prompts/loop.md"));
        assert!(templates.expression_reads_queue("n > 1 or issues.open == 1"));
        assert!(!templates.expression_reads_queue("n > 1"));
        assert!(templates.render("prompts/loop.md", &queue()).is_err());
        let error = templates.render("prompts/out.md", &queue()).expect_err("outside");
        assert!(error.message.ends_with("an included template lies below prompts/"), "{error}");
        assert_eq!(templates.render("prompts/optional.md", &queue()).expect("renders"), "");
        let error = templates.render("prompts/parts/c.md", &context(&json!({}))).expect_err("no queue");
        assert_eq!((error.template.as_str(), error.line), ("prompts/parts/c.md", 1));
        assert!(templates.names("prompts/a.md").contains("issues.total"));
    }

    #[test]
    fn a_mistake_in_an_included_template_is_told_there() {
        let templates =
            templates(&[("prompts/a.md", "{% include 'b.md' %}"), ("prompts/b.md", "x\n\n{{ nn }}")]);
        let error = templates.render("prompts/a.md", &queue()).expect_err("undefined");
        assert_eq!((error.template.as_str(), error.line, error.range), ("prompts/b.md", 3, Some(6..8)));
    }

    #[test]
    fn every_mistake_of_writing_is_told() {
        let texts = [("a", "{{ x"), ("b", "fine"), ("c", "x\n{% if %}")];
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let errors = Templates::new(&texts).expect_err("two are wrong");
        let places: Vec<_> = errors.iter().map(|error| (error.template.as_str(), error.line)).collect();
        assert_eq!(places, [("a", 1), ("c", 2)]);
        assert!(errors.iter().all(|error| error.mistake == Mistake::Syntax));
    }

    #[test]
    fn rendering_is_bounded() {
        let text = "{% for a in range(10000) %}{% for b in range(10000) %}{{ b }}{% endfor %}{% endfor %}";
        let error = render(text, &queue()).expect_err("too long");
        assert_eq!(error, "prompts/t.md:1: this takes too many steps; loop over less");
    }

    #[test]
    fn json_has_one_form() {
        let context = context(&json!({"v": {"b": [1, {"z": null, "a": "<é>"}], "a": true}}));
        assert_eq!(
            render("{{ v | tojson }}", &context),
            Ok(r#"{"a":true,"b":[1,{"a":"<é>","z":null}]}"#.to_owned())
        );
        assert_eq!(
            render("{{ v.b | tojson(indent=1) }}", &context),
            Ok("[\n 1,\n {\n  \"a\": \"<é>\",\n  \"z\": null\n }\n]".to_owned())
        );
        assert_eq!(render("{{ 'a\nb' | indent(2) }}", &context), Ok("a\n  b".to_owned()));
    }

    #[test]
    fn blocks_leave_no_empty_lines() {
        let text = "a\n{% if n %}\nb\n  {% endif %}\nc\n";
        assert_eq!(render(text, &queue()), Ok("a\nb\nc".to_owned()));
    }
}
