//! How a run ends: what it was to reach, and what is left of the queue.

use std::sync::atomic::Ordering;

use super::board::PhaseState;
use super::dispatch::{Dispatcher, outsider};
use super::scope::Scope;
use super::shell::{self, Occasion};
use super::{PhaseOutcome, RunEnd};
use crate::effects::{Busy, Halt};
use crate::event::{EffectId, Happening, PhaseEnd, Whereabouts};
use crate::id::PhaseId;
use crate::plan::{Condition, OnFailure};
use crate::store::{Answer, Counts, Operation};

/// What became of the run's own expectations.
#[derive(Default)]
struct Expectations {
    /// Those that are false.
    wrong: Vec<Condition>,
    /// Those that are neither, and why.
    unanswered: Vec<(Condition, String)>,
}

impl Dispatcher {
    /// Looks at the final expectations and sums up.
    pub(super) async fn end(mut self) -> RunEnd {
        let busy = self.company.stage.effects.busy();
        let mut expectations = Expectations::default();
        let stopped = self.company.stage.stop.soft.is_cancelled();
        if self.halt.is_none() {
            self.halt = self.company.stage.effects.halted();
        }
        let paused: Vec<_> = self.board.paused().into_iter().map(|live| live.id.clone()).collect();
        let goes_well = self.setup_failure.is_none()
            && self.halt.is_none()
            && self.broken.is_none()
            && !stopped
            && paused.is_empty();
        if goes_well && self.is_late {
            self.halt = self.tell_late(&busy).await.err();
        } else if goes_well && !self.was_cut_short() {
            match self.check_expectations(&busy).await {
                Ok(found) => expectations = found,
                Err(halt) => self.halt = Some(halt),
            }
        }
        let teardown_failure = match self.tear_down(&busy, &paused).await {
            Ok(failure) => failure,
            Err(halt) => {
                self.halt.get_or_insert(halt);
                None
            }
        };
        if self.halt.is_none() && self.broken.is_none() && !stopped && paused.is_empty() {
            self.halt = self.company.stage.effects.finish().err();
        }
        let (counts, issues) = self.last_look().await;
        let never = if paused.is_empty() { PhaseEnd::Skipped } else { PhaseEnd::Paused };
        let outcome = |state: &PhaseState| match state {
            PhaseState::Ended(outcome) | PhaseState::Paused(outcome) => outcome.clone(),
            PhaseState::Pending => PhaseOutcome::new(never),
            PhaseState::Running => PhaseOutcome::new(PhaseEnd::Cancelled),
        };
        let phases: Vec<_> = self.board.top().map(|live| (live.id.clone(), outcome(&live.state))).collect();
        let Expectations { wrong: of_run, unanswered } = expectations;
        let of_phases = phases.iter().flat_map(|(_, outcome)| outcome.false_expectations.clone());
        let wrong = of_phases.chain(of_run).collect();
        RunEnd {
            budget_used_up: self.is_late || phases.iter().any(|(_, outcome)| outcome.budget_used_up),
            is_late: self.is_late,
            credential_refused: phases.iter().any(|(_, outcome)| outcome.credential_refused),
            call_failed: phases.iter().any(|(_, outcome)| outcome.call_failed),
            inner_failure: phases.iter().any(|(_, outcome)| outcome.inner_failure),
            phases,
            paused,
            trouble: self.setup_failure.or(teardown_failure),
            false_expectations: wrong,
            unanswered,
            halt: self.halt,
            stopped,
            broken: self.broken,
            others_worked: self.company.others_seen.load(Ordering::Relaxed),
            counts,
            issues,
        }
    }

    /// Runs the commands that end a run: whatever happened, but not when it goes on later or is to end at once.
    async fn tear_down(&self, busy: &Busy, paused: &[PhaseId]) -> Result<Option<String>, Halt> {
        let company = &self.company;
        let at_once = company.stage.stop.hard.is_cancelled() || self.halt.is_some() || self.broken.is_some();
        if at_once || !paused.is_empty() {
            return Ok(None);
        }
        let commands = &company.plan.workspace.teardown;
        Ok(shell::run_all(company, Occasion::Teardown, commands, busy).await?.err())
    }

    /// Whether a failed phase kept others from running: what the run was to reach is then no question any more.
    fn was_cut_short(&self) -> bool {
        self.board.top().any(|live| match &live.state {
            PhaseState::Ended(outcome) => {
                outcome.end == PhaseEnd::Failed && live.plan.on_failure == OnFailure::Stop
            }
            PhaseState::Paused(_) | PhaseState::Pending | PhaseState::Running => false,
        })
    }

    async fn check_expectations(&self, busy: &Busy) -> Result<Expectations, Halt> {
        let mut found = Expectations::default();
        let company = &self.company;
        let mut scope = Scope::of_run(company);
        scope.see_phases(self.board.seen_at_end());
        for (number, condition) in (1..).zip(&company.plan.expect) {
            let id = EffectId::run("expect", number);
            let holds = match company.holds(busy, id, condition, &scope).await? {
                Ok(holds) => holds,
                Err(error) => {
                    found.unanswered.push((condition.clone(), error.reason));
                    continue;
                }
            };
            let event = Happening::ExpectChecked { condition: condition.text.clone(), holds };
            company.stage.hub.tell(company.stage.effects.now(), &Whereabouts::default(), event);
            if !holds {
                found.wrong.push(condition.clone());
            }
        }
        Ok(found)
    }

    /// The queue at the very end, for people. What a run that could not end in order still holds is given back.
    async fn last_look(&self) -> (Counts, Vec<crate::issue::Issue>) {
        let company = &self.company;
        let caller = |what: &str| outsider(&company.run, what, company.stage.effects.now());
        if !company.stage.effects.is_replay() {
            let reclaim = Operation::Reclaim { runs: vec![company.run.clone()] };
            // A queue that cannot be written any more is what the run has already failed with.
            let _ = company.store.apply(caller("reclaim"), reclaim).await;
        }
        match company.store.apply(caller("end"), Operation::Snapshot).await.map(|applied| applied.answer) {
            Ok(Answer::Snapshot(snapshot)) => (snapshot.counts, snapshot.issues),
            _ => (Counts::default(), Vec::new()),
        }
    }
}
