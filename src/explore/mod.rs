//! Which order of a scenario goes wrong? The same run under many schedules, what must hold in each, and the shortest
//! schedule that breaks it.
//!
//! ```text
//!   the usual order, then a seed after the other ──▶ a run each ──all held──▶ the next
//!                                                       │ something broke
//!                                                       ▼
//!   its deviations from the usual order ──▶ without half of them, without one … still broken? ──▶ the shortest
//! ```

mod search;
mod witness;

pub use search::{Broken, Found, Plan, Tried, search, try_one};
pub use witness::Witness;
