//! Do the sources keep the layers and the house rules that can be read off them?

use std::path::Path;

use crate::harness::{repository, walk};

/// The rank of every top-level module; `docs/architecture.md` shows the same table. A module names only modules of a
/// lower rank, and what is in its own folder.
const RANKS: [&[&str]; 9] = [
    &["id", "clock", "secret", "limit", "process"],
    &["source", "price"],
    &["diagnostic", "chat", "issue"],
    &["plan", "event", "fault"],
    &["decode", "template", "http", "mcp", "store", "journal", "cassette", "summary"],
    &["mount_plan", "provider", "tool", "hook", "context", "effects", "report", "progress", "graph"],
    &["scenario", "session", "explore"],
    &["engine", "forecast"],
    &["cli"],
];

/// Imports inside a rank, from and to. Each is one-way and has a reason; there are no others.
const NEIGHBOURS: [(&str, &str); 4] = [
    // `limit` holds every bound of the program, of the kernel's own modules too.
    ("secret", "limit"),
    // A plan says how a replay treats each tool, in the word the ledger has for it.
    ("plan", "event"),
    // A fault happens at an effect, and a plan holds those of a scenario.
    ("fault", "event"),
    ("plan", "fault"),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "helpers", "common", "errors", "types", "manager"];

/// Macros that print; only the command line does.
const PRINTING: [&str; 5] = ["println", "eprintln", "print", "eprint", "dbg"];

/// Longest file, in lines. There are no exceptions.
const LINES: usize = 600;

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|modules| modules.contains(&module))
}

/// One source file: its path from the repository, and its text.
struct Source {
    path: String,
    text: String,
}

#[test]
fn the_sources_keep_the_rules() {
    let sources = read(&["src", "tests", "benches"]);
    assert!(sources.len() > 20, "the sources were not found");
    let violations = violations(&sources);
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn no_exception_is_left_over() {
    let sources = read(&["src"]);
    for (from, to) in NEIGHBOURS {
        assert_eq!(rank(from), rank(to), "{from} to {to} is no import inside a rank");
        assert!(!NEIGHBOURS.contains(&(to, from)), "{from} and {to} import each other");
        let used = sources.iter().any(|source| {
            let module = module_path(source.path.trim_start_matches("src/"));
            let names = || named(&tokens(&source.text), module.len());
            module.first().is_some_and(|own| own == from) && names().iter().any(|name| name.target == to)
        });
        assert!(used, "`{from}` does not name `{to}` any more; take the exception out");
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let main =
        std::fs::read_to_string(repository().join("tests/integration/main.rs")).expect("the test binary");
    for entry in std::fs::read_dir(repository().join("tests/integration")).expect("the tests") {
        let path = entry.expect("an entry of a folder").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let is_module = path.join("mod.rs").is_file() || path.extension().is_some_and(|end| end == "rs");
        let declared = name == "main" || main.lines().any(|line| line == format!("mod {name};"));
        assert!(
            !is_module || declared,
            "tests/integration/{name} has no `mod` line in main.rs, so it never runs"
        );
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).expect("the manifest");
    let manifest: toml::Table = manifest.parse().expect("the manifest is TOML");
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}

#[test]
fn the_page_shows_the_same_ranks() {
    let page = std::fs::read_to_string(repository().join("docs/architecture.md")).expect("the page");
    for (rank, modules) in RANKS.iter().enumerate() {
        let line = page.lines().find_map(|line| line.trim().strip_prefix(&format!("{rank}  ")));
        let line = line.unwrap_or_else(|| panic!("docs/architecture.md has no line for rank {rank}"));
        let (names, _) = line.split_once("   ").unwrap_or((line, ""));
        let named: Vec<_> = names.split_whitespace().collect();
        assert_eq!(named, *modules, "rank {rank} in docs/architecture.md");
    }
}

fn read(folders: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in folders.iter().map(|folder| repository().join(folder)).filter(|folder| folder.is_dir()) {
        walk(&folder, &mut |path: &Path| {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(repository()).expect("a path in the repository");
                let text = std::fs::read_to_string(path).expect("a source file is UTF-8");
                sources.push(Source { path: name.to_string_lossy().into_owned(), text });
            }
        });
    }
    sources
}

/// Everything that is wrong with these files, one line each.
fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        of_any_file(source, &mut found);
        if let Some(path) = source.path.strip_prefix("src/") {
            of_production(source, &module_path(path), &mut found);
        }
    }
    found
}

fn of_any_file(Source { path, text }: &Source, found: &mut Vec<String>) {
    if !text.starts_with("//! ") {
        found.push(format!("{path}: does not open with a `//!` line that says what it answers"));
    }
    let lines = text.lines().count();
    if lines > LINES {
        found.push(format!("{path}: {lines} lines, more than {LINES}; it has two subjects"));
    }
    for segment in module_path(path) {
        if EMPTY_NAMES.contains(&segment.as_str()) {
            found.push(format!("{path}: `{segment}` says nothing about what is inside"));
        }
    }
}

