//! How do the phases of a plan hang together? As a drawing for Mermaid or Graphviz.

mod dot;
mod mermaid;

use std::collections::BTreeSet;

pub use dot::dot;
pub use mermaid::mermaid;

use crate::id::PhaseId;
use crate::plan::{Items, PhaseKind, PhasePlan, PhaseTurn, Plan};

/// What is drawn of a plan.
#[derive(Debug)]
struct Drawing {
    items: Vec<Item>,
    edges: Vec<Edge>,
}

/// A box, or a frame around some. Its name is a number: the names of phases may mean something where it is drawn.
#[derive(Debug)]
enum Item {
    Node(Node),
    Group(Group),
}

#[derive(Debug)]
struct Node {
    name: usize,
    /// What stands in it, by lines.
    label: Vec<String>,
    shape: Shape,
    turn: PhaseTurn,
}

#[derive(Debug)]
struct Group {
    name: usize,
    label: Vec<String>,
    turn: PhaseTurn,
    items: Vec<Item>,
}

/// How a box looks: by what its phase does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Session,
    Workers,
    Monitor,
    Issues,
    Shell,
    Approval,
}

#[derive(Debug)]
struct Edge {
    from: usize,
    to: usize,
    kind: EdgeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EdgeKind {
    /// The second begins when the first has ended.
    Needs,
    /// The first wakes while the second runs.
    Watches,
}

impl Item {
    fn name(&self) -> usize {
        match self {
            Self::Node(node) => node.name,
            Self::Group(group) => group.name,
        }
    }
}

impl Drawing {
    fn of(plan: &Plan) -> Self {
        let mut drawing = Self { items: Vec::new(), edges: Vec::new() };
        let mut names = 0..;
        drawing.items = drawing.level(&plan.phases, &mut names);
        drawing
    }

    fn level(&mut self, phases: &[PhasePlan], names: &mut std::ops::RangeFrom<usize>) -> Vec<Item> {
        let items: Vec<Item> = phases.iter().map(|phase| self.item(phase, names)).collect();
        let at = |id: &PhaseId| phases.iter().position(|phase| phase.id == *id).map(|at| items[at].name());
        for (phase, item) in phases.iter().zip(&items) {
            for from in drawn_needs(phases, phase).into_iter().filter_map(at) {
                self.edges.push(Edge { from, to: item.name(), kind: EdgeKind::Needs });
            }
            if let PhaseKind::Monitor(monitor) = &phase.kind
                && let Some(to) = at(&monitor.watches)
            {
                self.edges.push(Edge { from: item.name(), to, kind: EdgeKind::Watches });
            }
        }
        items
    }

    fn item(&mut self, phase: &PhasePlan, names: &mut std::ops::RangeFrom<usize>) -> Item {
        let mut name = || names.next().expect("numbers do not run out");
        let Some(each) = &phase.for_each else {
            let own = name();
            return self.alone(phase, own, label(phase), names);
        };
        let outer = name();
        let inner = name();
        let items = match &each.items {
            Items::Written(items) if items.len() == 1 => "1 item".to_owned(),
            Items::Written(items) => format!("{} items", items.len()),
            Items::Computed(expression) => one_line(&expression.text),
        };
        let mut about = vec![format!("{}: for each {} of {items}", phase.id, each.name)];
        about.extend(conditions(phase));
        let one = self.alone(phase, inner, vec![format!("{}.N", phase.id), what(&phase.kind)], names);
        Item::Group(Group { name: outer, label: about, turn: phase.turn, items: vec![one] })
    }

    fn alone(
        &mut self,
        phase: &PhasePlan,
        name: usize,
        label: Vec<String>,
        names: &mut std::ops::RangeFrom<usize>,
    ) -> Item {
        let turn = if phase.for_each.is_some() { PhaseTurn::InOrder } else { phase.turn };
        let shape = match &phase.kind {
            PhaseKind::Session(_) => Shape::Session,
            PhaseKind::Workers(_) => Shape::Workers,
            PhaseKind::Monitor(_) => Shape::Monitor,
            PhaseKind::Issues(_) => Shape::Issues,
            PhaseKind::Shell(_) => Shape::Shell,
            PhaseKind::Approval(_) => Shape::Approval,
            PhaseKind::Repeat(_) | PhaseKind::Include(_) => {
                let items = self.level(phase.inner(), names);
                return Item::Group(Group { name, label, turn, items });
            }
        };
        Item::Node(Node { name, label, shape, turn })
    }
}

/// The phases from which a line leads to this one. One that runs at the end waits for all that run in their turn; of those,
/// the last are shown.
fn drawn_needs<'p>(phases: &'p [PhasePlan], phase: &'p PhasePlan) -> Vec<&'p PhaseId> {
    if phase.turn == PhaseTurn::InOrder {
        return phase.needs.iter().collect();
    }
    let is_needed = |other: &&PhasePlan| other.turn == PhaseTurn::InOrder || phase.needs.contains(&other.id);
    let needed: Vec<&PhasePlan> = phases.iter().filter(is_needed).collect();
    let not_last: BTreeSet<&PhaseId> = needed.iter().flat_map(|other| &other.needs).collect();
    needed.into_iter().map(|other| &other.id).filter(|id| !not_last.contains(id)).collect()
}

fn label(phase: &PhasePlan) -> Vec<String> {
    let mut lines = vec![phase.id.to_string(), what(&phase.kind)];
    lines.extend(conditions(phase));
    lines
}

/// When it runs, beside its order.
fn conditions(phase: &PhasePlan) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(when) = &phase.when {
        lines.push(format!("when {}", one_line(&when.text)));
    }
    if phase.turn == PhaseTurn::Finally {
        lines.push("finally".to_owned());
    }
    lines
}

/// What a phase does, in a line.
fn what(kind: &PhaseKind) -> String {
    let who = match kind {
        PhaseKind::Session(session) => session.role.to_string(),
        PhaseKind::Workers(workers) => {
            let pool = workers.pool.iter();
            pool.map(|entry| format!("{} ×{}", entry.role, entry.count)).collect::<Vec<_>>().join(", ")
        }
        PhaseKind::Monitor(monitor) => format!("{}, when {}", monitor.role, one_line(&monitor.when.text)),
        PhaseKind::Repeat(repeat) => {
            format!("at most {} times, until {}", repeat.max, one_line(&repeat.until.text))
        }
        PhaseKind::Include(include) => include.file.display().to_string(),
        PhaseKind::Issues(_) | PhaseKind::Shell(_) | PhaseKind::Approval(_) => {
            return kind.as_str().to_owned();
        }
    };
    format!("{}: {who}", kind.as_str())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
