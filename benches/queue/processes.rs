//! How several processes work on one queue: the bench starts itself, waits until all are there, and lets them go.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::claimers::{Until, Worked, work};
use crate::figures::now;
use crate::queues::open;
use crate::{runtime, say};

const WORD: &str = "--claimers";

/// What a process is told to do.
pub struct Order {
    path: PathBuf,
    claimers: usize,
    pairs: usize,
}

impl Order {
    /// The order in a process's arguments, if it was started for one.
    pub fn of(args: &[String]) -> Option<Self> {
        let [word, path, claimers, pairs] = args else { return None };
        let number = |text: &String| text.parse().ok();
        (word == WORD).then_some(Self {
            path: path.into(),
            claimers: number(claimers)?,
            pairs: number(pairs)?,
        })
    }
}

/// Does what the order says, once somebody writes a line.
pub fn obey(order: &Order) {
    let store = open(&order.path);
    let runtime = runtime();
    say("here");
    std::io::stdin().lock().read_line(&mut String::new()).expect("somebody says go");
    let worked = runtime.block_on(work(&store, order.claimers, Until::Pairs(order.pairs)));
    say(&worked.pairs.to_string());
}

/// Lets so many processes work, each with so many claimers and pairs.
pub fn together(path: &Path, processes: usize, claimers: usize, pairs: usize) -> Worked {
    let program = std::env::current_exe().expect("a process has a program");
    let mut all: Vec<(Child, BufReader<ChildStdout>)> = (0..processes)
        .map(|_| {
            let mut child = Command::new(&program)
                .arg(WORD)
                .arg(path)
                .args([claimers.to_string(), pairs.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the bench starts itself");
            let out = BufReader::new(child.stdout.take().expect("it is piped"));
            (child, out)
        })
        .collect();
    for (_, out) in &mut all {
        assert_eq!(line(out), "here");
    }
    let begun = now();
    for (child, _) in &mut all {
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(b"go\n").expect("it waits for it");
    }
    let pairs = all.iter_mut().map(|(_, out)| line(out).parse::<usize>().expect("a number")).sum();
    let wall = begun.elapsed();
    for (mut child, _) in all {
        assert!(child.wait().expect("it was started").success(), "a process of claimers");
    }
    Worked { pairs, wall, ..Worked::default() }
}

fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).expect("it speaks");
    line.trim_end().to_owned()
}
