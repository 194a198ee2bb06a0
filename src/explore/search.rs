//! Runs schedules until one breaks, and makes that one short.

use std::collections::BTreeMap;

use crate::effects::{Course, Deviations, Schedule};
use crate::limit;

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The first seed.
    pub first_seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// At how many steps of each whoever would go on is put last.
    pub depth: u32,
}

/// What came of one schedule.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    /// What did not hold, a line each or more.
    pub broken: Vec<String>,
    /// Who went on.
    pub course: Course,
}

/// What came of all.
#[derive(Debug, Clone)]
pub enum Found {
    /// All held.
    Nothing {
        /// How many schedules there were.
        schedules: u64,
    },
    /// One did not.
    Broken(Box<Broken>),
}

/// A schedule that does not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    /// How many schedules there were with it.
    pub schedules: u64,
    /// The seed it came of; `None` for the usual order.
    pub seed: Option<u64>,
    /// How many deviations it had at first.
    pub deviations: usize,
    /// Whether the same choices broke it again.
    pub repeats: bool,
    /// The shortest that was found.
    pub shortest: Deviations,
    /// What came of that one.
    pub tried: Tried,
}

/// Runs the usual order and then seeds until one does not hold, and shortens that one.
///
/// # Errors
/// Those of `play`: something else than the schedule was wrong.
pub async fn search<E>(
    plan: Plan,
    mut play: impl AsyncFnMut(Schedule) -> Result<Tried, E>,
) -> Result<Found, E> {
    let mut tried = play(Schedule::usual()).await?;
    let mut steps = tried.course.choices.len();
    let mut schedules = 1;
    let mut seed = None;
    let mut seeds = (0..plan.seeds).map(|number| plan.first_seed.wrapping_add(number));
    while tried.broken.is_empty() {
        seed = seeds.next();
        let Some(seed) = seed else { return Ok(Found::Nothing { schedules }) };
        tried = play(Schedule::Seeded { seed, depth: plan.depth, steps }).await?;
        steps = steps.max(tried.course.choices.len());
        schedules += 1;
    }
    let mut shrinking = Shrinking { shortest: tried.course.deviations(), tried, runs: limit::SHRINKING_RUNS };
    let deviations = shrinking.shortest.0.len();
    let repeats = deviations == 0 || shrinking.breaks(shrinking.shortest.clone(), &mut play).await?;
    if repeats {
        shrinking.shorten(&mut play).await?;
    }
    let Shrinking { shortest, tried, .. } = shrinking;
    Ok(Found::Broken(Box::new(Broken { schedules, seed, deviations, repeats, shortest, tried })))
}

/// Runs one schedule that was written down.
///
/// # Errors
/// Those of `play`.
pub async fn try_one<E>(
    schedule: Deviations,
    mut play: impl AsyncFnMut(Schedule) -> Result<Tried, E>,
) -> Result<Tried, E> {
    play(Schedule::Chosen(schedule)).await
}

struct Shrinking {
    shortest: Deviations,
    /// What came of the shortest.
    tried: Tried,
    /// How many runs are left.
    runs: usize,
}

impl Shrinking {
    /// Takes deviations away, half of them first, then fewer at a time, as long as it stays broken.
    async fn shorten<E>(
        &mut self,
        play: &mut impl AsyncFnMut(Schedule) -> Result<Tried, E>,
    ) -> Result<(), E> {
        let mut size = self.shortest.0.len().div_ceil(2);
        while size > 0 && self.runs > 0 {
            let mut place = 0;
            let mut is_shorter = false;
            while place < self.shortest.0.len() && self.runs > 0 {
                let rest = without(&self.shortest, place, size);
                if self.breaks(rest, play).await? {
                    is_shorter = true;
                } else {
                    place += size;
                }
            }
            // Once more with single ones: what was needed beside another may not be any more.
            size = if size == 1 && is_shorter { 1 } else { size / 2 };
        }
        Ok(())
    }

