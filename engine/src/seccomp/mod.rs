//! Which system calls a container may make: Docker's default profile, profiles that users bring, and the compiler that
//! turns either into the BPF program which the kernel runs at every call (seccomp(2)).

mod abi;
mod compile;
mod profile;
mod table;

pub use abi::Abi;
pub use profile::{Action, Condition, Op, Policy, Rule};

use crate::Result;
use crate::caps::CapSet;
use crate::runtime::plan::Instruction;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

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

/// What a choice says for a container with these capabilities, by name; `None`: no filter.
///
/// # Errors
/// `Invalid` when a profile cannot be read.
pub fn policy(choice: Choice<'_>, caps: CapSet) -> Result<Option<Policy>> {
    match choice {
        Choice::Unconfined => Ok(None),
        Choice::Default => Ok(Some(Policy::docker(caps, Abi::NATIVE.go_name()))),
        Choice::Profile(json) => Policy::parse(json, caps, Abi::NATIVE.go_name(), kernel()).map(Some),
    }
}

/// The program for a choice; `None`: no filter. Docker's default is compiled once per set of capabilities that matters
/// to it.
///
/// # Errors
/// `Invalid` when a profile cannot be read or says what the kernel cannot do.
pub fn program(choice: Choice<'_>, caps: CapSet, abi32: Abi32) -> Result<Option<Program>> {
    let narrow = abi32 == Abi32::Allow;
    if choice == Choice::Default {
        return docker(caps, narrow).map(Some);
    }
    let Some(policy) = policy(choice, caps)? else { return Ok(None) };
    Ok(Some(Program(compile::compile(&policy, Abi::NATIVE, narrow)?.into())))
}

/// Docker's default, from the cache if it was made before.
fn docker(caps: CapSet, narrow: bool) -> Result<Program> {
    type Cache = Mutex<HashMap<(CapSet, bool), Program>>;
    static MADE: LazyLock<Cache> = LazyLock::new(Mutex::default);
    let key = (caps.intersection(table::relevant()), narrow);
    if let Some(program) = MADE.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(program.clone());
    }
    let code = compile::compile(&Policy::docker(key.0, Abi::NATIVE.go_name()), Abi::NATIVE, narrow)?;
    let program = Program(code.into());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.len() >= 256 {
        made.clear(); // somebody plays through all combinations
    }
    made.insert(key, program.clone());
    Ok(program)
}

/// The running kernel's version, for `minKernel`.
fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests;
