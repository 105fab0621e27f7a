//! The kernel's calls that the standard library lacks, each as a small function that is safe to call. The only `unsafe`
//! of the engine lives here.

pub mod account;
pub mod bpf;
pub mod confine;
pub mod fd;
pub mod fork;
pub mod inside;
pub mod mount;
pub mod project;
pub mod seccomp;
pub mod socket;
pub mod spawner;
#[cfg(test)]
mod test_entry;
