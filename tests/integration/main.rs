//! The one integration-test binary.

mod confinement;
mod mount_plans;