fn of_production(Source { path, text }: &Source, module: &[String], found: &mut Vec<String>) {
    let tokens = tokens(text);
    let own = module.first().map(String::as_str);
    if let Some(own) = own.filter(|own| rank(own).is_none()) {
        found.push(format!("{path}: `{own}` has no rank; give it one in tests/integration/layers.rs"));
    }
    for pair in tokens.windows(2) {
        let name = pair[0].text.as_str();
        if PRINTING.contains(&name) && pair[1].text == "!" && own != Some("cli") {
            found.push(format!("{path}:{}: `{name}!` outside `cli`", pair[0].line));
        }
        if name == "mod" && EMPTY_NAMES.contains(&pair[1].text.as_str()) {
            found.push(format!(
                "{path}:{}: `{}` says nothing about what is inside",
                pair[0].line, pair[1].text
            ));
        }
    }
    for Named { target, line } in named(&tokens, module.len()) {
        // The crate's root declares everything; the binary knows the command line only.
        let allowed = match (own, path.as_str()) {
            (None, "src/main.rs") => target == "cli",
            (None, _) => true,
            (Some(own), _) => {
                let lower = rank(&target).is_some() && rank(&target) < rank(own);
                target == own || lower || NEIGHBOURS.contains(&(own, target.as_str()))
            }
        };
        if !allowed {
            let shown =
                |module: &str| rank(module).map_or("of no rank".to_owned(), |rank| format!("of rank {rank}"));
            let own = own.unwrap_or("main");
            found.push(format!(
                "{path}:{line}: `{own}` ({}) may not name `{target}` ({})",
                shown(own),
                shown(&target)
            ));
        }
    }
}

/// The module a file is: `event/effect.rs` is `event`, `effect`; the roots are nothing.
fn module_path(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    path.split('/').filter(|segment| !["mod", "lib", "main"].contains(segment)).map(str::to_owned).collect()
}

/// A top-level module that a file names.
struct Named {
    target: String,
    line: usize,
}

