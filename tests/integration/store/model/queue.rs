//! What a queue is, said once more and as simply as can be: a list of issues, a list of edges, everything else counted
//! anew by walking over them. Written from the rules, to be compared with the store.

use std::collections::BTreeMap;

use runner::clock::Timestamp;
use runner::issue::{Comment, EdgeType, Status};

use super::steps::{Do, Person, Word};

/// What a refusal is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    Invalid,
    Held,
    Stale,
    WrongState,
    Cycle,
}

/// Who holds an issue, until when, and how many attempts that claim allows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Holding {
    pub who: Person,
    pub until: Timestamp,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct One {
    pub title: String,
    pub issue_type: &'static str,
    pub status: Status,
    pub priority: u8,
    pub kind: Option<u8>,
    pub assignee: Option<String>,
    pub parent: Option<usize>,
    pub notes: Option<String>,
    pub reason: Option<String>,
    pub defer: Option<Timestamp>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub closed: Option<Timestamp>,
    pub attempt: u32,
    pub epoch: u64,
    pub hold: Option<Holding>,
    pub comments: Vec<Comment>,
    /// How many entries its history has.
    pub entries: usize,
}

pub(super) type Edge = (usize, usize, EdgeType);

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Queue {
    pub issues: Vec<One>,
    pub edges: Vec<Edge>,
    /// What each person was told at each claim.
    pub told: BTreeMap<(Person, usize), u64>,
}

/// The table of moves; a row for each status, a column for each move.
pub(super) fn leads_to(status: Status, word: Word) -> Option<Status> {
    use Status::{Blocked, Closed, InProgress, Open};
    let row = match word {
        //               open              in progress       blocked           closed
        Word::Claim => [Some(InProgress), None, None, None],
        Word::Release => [Some(Open), Some(Open), None, None],
        Word::Block => [Some(Blocked), Some(Blocked), Some(Blocked), None],
        Word::Unblock => [Some(Open), None, Some(Open), None],
        Word::Close => [Some(Closed), Some(Closed), Some(Closed), Some(Closed)],
        Word::Reopen => [None, None, None, Some(Open)],
    };
    row[Status::ALL.iter().position(|one| *one == status).unwrap()]
}

impl Queue {
    /// The issues it cannot start before: open ones over `blocks`, and its parent when that cannot start itself.
    pub fn waits_for(&self, n: usize) -> Vec<usize> {
        let mut found: Vec<_> = self
            .edges
            .iter()
            .filter(|(from, to, edge)| {
                let open = self.issues[*to].status != Status::Closed;
                let stuck = || self.issues[*to].status == Status::Blocked || !self.waits_for(*to).is_empty();
                *from == n && open && (*edge == EdgeType::Blocks || *edge == EdgeType::ParentChild && stuck())
            })
            .map(|(_, to, _)| *to)
            .collect();
        found.sort_by_key(|to| (self.issues[*to].created, *to));
        found
    }

    pub fn in_order(&self) -> Vec<usize> {
        let mut all: Vec<_> = (0..self.issues.len()).collect();
        all.sort_by_key(|n| (self.issues[*n].created, *n));
        all
    }

    pub fn ready(&self, now: Timestamp) -> Vec<usize> {
        let mut ready = self.in_order();
        ready.retain(|n| {
            let one = &self.issues[*n];
            one.status == Status::Open
                && one.defer.is_none_or(|until| until <= now)
                && self.waits_for(*n).is_empty()
        });
        // Stable: within a priority the older one stays first.
        ready.sort_by_key(|n| self.issues[*n].priority);
        ready
    }

    /// Does it, or says why not and stays as it was.
    pub fn apply(&mut self, who: Person, now: Timestamp, step: &Do) -> Result<(), No> {
        let before = self.clone();
        let done = Turn { queue: self, who, now }.take(step);
        if done.is_err() {
            *self = before;
        }
        done
    }
}

