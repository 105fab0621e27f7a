//! Which system calls a container may make: Docker's default profile, profiles that users bring, and the compiler that
//! turns either into the BPF program which the kernel runs at every call (seccomp(2)).

use crate::caps::CapSet;
use crate::runtime::plan::Instruction;
use crate::{Error, Result};
use std::sync::Arc;

/// A compiled filter. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Arc<[Instruction]>);

impl Program {
    /// The instructions, for the plan of a start.
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}

/// What `--security-opt seccomp=` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// Nothing, or `builtin`: Docker's default.
    Default,
    /// `unconfined`: no filter.
    Unconfined,
    /// A profile's JSON.
    Profile(&'a str),
}

impl<'a> Choice<'a> {
    /// From the option's value.
    pub fn parse(value: &'a str) -> Self {
        match value {
            "" | "builtin" | "default" => Self::Default,
            "unconfined" => Self::Unconfined,
            json => Self::Profile(json),
        }
    }
}

/// Whether programs for the machine's 32-bit ABI may call (a grant).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Abi32 {
    /// Their every call fails with ENOSYS.
    #[default]
    Refuse,
    /// The same rules hold for them, as far as the ABI can be filtered (`socketcall` cannot).
    Allow,
}

/// The program for a choice; `None`: no filter. The default's programs are compiled once per set of capabilities that
/// matters to it.
///
/// # Errors
/// `Invalid` when a profile cannot be read or says what the kernel cannot do.
pub fn program(choice: Choice<'_>, caps: CapSet, abi32: Abi32) -> Result<Option<Program>> {
    let _ = (choice, caps, abi32);
    Err(Error::unsupported("seccomp"))
}
