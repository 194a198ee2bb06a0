//! Which shell commands are refused before they run: a filter against accidents, not a sandbox.
//!
//! A command is taken apart roughly as a shell would (quotes, separators, substitutions, here-documents, wrappers such
//! as `env`), so that `echo "sudo"` passes and `true && sudo x` does not. Whoever wants to get around it can: variables,
//! scripts written to files and interpreters are not followed. What must not be possible has to be prevented by the
//! system the runner runs in.

use crate::limit;

/// How much is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Profile {
    /// Nothing, apart from the lists of the configuration.
    Unrestricted,
    /// What destroys a system or a home: `rm -r` on either, `mkfs`, writing to devices, fork bombs.
    Permissive,
    /// Also filling the disk from `/dev/zero` and opening `/` to everybody.
    Standard,
    /// Also becoming somebody else: `sudo`, `su`, `passwd`.
    Strict,
}

impl Profile {
    /// Reads the word of a mount plan.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        match text {
            "strict" => Some(Self::Strict),
            "standard" => Some(Self::Standard),
            "permissive" => Some(Self::Permissive),
            "unrestricted" => Some(Self::Unrestricted),
            _ => None,
        }
    }
}

/// What one mount plan refuses.
#[derive(Debug, Clone)]
pub(super) struct CommandFilter {
    profile: Profile,
    allowed: Vec<String>,
    denied: Vec<String>,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) reason: String,
    pub(super) hint: String,
}

impl Denied {
    fn new(reason: impl Into<String>, hint: &str) -> Self {
        Self { reason: reason.into(), hint: hint.to_owned() }
    }
}

impl CommandFilter {
    pub(super) fn new(profile: Profile, allowed: &[&str], denied: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).trim().to_owned()).collect();
        Self { profile, allowed: owned(allowed), denied: owned(denied) }
    }

    /// Looks at a whole command line.
    pub(super) fn check(&self, text: &str) -> Result<(), Denied> {
        if let Some(pattern) = self.denied.iter().find(|pattern| is_denied_by(text.trim(), pattern)) {
            return Err(Denied::new(
                format!("it matches `{pattern}` of denied_commands"),
                "do it another way, or say in your answer that it cannot be done",
            ));
        }
        if self.profile >= Profile::Permissive && is_fork_bomb(text) {
            return Err(Denied::new("it is a fork bomb", "run no function that starts itself twice"));
        }
        self.check_commands(text, 0)
    }

    fn check_commands(&self, text: &str, depth: usize) -> Result<(), Denied> {
        let commands = (depth < 8).then(|| Lexer::commands(text)).flatten().ok_or_else(|| {
            Denied::new("it is nested too deeply to be looked at", "write it in simpler parts")
        })?;
        for command in commands {
            let command = command.bare();
            self.check_allowed(&command)?;
            self.check_profile(&command)?;
            if let Some(inner) = command.inner_script() {
                self.check_commands(&inner, depth + 1)?;
            }
        }
        Ok(())
    }

    fn check_allowed(&self, command: &Simple) -> Result<(), Denied> {
        if self.allowed.is_empty() || command.words.is_empty() {
            return Ok(());
        }
        let line = command.words.join(" ");
        let is_allowed = self.allowed.iter().any(|pattern| {
            wildcard(&line, pattern)
                || line.strip_prefix(pattern.as_str()).is_some_and(|rest| rest.starts_with(' '))
        });
        if is_allowed {
            return Ok(());
        }
        let name = command.name();
        Err(Denied::new(
            format!("`{name}` is not among allowed_commands"),
            &format!("allowed: {}", self.allowed.join(", ")),
        ))
    }

    fn check_profile(&self, command: &Simple) -> Result<(), Denied> {
        let rules: [(Profile, Rule); 3] = [
            (Profile::Permissive, destroys),
            (Profile::Standard, endangers),
            (Profile::Strict, becomes_somebody_else),
        ];
        let found =
            rules.iter().filter(|(from, _)| self.profile >= *from).find_map(|(_, rule)| rule(command));
        found.map_or(Ok(()), Err)
    }
}

type Rule = fn(&Simple) -> Option<Denied>;