/// Every `crate::X`, `runner::X` and `super::…::X` that leads to the root, groups included.
fn named(tokens: &[Token], file_depth: usize) -> Vec<Named> {
    let mut found = Vec::new();
    // The brace depths at which an inline module began.
    let mut inline: Vec<usize> = Vec::new();
    let mut braces = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        match token.text.as_str() {
            "{" => {
                if at >= 2 && tokens[at - 2].text == "mod" {
                    inline.push(braces);
                }
                braces += 1;
            }
            "}" => {
                braces = braces.saturating_sub(1);
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
            }
            "crate" | "runner" if follows(tokens, at, "::") && !follows_before(tokens, at, "::") => {
                first_names(tokens, at + 2, &mut found);
            }
            "super" if !follows_before(tokens, at, "::") => {
                let mut supers = 1;
                while follows(tokens, at, "::") && tokens.get(at + 2).is_some_and(|next| next.text == "super")
                {
                    supers += 1;
                    at += 2;
                }
                if supers >= file_depth + inline.len() && follows(tokens, at, "::") {
                    first_names(tokens, at + 2, &mut found);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn follows(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at + 1).is_some_and(|next| next.text == text)
}

fn follows_before(tokens: &[Token], at: usize, text: &str) -> bool {
    at.checked_sub(1).is_some_and(|before| tokens[before].text == text)
}

/// The first name of a path, or of each path in a group.
fn first_names(tokens: &[Token], at: usize, found: &mut Vec<Named>) {
    let Some(first) = tokens.get(at) else { return };
    if first.text != "{" {
        found.push(Named { target: first.text.clone(), line: first.line });
        return;
    }
    let mut depth = 0;
    let mut starts = true;
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => starts = true,
            _ if depth == 1 && starts => {
                found.push(Named { target: token.text.clone(), line: token.line });
                starts = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// A word or a mark of a source text.
#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// The words and marks of a source text, without comments and literals.
fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut tokens = Vec::new();
    while let Some(character) = reader.rest.chars().next() {
        let line = reader.line;
        if reader.skip_comment_or_literal() {
            continue;
        }
        let length = match character {
            'a'..='z' | 'A'..='Z' | '_' => reader
                .rest
                .find(|next: char| !next.is_alphanumeric() && next != '_')
                .unwrap_or(reader.rest.len()),
            ':' if reader.rest.starts_with("::") => 2,
            _ => character.len_utf8(),
        };
        let word = reader.take(length);
        if !word.trim().is_empty() {
            tokens.push(Token { text: word.to_owned(), line });
        }
    }
    tokens
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn skip_comment_or_literal(&mut self) -> bool {
        let rest = self.rest;
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').expect("a raw string has a quote") + 1;
            rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
        } else if rest.starts_with('"') || rest.starts_with("b\"") || rest.starts_with("c\"") {
            let open = rest.find('"').expect("it was just seen") + 1;
            open + quoted(&rest[open..], '"')
        } else if is_character(rest) {
            1 + quoted(&rest[1..], '\'')
        } else {
            return false;
        };
        self.take(length);
        true
    }
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match &text.as_bytes()[at..text.len().min(at + 2)] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// How many hashes a raw string that begins here has.
fn raw_string(text: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].iter().find_map(|prefix| {
        text.strip_prefix(prefix).filter(|after| after.starts_with('"') || after.starts_with('#'))
    })?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of a literal up to and with its closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + character.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Whether a character literal begins here, and no lifetime.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next() == Some('\'')
        && match characters.next() {
            Some('\\') => true,
            Some(_) => characters.next() == Some('\''),
            None => false,
        }
}

/// What is wrong with one planted file.
fn planted(path: &str, text: &str) -> Vec<String> {
    violations(&[Source { path: path.to_owned(), text: text.to_owned() }])
}

#[test]
fn planted_violations_are_found() {
    let cases = [
        (
            "src/id.rs",
            "//! a\nuse crate::event::Policy;",
            "src/id.rs:2: `id` (of rank 0) may not name `event` (of rank 3)",
        ),
        (
            "src/event.rs",
            "//! a\nuse crate::{id::RunId, plan};",
            "`event` (of rank 3) may not name `plan` (of rank 3)",
        ),
        (
            "src/tool/bash.rs",
            "//! a\nfn f() {\n  let x = crate::engine::run();\n}",
            "src/tool/bash.rs:3: `tool`",
        ),
        ("src/tool/bash.rs", "//! a\nuse super::super::hook::Hook;", "may not name `hook`"),
        ("src/chat.rs", "//! a\nuse super::cli;", "may not name `cli`"),
        ("src/chat.rs", "//! a\nmod tests { use super::super::issue::Issue; }", "may not name `issue`"),
        ("src/chat.rs", "//! a\nuse crate::Thing;", "may not name `Thing` (of no rank)"),
        (
            "src/chat.rs",
            "//! a\n// b\n/* /* c */ */ const R: &str = r#\"\"\"#; use crate::plan;",
            "src/chat.rs:3",
        ),
        (
            "src/main.rs",
            "//! a\nfn main() { runner::engine::run() }",
            "`main` (of no rank) may not name `engine`",
        ),
        ("src/helpers.rs", "//! a", "`helpers` says nothing"),
        ("src/tool/errors.rs", "//! a", "`errors` says nothing"),
        ("src/chat.rs", "//! a\nmod utils {}", "src/chat.rs:2: `utils` says nothing"),
        ("src/stuff/mod.rs", "//! a", "`stuff` has no rank"),
        (
            "src/engine/run.rs",
            "//! a\nfn f() { println!(\"x\") }",
            "src/engine/run.rs:2: `println!` outside `cli`",
        ),
        ("src/chat.rs", "use std::fmt;", "does not open with a `//!` line"),
        ("src/chat.rs", &format!("//! a\n{}", "\n".repeat(LINES)), "601 lines, more than 600"),
        ("tests/integration/x.rs", "use std::fmt;", "does not open with a `//!` line"),
    ];
    for (path, text, expected) in cases {
        let found = planted(path, text);
        assert!(
            found.iter().any(|line| line.contains(expected)),
            "{path}: {text}\n  gave {found:?}, not: {expected}"
        );
    }
}

#[test]
fn what_is_allowed_is_let_through() {
    let cases = [
        ("src/lib.rs", "//! a\npub mod cli;\npub use crate::engine::run;"),
        ("src/main.rs", "//! a\nfn main() { runner::cli::main() }"),
        ("src/cli/run.rs", "//! a\nuse crate::engine; fn f() { println!() }"),
        (
            "src/tool/mod.rs",
            "//! a\nuse crate::{event::{self, Policy}, id::IdSource};\nuse crate::tool::bash;",
        ),
        ("src/tool/bash.rs", "//! a\nuse super::Tool;\nmod tests { use super::*; use super::super::Tool; }"),
        (
            "src/chat.rs",
            "//! crate::engine\n// use crate::engine;\nconst A: &str = \"crate::engine println!\";",
        ),
        (
            "src/chat.rs",
            "//! a\nconst A: &str = r#\" \" crate::engine \"#; const B: char = '\"'; const C: char = '\\'';",
        ),
        ("src/chat.rs", "//! a\npub(crate) struct A<'a>(&'a str);\npub(in crate::chat) struct B;"),
        ("src/chat.rs", "//! a\nmod tests { mod deep { use super::super::Message; } }"),
    ];
    for (path, text) in cases {
        assert_eq!(planted(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
