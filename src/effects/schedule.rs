//! Who goes on when several could: in rounds as in every run, or as an exploration has it.
//!
//! ```text
//!   nobody is busy ──▶ those who wait for their turn, those whose reply is still out
//!                        │ usual order: whoever went on last, else one that it began, else the first by name
//!                        │ seeded:      the one of the highest priority; at some steps it is put last
//!                        ▼ chosen:      the usual order, but at these steps somebody else
//!                      one goes on ── a choice, by which the run can be had again
//! ```
//!
//! A seed gives every actor a priority, and at `depth` steps whoever would go on next is put behind all others for good
//! (probabilistic concurrency testing): a race that needs few such changes is found in few runs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Who goes on when several could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Priorities that follow from a seed.
    Seeded {
        /// The seed.
        seed: u64,
        /// At how many steps whoever would go on is put last.
        depth: u32,
        /// How many steps the run is thought to have: the changes lie among them.
        steps: usize,
    },
    /// The usual order but for these steps.
    Chosen(Deviations),
}

impl Schedule {
    /// The usual order.
    pub fn usual() -> Self {
        Self::Chosen(Deviations::default())
    }
}

/// The steps at which somebody else goes on than in the usual order, and who: a schedule to be written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deviations(pub BTreeMap<usize, String>);

/// The text of the usual order.
const USUAL: &str = "usual";

impl fmt::Display for Deviations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(USUAL);
        }
        for (place, (step, name)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{step}={name}")?;
        }
        Ok(())
    }
}

/// A text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no schedule; write `usual`, or STEP=NAME for each step at which somebody else goes on, with commas"
)]
pub struct NoSchedule(String);

impl FromStr for Deviations {
    type Err = NoSchedule;

    fn from_str(text: &str) -> Result<Self, NoSchedule> {
        let mut deviations = BTreeMap::new();
        if text == USUAL {
            return Ok(Self(deviations));
        }
        for part in text.split(',') {
            let (step, name) = part.trim().split_once('=').ok_or_else(|| NoSchedule(part.to_owned()))?;
            let step = step.parse().ok().filter(|step| *step > 0);
            match step {
                Some(step) if !name.is_empty() => deviations.insert(step, name.to_owned()),
                _ => return Err(NoSchedule(part.to_owned())),
            };
        }
        Ok(Self(deviations))
    }
}

/// One who went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What it went on with: the id of an effect, or its own name when it began.
    pub name: String,
    /// How many could have gone on.
    pub among: usize,
    /// Whether somebody else would have gone on in the usual order.
    pub deviates: bool,
}

impl Choice {
    /// Who went on: `PHASE/SESSION`, or a phase.
    pub fn actor(&self) -> String {
        actor_of(&self.name)
    }
}

/// What an exploration came by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Course {
    /// Who went on, step by step.
    pub choices: Vec<Choice>,
    /// Steps at which the one who was to go on did not wait: the schedule is of another run.
    pub missed: Vec<usize>,
}

impl Course {
    /// What has to be chosen to have the same run again.
    pub fn deviations(&self) -> Deviations {
        let steps = (1..).zip(&self.choices).filter(|(_, choice)| choice.deviates);
        Deviations(steps.map(|(step, choice)| (step, choice.name.clone())).collect())
    }
}

/// Whose an effect of a session is; all fresh sessions of one worker are one.
fn actor(name: &str) -> &str {
    let Some((before, last)) = name.rsplit_once('/') else { return name };
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        // `PHASE/SESSION[:ITERATION]/TURN[.CALL]`
        return before.split_once(':').map_or(before, |(worker, _)| worker);
    }
    name
}

/// The same where the engine acts for a session, too: `PHASE/!wake.SESSION-2` is of `PHASE/SESSION`.
fn actor_of(name: &str) -> String {
    let engine = name.split_once("/!").and_then(|(phase, what)| {
        let (what, _) = what.rsplit_once('-')?;
        Some(match what.split_once('.') {
            Some((_, session)) => format!("{phase}/{}", session.split(':').next().unwrap_or(session)),
            None => phase.to_owned(),
        })
    });
    engine.unwrap_or_else(|| actor(name).to_owned())
}

/// Decides who goes on in an exploration, and keeps who did.
pub(super) struct Explorer {
    schedule: Schedule,
    last: String,
    /// Actors that were put last, with the step of it.
    put_last: HashMap<String, usize>,
    course: Course,
}

