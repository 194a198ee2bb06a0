//! The one integration-test binary.

mod check;
mod confinement;
mod mount_plans;