fn destroys(command: &Simple) -> Option<Denied> {
    let device = command.targets.iter().find(|target| is_device(target));
    if let Some(device) = device {
        return Some(Denied::new(format!("it writes to {device}"), "write to a file in the workspace"));
    }
    let words = &command.words[1.min(command.words.len())..];
    match command.name() {
        "rm" if has_flag(words, 'r', "--recursive") || has_flag(words, 'R', "--recursive") => {
            let target = words.iter().find(|word| is_vital(word))?;
            Some(Denied::new(format!("rm -r on {target}"), "name the folder in the workspace that is to go"))
        }
        name if name == "mkfs" || name.starts_with("mkfs.") => {
            Some(Denied::new("mkfs destroys a file system", "no task in a workspace needs it"))
        }
        "dd" => {
            let device = words.iter().find_map(|word| word.strip_prefix("of=")).filter(|to| is_device(to))?;
            Some(Denied::new(format!("dd writes to {device}"), "write to a file in the workspace"))
        }
        "tee" | "shred" | "wipefs" => {
            let device = words.iter().find(|word| is_device(word))?;
            Some(Denied::new(format!("it writes to {device}"), "write to a file in the workspace"))
        }
        _ => None,
    }
}

fn endangers(command: &Simple) -> Option<Denied> {
    let words = &command.words[1.min(command.words.len())..];
    match command.name() {
        "dd" => {
            let from = words.iter().find_map(|word| word.strip_prefix("if="))?;
            let endless = matches!(from, "/dev/zero" | "/dev/random" | "/dev/urandom");
            endless.then(|| Denied::new(format!("dd reads from {from}"), "make a small file with `head -c`"))
        }
        "chmod" | "chown" | "chgrp" => {
            let wide = has_flag(words, 'R', "--recursive") || words.iter().any(|word| word.ends_with("777"));
            let target = words.iter().find(|word| is_vital(word)).filter(|_| wide)?;
            Some(Denied::new(
                format!("{} on {target}", command.name()),
                "change the rights of files in the workspace only",
            ))
        }
        _ => None,
    }
}

fn becomes_somebody_else(command: &Simple) -> Option<Denied> {
    let name = command.name();
    matches!(name, "sudo" | "su" | "doas" | "passwd").then(|| {
        Denied::new(
            format!("`{name}` is not available"),
            "do it as the present user, or say that it cannot be done",
        )
    })
}

fn has_flag(words: &[String], short: char, long: &str) -> bool {
    words.iter().any(|word| {
        word == long || (word.starts_with('-') && !word.starts_with("--") && word.contains(short))
    })
}

fn is_device(target: &str) -> bool {
    const HARMLESS: [&str; 6] =
        ["/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/zero", "/dev/full"];
    target.starts_with("/dev/") && !HARMLESS.contains(&target) && !target.starts_with("/dev/fd/")
}