impl Explorer {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self { schedule, last: String::new(), put_last: HashMap::new(), course: Course::default() }
    }

    pub(super) fn course(&self) -> &Course {
        &self.course
    }

    /// Which of these goes on; they are in a stable order, and there is at least one.
    pub(super) fn choose(&mut self, names: &[&str]) -> usize {
        let step = self.course.choices.len() + 1;
        let actors: Vec<String> = names.iter().map(|name| actor_of(name)).collect();
        let usual = self.usual(&actors);
        let chosen = match &self.schedule {
            Schedule::Seeded { seed, depth, steps } => {
                let changes = (0..*depth).any(|change| change_point(*seed, change, *steps) == step);
                let first = self.first(*seed, &actors);
                if changes {
                    self.put_last.insert(actors[first].clone(), step);
                    self.first(*seed, &actors)
                } else {
                    first
                }
            }
            Schedule::Chosen(Deviations(deviations)) => match deviations.get(&step) {
                None => usual,
                Some(wanted) => names.iter().position(|name| name == wanted).unwrap_or_else(|| {
                    self.course.missed.push(step);
                    usual
                }),
            },
        };
        self.last.clone_from(&actors[chosen]);
        self.course.choices.push(Choice {
            name: names[chosen].to_owned(),
            among: names.len(),
            deviates: names[chosen] != names[usual],
        });
        chosen
    }

    /// Whoever went on last; else one that it began; else the first.
    fn usual(&self, actors: &[String]) -> usize {
        let begun =
            |actor: &String| actor.strip_prefix(self.last.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let same = actors.iter().position(|actor| *actor == self.last);
        same.or_else(|| actors.iter().position(begun)).unwrap_or(0)
    }

    /// The one of the highest priority; of one actor's several the first.
    fn first(&self, seed: u64, actors: &[String]) -> usize {
        let rank = |actor: &String| match self.put_last.get(actor) {
            // Whoever was put last later is behind those who were before.
            Some(step) => (1, *step as u64),
            None => (0, dice(seed, actor)),
        };
        let ranked = actors.iter().enumerate().min_by_key(|(_, actor)| rank(actor));
        ranked.map_or(0, |(at, _)| at)
    }
}

fn change_point(seed: u64, change: u32, steps: usize) -> usize {
    let steps = u64::try_from(steps.max(1)).unwrap_or(u64::MAX);
    usize::try_from(dice(seed, &format!("change {change}")) % steps).unwrap_or(0) + 1
}

/// A number that follows from a seed and a text.
fn dice(seed: u64, text: &str) -> u64 {
    let digest = Sha256::digest(format!("{seed}/{text}"));
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_name_is() {
        for (name, whose) in [
            ("work/coder-2/7", "work/coder-2"),
            ("work/coder-2/7.1#2", "work/coder-2"),
            ("work/coder-2:3/1.1", "work/coder-2"),
            ("work/coder-2", "work/coder-2"),
            ("work", "work"),
            ("work/!wake.coder-2-4", "work/coder-2"),
            ("work/!claim.coder-2:3-1", "work/coder-2"),
            ("work/!left-1", "work"),
            ("run/!expect-2", "run"),
        ] {
            assert_eq!(actor_of(name), whose, "{name}");
        }
    }

    #[test]
    fn a_schedule_is_read_as_it_is_written() {
        for text in ["usual", "3=work/a/1", "3=work/a/1,12=work/!wake.b-1"] {
            assert_eq!(text.parse::<Deviations>().unwrap().to_string(), text);
        }
        for wrong in ["", "x", "0=a", "3=", "3=a,,4=b", "-1=a"] {
            assert!(wrong.parse::<Deviations>().is_err(), "{wrong}");
        }
    }

    /// Two actors of three steps each, beside one another.
    fn play(schedule: Schedule) -> Course {
        let mut explorer = Explorer::new(schedule);
        let mut next = BTreeMap::from([("p/a", 1), ("p/b", 1)]);
        while !next.is_empty() {
            let names: Vec<String> = next.iter().map(|(who, turn)| format!("{who}/{turn}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let who = *next.keys().nth(explorer.choose(&names)).unwrap();
            let turn = next[who] + 1;
            if turn > 3 {
                next.remove(who);
            } else {
                next.insert(who, turn);
            }
        }
        explorer.course
    }

    fn order(course: &Course) -> String {
        course.choices.iter().map(|choice| choice.name[2..3].to_owned()).collect()
    }

    #[test]
    fn in_the_usual_order_whoever_went_on_last_goes_on() {
        let course = play(Schedule::usual());
        assert_eq!((order(&course).as_str(), course.deviations()), ("aaabbb", Deviations::default()));
    }

    #[test]
    fn what_a_phase_begins_goes_on_after_it() {
        let mut explorer = Explorer::new(Schedule::Chosen("1=right".parse().unwrap()));
        assert_eq!(explorer.choose(&["left", "right"]), 1);
        assert_eq!(explorer.choose(&["left", "left/w-1/1", "right/w-1/1"]), 2);
        assert_eq!(explorer.choose(&["left", "rightmost", "right/w-1/1.1"]), 2);
        assert_eq!(explorer.choose(&["left", "right"]), 0);
    }

    #[test]
    fn a_deviation_lasts_until_the_next() {
        let course = play(Schedule::Chosen("2=p/b/1,3=p/a/2".parse().unwrap()));
        assert_eq!(order(&course), "abaabb");
        let course = play(Schedule::Chosen("2=p/c/1".parse().unwrap()));
        assert_eq!((order(&course).as_str(), course.missed), ("aaabbb", vec![2]));
    }

    #[test]
    fn seeds_differ_and_what_came_of_one_can_be_had_again() {
        let mut orders = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let seeded = play(Schedule::Seeded { seed, depth: 2, steps: 6 });
            assert_eq!(seeded, play(Schedule::Seeded { seed, depth: 2, steps: 6 }));
            let again = play(Schedule::Chosen(seeded.deviations()));
            assert_eq!(again, seeded, "the same choices, and the same of them deviate");
            orders.insert(order(&seeded));
        }
        assert!(orders.len() > 6, "{orders:?}");
        let straight = play(Schedule::Seeded { seed: 1, depth: 0, steps: 6 });
        assert!(["aaabbb", "bbbaaa"].contains(&order(&straight).as_str()), "no change, no preemption");
    }
}
