//! What goes wrong, through the real binary: does each end in one clear message with the right exit code, with nothing half done?

mod calls;
mod disk;
mod files;
mod killed;
mod network;
mod planted;
mod resumed;
mod secrets;
mod stopped;
pub mod team;
mod watched;