/// The root, a folder at the top of it, or a whole home.
fn is_vital(word: &str) -> bool {
    let home = ["~", "$HOME", "${HOME}"].iter().find_map(|home| word.strip_prefix(home));
    let names = |path: &str| {
        path.split('/')
            .filter(|name| !matches!(*name, "" | "." | "*" | ".*"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    match home {
        Some(rest) => names(rest).is_empty(),
        None => word.starts_with('/') && (names(word).len() <= 1 || names(word).contains(&"..".to_owned())),
    }
}

fn is_fork_bomb(text: &str) -> bool {
    let squeezed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    squeezed.match_indices("(){").any(|(at, _)| {
        let name: String = squeezed[..at]
            .chars()
            .rev()
            .take_while(|c| c.is_alphanumeric() || matches!(c, ':' | '_' | '.'))
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        !name.is_empty() && squeezed[at..].contains(&format!("{name}|{name}&"))
    })
}

fn is_denied_by(text: &str, pattern: &str) -> bool {
    if pattern.contains('*') { wildcard(text, pattern) } else { text.contains(pattern) }
}

/// Whether `*` in the pattern can be filled so that it is the text.
fn wildcard(text: &str, pattern: &str) -> bool {
    let parts: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return text == pattern };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// One simple command: its words without quotes, and where its output is redirected to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Simple {
    words: Vec<String>,
    targets: Vec<String>,
}

impl Simple {
    /// The program's name, without its folder.
    fn name(&self) -> &str {
        self.words.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word))
    }

    /// The command without what stands before the program: keywords, assignments, wrappers.
    fn bare(mut self) -> Self {
        const KEYWORDS: [&str; 10] = ["if", "then", "else", "elif", "do", "while", "until", "!", "{", "time"];
        const WRAPPERS: [&str; 10] =
            ["env", "nohup", "exec", "command", "builtin", "nice", "ionice", "setsid", "xargs", "timeout"];
        loop {
            let name = self.name().to_owned();
            let Some(first) = self.words.first() else { return self };
            if KEYWORDS.contains(&name.as_str()) || is_assignment(first) {
                self.words.remove(0);
            } else if WRAPPERS.contains(&name.as_str()) && self.words.len() > 1 {
                self.words.remove(0);
                let is_option = |word: &String| {
                    word.starts_with('-')
                        || is_assignment(word)
                        || word.starts_with(|c: char| c.is_ascii_digit())
                };
                let options = self.words.iter().take_while(|word| is_option(word)).count();
                self.words.drain(..options);
            } else {
                return self;
            }
        }
    }

    /// The script that it hands to another shell.
    fn inner_script(&self) -> Option<String> {
        match self.name() {
            "sh" | "bash" | "dash" | "zsh" | "ksh" => {
                let is_script =
                    |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
                let at = self.words.iter().position(is_script)?;
                self.words.get(at + 1).cloned()
            }
            "eval" => Some(self.words[1..].join(" ")),
            _ => None,
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// Takes a command line apart.
struct Lexer {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    out: Vec<Simple>,
}

/// The command being read.
#[derive(Default)]
struct Draft {
    command: Simple,
    word: Option<String>,
    to_target: bool,
    here_documents: Vec<String>,
    wants_delimiter: bool,
}

impl Draft {
    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if std::mem::take(&mut self.wants_delimiter) {
            self.here_documents.push(word);
        } else if std::mem::take(&mut self.to_target) {
            self.command.targets.push(word);
        } else {
            self.command.words.push(word);
        }
    }

    fn end_command(&mut self, out: &mut Vec<Simple>) {
        self.end_word();
        let command = std::mem::take(&mut self.command);
        if command != Simple::default() {
            out.push(command);
        }
    }
}

impl Lexer {
    /// Every simple command in it, those in substitutions too. `None` when it is nested too deeply.
    fn commands(text: &str) -> Option<Vec<Simple>> {
        let mut lexer = Self { chars: text.chars().collect(), at: 0, depth: 0, out: Vec::new() };
        while lexer.at < lexer.chars.len() {
            lexer.list(None)?;
        }
        Some(lexer.out)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += 1;
        c
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Reads commands up to a closing character, or the end.
    fn list(&mut self, until: Option<char>) -> Option<()> {
        self.depth += 1;
        if self.depth > limit::SOURCE_DEPTH {
            return None;
        }
        let mut draft = Draft::default();
        while let Some(c) = self.next() {
            if until == Some(c) {
                break;
            }
            match c {
                '\n' => {
                    draft.end_command(&mut self.out);
                    let documents = std::mem::take(&mut draft.here_documents);
                    documents.iter().for_each(|delimiter| self.skip_document(delimiter));
                }
                ';' | '|' | ')' => draft.end_command(&mut self.out),
                '&' if self.peek() == Some('>') => draft.end_word(),
                '&' if draft.to_target && draft.word.is_none() => {
                    draft.to_target = false;
                    draft.end_word();
                }
                '&' => draft.end_command(&mut self.out),
                '(' => {
                    draft.end_command(&mut self.out);
                    self.list(Some(')'))?;
                }
                '#' if draft.word.is_none() => self.skip_line(),
                '<' | '>' => self.redirection(c, &mut draft)?,
                c if c.is_whitespace() => draft.end_word(),
                c => self.word_part(c, &mut draft)?,
            }
        }
        draft.end_command(&mut self.out);
        self.depth -= 1;
        Some(())
    }

    fn word_part(&mut self, c: char, draft: &mut Draft) -> Option<()> {
        match c {
            '\'' => {
                draft.word.get_or_insert_default();
                while let Some(c) = self.next().filter(|c| *c != '\'') {
                    draft.push(c);
                }
            }
            '"' => {
                draft.word.get_or_insert_default();
                while let Some(c) = self.next().filter(|c| *c != '"') {
                    match c {
                        '\\' => self.next().into_iter().for_each(|c| draft.push(c)),
                        c => self.plain_or_substitution(c, draft)?,
                    }
                }
            }
            '\\' => match self.next() {
                Some('\n') | None => {}
                Some(c) => draft.push(c),
            },
            c => self.plain_or_substitution(c, draft)?,
        }
        Some(())
    }

    fn plain_or_substitution(&mut self, c: char, draft: &mut Draft) -> Option<()> {
        if c == '`' {
            draft.word.get_or_insert_default();
            self.list(Some('`'))
        } else if c == '$' && self.peek() == Some('(') {
            self.at += 1;
            draft.word.get_or_insert_default();
            self.list(Some(')'))
        } else {
            draft.push(c);
            Some(())
        }
    }

    fn redirection(&mut self, c: char, draft: &mut Draft) -> Option<()> {
        // A number before it is a file descriptor, no word.
        if draft.word.as_ref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit())) {
            draft.word = None;
        }
        draft.end_word();
        match (c, self.peek()) {
            (_, Some('(')) => {
                self.at += 1;
                return self.list(Some(')'));
            }
            ('<', Some('<')) => {
                self.at += 1;
                if self.peek() == Some('<') {
                    self.at += 1;
                } else {
                    draft.wants_delimiter = true;
                    if self.peek() == Some('-') {
                        self.at += 1;
                    }
                }
            }
            ('<', _) => {}
            (_, next) => {
                draft.to_target = true;
                if matches!(next, Some('>' | '|')) {
                    self.at += 1;
                }
            }
        }
        Some(())
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.at += 1;
        }
    }

    fn skip_document(&mut self, delimiter: &str) {
        while self.at < self.chars.len() {
            let start = self.at;
            self.skip_line();
            let line: String = self.chars[start..self.at.min(self.chars.len())].iter().collect();
            self.at += 1;
            if line.trim_start_matches('\t') == delimiter {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(profile: Profile, text: &str) -> Option<String> {
        CommandFilter::new(profile, &[], &[]).check(text).err().map(|denied| denied.reason)
    }

    #[test]
    fn the_strict_profile_refuses_accidents_wherever_they_stand() {
        for text in [
            "rm -rf /",
            "rm -fr ~",
            "cd x; rm -r -f /*",
            "rm --recursive \"$HOME\"",
            "rm -rf /etc",
            "rm -rf /tmp/../",
            "sudo ls",
            "true && /usr/bin/sudo ls",
            "echo $(sudo id)",
            "echo \"`su - root`\"",
            "if true; then sudo x; fi",
            "FOO=1 env BAR=2 sudo x",
            "timeout 5 sudo x",
            "bash -c 'sudo x'",
            "bash -lc \"eval 'sudo x'\"",
            "(cd /; { sudo x; })",
            "cat < /dev/null | sudo tee x",
            "dd if=/dev/zero of=big",
            "dd if=x of=/dev/sda",
            "mkfs.ext4 disk.img",
            "echo x > /dev/sda",
            "echo x 2>/dev/mem",
            "echo x >> /dev/sda1",
            "echo x | tee /dev/sda",
            "passwd root",
            "chmod 777 /",
            "chmod -R a+w /usr",
            "chown -R me /",
            ":(){ :|:& };:",
            "f() { f | f & }; f",
        ] {
            assert!(refused(Profile::Strict, text).is_some(), "{text}");
            assert_eq!(refused(Profile::Unrestricted, text), None, "{text}");
        }
    }

    #[test]
    fn ordinary_commands_pass() {
        for text in [
            "ls -la",
            "echo \"sudo make me a sandwich\"",
            "echo sudo",
            "grep -r 'rm -rf /' .",
            "rm -rf target build/*",
            "rm -rf /tmp/scratch/x",
            "make > /dev/null 2>&1",
            "cmd &> out.txt",
            "echo x >&2",
            "cat <<EOF > notes\nsudo is a word here\nrm -rf /\nEOF\nls",
            "git commit -m 'passwd: fix' # sudo",
            "chmod 777 script.sh",
            "for f in *.txt; do wc -l \"$f\"; done",
            "su_per=1; echo $((1+2))",
            "f() { g | h; }; f",
        ] {
            assert_eq!(refused(Profile::Strict, text), None, "{text}");
        }
    }

    #[test]
    fn profiles_refuse_more_and_more() {
        assert!(refused(Profile::Permissive, "rm -rf /").is_some());
        assert_eq!(refused(Profile::Permissive, "dd if=/dev/zero of=x"), None);
        assert!(refused(Profile::Standard, "dd if=/dev/zero of=x").is_some());
        assert_eq!(refused(Profile::Standard, "sudo ls"), None);
    }

    #[test]
    fn lists_refuse_each_command_of_a_line() {
        let filter =
            CommandFilter::new(Profile::Strict, &["git status", "cargo *", "ls"], &["push", "ls *secret"]);
        for text in ["git status", "git status -s", "cargo test && ls", "ls a"] {
            assert_eq!(filter.check(text), Ok(()), "{text}");
        }
        for text in ["git stash", "ls; curl x", "ls $(curl x)", "cargo push", "ls my-secret", "lsof"] {
            assert!(filter.check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endless_nesting_is_refused_not_followed() {
        let text = format!("{}ls{}", "$(".repeat(10_000), ")".repeat(10_000));
        assert!(refused(Profile::Strict, &text).is_some());
    }
}
