//! `runner explain`: what does the code of a finding mean, and how is it repaired?

use std::fmt::Write as _;

use super::arguments::ExplainArguments;
use super::exit::Exit;
use super::surroundings::{Surroundings, complain};
use crate::diagnostic::{Code, nearest};

/// `runner explain [CODE]`.
pub(super) fn explain(arguments: &ExplainArguments, surroundings: &Surroundings) -> Exit {
    if arguments.codes.is_empty() {
        surroundings.print(&list());
        return Exit::Ok;
    }
    let mut pages = Vec::new();
    for text in &arguments.codes {
        match Code::from_text(text) {
            Some(code) => pages.push(code.page()),
            None => {
                complain(&unknown(text));
                return Exit::Invalid;
            }
        }
    }
    surroundings.print(&pages.join("\n"));
    Exit::Ok
}

/// Every code with its title, a line each.
fn list() -> String {
    Code::ALL.iter().fold(String::new(), |mut all, code| {
        let _ = writeln!(all, "{code}  {}", code.title());
        all
    })
}

fn unknown(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let whole = if upper.starts_with("RUN") { upper } else { format!("RUN{upper}") };
    let near = nearest(&whole, Code::ALL.iter().map(|code| code.as_str()));
    match near {
        Some(near) => format!("there is no code {text}; did you mean {near}? `runner explain` lists all"),
        None => format!("there is no code {text}; `runner explain` lists all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_the_code_that_was_meant() {
        assert!(unknown("RUN0521").contains("did you mean RUN0501?"), "{}", unknown("RUN0521"));
        assert!(unknown("run020").contains("did you mean RUN0201?"), "{}", unknown("run020"));
        assert_eq!(unknown("nonsense"), "there is no code nonsense; `runner explain` lists all");
    }
}