    /// Whether this schedule breaks something, too; then it is the shortest.
    async fn breaks<E>(
        &mut self,
        schedule: Deviations,
        play: &mut impl AsyncFnMut(Schedule) -> Result<Tried, E>,
    ) -> Result<bool, E> {
        self.runs = self.runs.saturating_sub(1);
        let tried = play(Schedule::Chosen(schedule.clone())).await?;
        if tried.broken.is_empty() {
            return Ok(false);
        }
        // What was not heeded, or is the usual order by now, is not part of it.
        let heeded = tried.course.deviations();
        self.shortest = if heeded.0.len() < schedule.0.len() { heeded } else { schedule };
        self.tried = tried;
        Ok(true)
    }
}

/// All but so many from this place on.
fn without(schedule: &Deviations, place: usize, size: usize) -> Deviations {
    let kept = schedule.0.iter().enumerate().filter(|(at, _)| *at < place || *at >= place + size);
    Deviations(kept.map(|(_, (step, name))| (*step, name.clone())).collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::effects::Choice;

    /// A run of ten steps that breaks when `p/x/N` goes on at both these steps.
    fn breaking_at(steps: [usize; 2], schedule: &Schedule) -> Tried {
        let chosen: Deviations = match schedule {
            Schedule::Seeded { seed, .. } => {
                let several = (1..=10).filter(|step| (step + usize::try_from(*seed).unwrap()) % 3 != 0);
                Deviations(several.map(|step| (step, format!("p/x/{step}"))).collect())
            }
            Schedule::Chosen(deviations) => deviations.clone(),
        };
        let choice = |step| match chosen.0.get(&step) {
            Some(name) => Choice { name: name.clone(), among: 2, deviates: true },
            None => Choice { name: format!("p/a/{step}"), among: 2, deviates: false },
        };
        let is_broken = steps.iter().all(|step| chosen.0.contains_key(step));
        Tried {
            broken: is_broken.then(|| "broken".to_owned()).into_iter().collect(),
            course: Course { choices: (1..=10).map(choice).collect(), missed: Vec::new() },
        }
    }

    #[tokio::test]
    async fn what_breaks_is_found_and_shortened() {
        let mut runs = 0;
        let found = search(Plan { first_seed: 1, seeds: 9, depth: 2 }, async |schedule| {
            runs += 1;
            Ok::<_, Infallible>(breaking_at([3, 8], &schedule))
        });
        let Found::Broken(broken) = found.await.unwrap() else { panic!("nothing was found") };
        assert_eq!(broken.shortest.to_string(), "3=p/x/3,8=p/x/8");
        assert_eq!((broken.seed, broken.schedules, broken.deviations, broken.repeats), (Some(2), 3, 6, true));
        assert!(runs < 30, "{runs}");
    }

    #[tokio::test]
    async fn where_nothing_breaks_every_seed_is_tried() {
        let mut seeds = Vec::new();
        let found = search(Plan { first_seed: 5, seeds: 4, depth: 2 }, async |schedule| {
            if let Schedule::Seeded { seed, steps, .. } = &schedule {
                seeds.push((*seed, *steps));
            }
            Ok::<_, Infallible>(breaking_at([11, 12], &schedule))
        });
        assert!(matches!(found.await.unwrap(), Found::Nothing { schedules: 5 }));
        assert_eq!(seeds, [(5, 10), (6, 10), (7, 10), (8, 10)]);
    }

    #[tokio::test]
    async fn what_breaks_only_once_is_said_to() {
        let mut runs = 0;
        let found = search(Plan { first_seed: 2, seeds: 1, depth: 2 }, async |schedule| {
            runs += 1;
            let tried = breaking_at([3, 8], &schedule);
            Ok::<_, Infallible>(if runs > 2 { Tried { broken: Vec::new(), ..tried } } else { tried })
        });
        let Found::Broken(broken) = found.await.unwrap() else { panic!("nothing was found") };
        assert!(!broken.repeats);
        assert_eq!(broken.shortest.0.len(), broken.deviations);
    }
}