/// Somebody's turn.
pub(super) struct Turn<'q> {
    pub queue: &'q mut Queue,
    pub who: Person,
    pub now: Timestamp,
}

impl Turn<'_> {
    fn take(&mut self, step: &Do) -> Result<(), No> {
        match step {
            Do::Create { priority, kind, parent, epic, blocked } => {
                self.create((*priority, *kind), *parent, *epic, *blocked)
            }
            Do::Claim(n) => self.claim(*n),
            Do::ClaimFirst(kind) => {
                self.give_back_lapsed();
                let ready = self.queue.ready(self.now).into_iter();
                match { ready }.find(|n| kind.is_none() || self.queue.issues[*n].kind == *kind) {
                    Some(n) => self.claim(n),
                    None => Ok(()),
                }
            }
            Do::Release { n, counted, force } => self.release(*n, *counted, *force),
            Do::ReleaseAll => {
                let who = self.who;
                self.end_holds(|holding| holding.who == who);
                Ok(())
            }
            Do::Reclaim(run) => {
                let (who, now) = (self.who, self.now);
                self.end_holds(|holding| holding.who.run == Some(*run) || holding.lapsed(who, now));
                Ok(())
            }
            Do::Block { n, force } => self.block(*n, "why?", *force),
            Do::Unblock(n) if self.one(*n).status == Status::Blocked => {
                self.say(*n, "that");
                self.unblock(*n);
                self.note(*n);
                Ok(())
            }
            Do::Unblock(_) => Err(No::WrongState),
            Do::Close { n, force } => self.close(*n, "done", *force),
            Do::Reopen(n) => {
                self.go(*n, Word::Reopen)?;
                let one = self.one(*n);
                (one.reason, one.assignee, one.attempt) = (None, None, 0);
                self.note(*n);
                Ok(())
            }
            Do::Comment(n) => {
                self.say(*n, "a word");
                self.one(*n).updated = self.now;
                Ok(())
            }
            Do::Link(from, to, edge) => self.link(*from, *to, *edge),
            Do::Unlink(from, to) => self.unlink(*from, *to),
            Do::Update { n, change } => super::update::update(self, *n, change),
        }
    }

    pub fn one(&mut self, n: usize) -> &mut One {
        &mut self.queue.issues[n]
    }

    /// An entry of the history, and with it the time of change.
    pub fn note(&mut self, n: usize) {
        let now = self.now;
        let one = self.one(n);
        one.entries += 1;
        one.updated = now;
    }

    pub fn say(&mut self, n: usize, body: &str) {
        let comment = Comment { author: self.who.name.to_owned(), at: self.now, body: body.to_owned() };
        let one = self.one(n);
        one.comments.push(comment);
        one.entries += 1;
    }

    /// Changes the status and what always follows from it.
    pub fn go(&mut self, n: usize, word: Word) -> Result<(), No> {
        let now = self.now;
        let one = self.one(n);
        let was = one.status;
        one.status = leads_to(was, word).ok_or(No::WrongState)?;
        if one.status != Status::InProgress && one.hold.take().is_some() && one.status != Status::Closed {
            one.assignee = None;
        }
        one.closed = match (was, one.status) {
            (Status::Closed, Status::Closed) => one.closed,
            (_, Status::Closed) => Some(now),
            _ => None,
        };
        Ok(())
    }

    pub fn holds(&mut self, n: usize) -> bool {
        let who = self.who;
        self.one(n).hold.as_ref().is_some_and(|holding| holding.who == who)
    }

    /// What the caller was told at its last claim of it.
    pub fn told(&self, n: usize) -> Option<u64> {
        self.queue.told.get(&(self.who, n)).copied()
    }

    pub fn was_told(&mut self, n: usize, epoch: Option<u64>) {
        match epoch {
            Some(epoch) => self.queue.told.insert((self.who, n), epoch),
            None => self.queue.told.remove(&(self.who, n)),
        };
    }

    /// May the caller end whatever hold there is? With force it may, and the epoch rises when that was another's.
    pub fn may_end(&mut self, n: usize, force: bool) -> Result<(), No> {
        if self.holds(n) {
            return Ok(());
        }
        let held = self.one(n).hold.is_some();
        if force {
            self.one(n).epoch += u64::from(held);
            return Ok(());
        }
        let epoch = self.one(n).epoch;
        if self.queue.told.get(&(self.who, n)).is_some_and(|told| *told < epoch) {
            return Err(No::Stale);
        }
        if held { Err(No::Held) } else { Ok(()) }
    }

    fn create(
        &mut self,
        (priority, kind): (u8, Option<u8>),
        parent: Option<usize>,
        epic: bool,
        blocked: bool,
    ) -> Result<(), No> {
        let n = self.queue.issues.len();
        self.queue.issues.push(One {
            title: format!("issue {n}"),
            issue_type: if epic { "epic" } else { "task" },
            status: if blocked { Status::Blocked } else { Status::Open },
            priority,
            kind,
            assignee: None,
            parent,
            notes: blocked.then(|| "why?".to_owned()),
            reason: None,
            defer: None,
            created: self.now,
            updated: self.now,
            closed: None,
            attempt: 0,
            epoch: 0,
            hold: None,
            comments: Vec::new(),
            entries: 1 + usize::from(parent.is_some()),
        });
        self.queue.edges.extend(parent.map(|parent| (n, parent, EdgeType::ParentChild)));
        Ok(())
    }

    pub fn claim(&mut self, n: usize) -> Result<(), No> {
        self.give_back_if_lapsed(n);
        let fresh = !self.holds(n);
        self.seize(n, super::steps::LEASE, super::steps::LIMIT)?;
        if fresh {
            self.note(n);
        }
        Ok(())
    }

    /// Takes it, if it can be taken; extends the lease if it is held already.
    pub fn seize(&mut self, n: usize, lease: std::time::Duration, limit: u32) -> Result<(), No> {
        let (who, now) = (self.who, self.now);
        let until = now.checked_add(lease).unwrap();
        if self.holds(n) {
            let holding = self.one(n).hold.as_mut().unwrap();
            holding.until = holding.until.max(until);
        } else {
            if self.one(n).hold.is_some() {
                return Err(No::Held);
            }
            let deferred = self.one(n).defer.is_some_and(|until| until > now);
            if deferred || !self.queue.waits_for(n).is_empty() {
                return Err(No::WrongState);
            }
            self.go(n, Word::Claim)?;
            let one = self.one(n);
            one.epoch += 1;
            one.assignee = Some(who.name.to_owned());
            one.hold = Some(Holding { who, until, limit });
        }
        let epoch = self.one(n).epoch;
        self.queue.told.insert((who, n), epoch);
        Ok(())
    }

    pub fn give_back_if_lapsed(&mut self, n: usize) {
        let (who, now) = (self.who, self.now);
        if let Some(holding) = self.one(n).hold.clone().filter(|holding| holding.lapsed(who, now)) {
            self.fruitless(n, holding.limit);
        }
    }

    fn give_back_lapsed(&mut self) {
        for n in 0..self.queue.issues.len() {
            self.give_back_if_lapsed(n);
        }
    }

    fn end_holds(&mut self, which: impl Fn(&Holding) -> bool) {
        for n in 0..self.queue.issues.len() {
            if let Some(holding) = self.one(n).hold.clone().filter(&which) {
                self.fruitless(n, holding.limit);
            }
        }
    }

    /// A claim has ended without a result.
    fn fruitless(&mut self, n: usize, limit: u32) {
        self.go(n, Word::Release).unwrap();
        self.count(n, limit);
        self.note(n);
    }

    fn count(&mut self, n: usize, limit: u32) {
        self.one(n).attempt += 1;
        let attempt = self.one(n).attempt;
        if attempt >= limit {
            self.go(n, Word::Block).unwrap();
            self.one(n).notes = Some(format!("Given up after {attempt} claims"));
        }
    }

    fn release(&mut self, n: usize, counted: bool, force: bool) -> Result<(), No> {
        self.may_end(n, force)?;
        let held = self.one(n).hold.is_some();
        self.go(n, Word::Release)?;
        if held {
            if counted {
                self.count(n, super::steps::LIMIT);
            }
            self.note(n);
        }
        Ok(())
    }

    fn block(&mut self, n: usize, notes: &str, force: bool) -> Result<(), No> {
        let before = self.one(n).clone();
        self.wait(n, notes, force)?;
        if *self.one(n) != before {
            self.note(n);
        }
        Ok(())
    }

    pub fn wait(&mut self, n: usize, notes: &str, force: bool) -> Result<(), No> {
        self.may_end(n, force)?;
        self.go(n, Word::Block)?;
        self.one(n).notes = Some(notes.to_owned());
        Ok(())
    }

    pub fn unblock(&mut self, n: usize) {
        self.go(n, Word::Unblock).unwrap();
        self.one(n).attempt = 0;
    }

    fn close(&mut self, n: usize, reason: &str, force: bool) -> Result<(), No> {
        let was = self.one(n).status;
        self.finish(n, reason, force)?;
        if was != Status::Closed {
            self.note(n);
        }
        Ok(())
    }

    pub fn finish(&mut self, n: usize, reason: &str, force: bool) -> Result<(), No> {
        self.may_end(n, force)?;
        if self.one(n).status == Status::Closed {
            return Ok(());
        }
        let issues = &self.queue.issues;
        let open_part = self.queue.edges.iter().any(|(from, to, edge)| {
            *to == n && *edge == EdgeType::ParentChild && issues[*from].status != Status::Closed
        });
        if issues[n].issue_type == "epic" && !force && open_part {
            return Err(No::WrongState);
        }
        self.go(n, Word::Close)?;
        self.one(n).reason = Some(reason.to_owned());
        Ok(())
    }

    fn link(&mut self, from: usize, to: usize, edge: EdgeType) -> Result<(), No> {
        let there = self.queue.edges.iter().find(|(a, b, _)| (*a, *b) == (from, to));
        match there {
            Some((_, _, there)) if *there == edge => return Ok(()),
            Some(_) => return Err(No::Invalid),
            None => {}
        }
        let part = edge == EdgeType::ParentChild;
        if part && self.one(from).parent.is_some() {
            return Err(No::Invalid);
        }
        let waits = part || edge == EdgeType::Blocks;
        if from == to || waits && self.leads(to, from) {
            return Err(No::Cycle);
        }
        self.queue.edges.push((from, to, edge));
        self.one(from).entries += 1;
        if part {
            self.one(from).parent = Some(to);
            self.one(from).updated = self.now;
        }
        Ok(())
    }

    /// Whether edges that make wait lead from one issue to another.
    fn leads(&self, from: usize, to: usize) -> bool {
        self.queue.edges.iter().any(|(start, next, edge)| {
            *start == from
                && matches!(edge, EdgeType::Blocks | EdgeType::ParentChild)
                && (*next == to || self.leads(*next, to))
        })
    }

    fn unlink(&mut self, from: usize, to: usize) -> Result<(), No> {
        let place =
            self.queue.edges.iter().position(|(a, b, _)| (*a, *b) == (from, to)).ok_or(No::Invalid)?;
        let (_, _, edge) = self.queue.edges.remove(place);
        self.one(from).entries += 1;
        if edge == EdgeType::ParentChild {
            self.one(from).parent = None;
            self.one(from).updated = self.now;
        }
        Ok(())
    }
}

impl Holding {
    /// Whether it has run out, as somebody sees it: what one's own run holds never does.
    pub fn lapsed(&self, who: Person, now: Timestamp) -> bool {
        let own = self.who == who || self.who.run.is_some() && self.who.run == who.run;
        self.until <= now && !own
    }
}
