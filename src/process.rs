//! How do all processes of a group end? Together, when nobody attends to them any more.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;

/// A process group that ends when nobody attends to it any more.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// The group of a child that was started as its leader.
    pub fn led_by(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// Ends what is left of it, once: later its number may be somebody else's.
    pub fn end(&mut self) {
        self.signal(Signal::SIGKILL);
        self.0 = None;
    }

    /// Asks all of it to end.
    pub fn ask(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Lets all of it stand still, until it is told to go on.
    pub fn hold(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on that was told to stand still.
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Whether it has been ended.
    pub fn is_ended(&self) -> bool {
        self.0.is_none()
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // The group may be gone already, which is what was wanted.
            let _ = killpg(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}
