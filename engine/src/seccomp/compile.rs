//! From rules to a BPF program (classic BPF, seccomp(2)).
//!
//! The numbers of an ABI are cut into ranges with one outcome each, and a balanced tree of comparisons finds the range:
//! 8 steps instead of hundreds, which counts since the kernel runs the program once per known call when it is loaded
//! (its constant-action cache) and for every other call ever after. Measured 49 µs to load against 283 µs for a list.

use super::abi::{Abi, COMMON_END};
use super::profile::{Action, Condition, Op, Policy, Rule};
use crate::runtime::plan::Instruction;
use crate::{Error, Result};
use std::collections::BTreeMap;

const ENOSYS: Action = Action::Errno(38);
/// The kernel takes no longer programs (BPF_MAXINSNS).
const LONGEST: usize = 4096;
/// x86_64 calls of the x32 ABI have this bit.
const X32: u32 = 0x4000_0000;

// struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits.
const AT_NUMBER: u32 = 0;
const AT_ARCH: u32 = 4;
const AT_ARGS: u32 = 16;

// include/uapi/linux/bpf_common.h
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQ: u16 = 0x15;
pub(super) const JUMP_GT: u16 = 0x25;
pub(super) const JUMP_GE: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn test(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn give(action: Action) -> Instruction {
    op(RETURN, action.value())
}

/// The program for `policy` on `native`, with its 32-bit ABI or without.
///
/// # Errors
/// `Invalid` when the profile is too long for the kernel.
pub fn compile(policy: &Policy, native: Abi, with_narrow: bool) -> Result<Vec<Instruction>> {
    let mut code = vec![op(LOAD, AT_ARCH)];
    if with_narrow && policy.abi32 {
        let section = section(policy, native.narrow())?;
        // Other: over the section (which may be longer than a conditional jump reaches).
        code.push(test(JUMP_EQ, native.narrow().audit(), 1, 0));
        code.push(op(JUMP, length(&section)?));
        code.extend(section);
    }
    code.push(test(JUMP_EQ, native.audit(), 1, 0));
    // Any other ABI is as good as absent: its calls do not exist.
    code.push(give(ENOSYS));
    code.extend(section(policy, native)?);
    if code.len() > LONGEST {
        return Err(Error::invalid(format!(
            "the seccomp profile is too long: {} instructions, and the kernel takes {LONGEST}",
            code.len()
        )));
    }
    Ok(code)
}

fn length(code: &[Instruction]) -> Result<u32> {
    u32::try_from(code.len()).map_err(|_| Error::invalid("the seccomp profile is too long"))
}

/// What happens to the calls of one range.
#[derive(Debug, Clone, PartialEq)]
enum Outcome<'a> {
    Always(Action),
    /// The first rule whose conditions hold; else the default.
    Depends(Vec<&'a Rule>),
}

/// The rules by number: an unconditional rule outweighs conditional ones.
fn by_number(policy: &Policy, abi: Abi) -> BTreeMap<u32, Outcome<'_>> {
    let mut outcomes: BTreeMap<u32, Outcome<'_>> = BTreeMap::new();
    for rule in &policy.rules {
        let Some(number) = abi.number(&rule.name) else { continue };
        match (outcomes.get_mut(&number), rule.conditions.is_empty()) {
            (Some(Outcome::Always(_)), _) => {}
            (Some(Outcome::Depends(rules)), false) => rules.push(rule),
            (_, true) => {
                outcomes.insert(number, Outcome::Always(rule.action));
            }
            (None, false) => {
                outcomes.insert(number, Outcome::Depends(vec![rule]));
            }
        }
    }
    outcomes
}

/// The outcome for each range, by its first number; the first begins at 0.
fn ranges<'a>(policy: &'a Policy, abi: Abi) -> Vec<(u32, Outcome<'a>)> {
    let outcomes = by_number(policy, abi);
    // A call newer than this build "does not exist", so that programs fall back to an older one; a known call that is
    // not allowed is refused. libseccomp-based engines answer EPERM to both, which broke every new glibc.
    let unknown = if policy.default.refuses() { ENOSYS } else { policy.default };
    let outcome = |number: u32| match outcomes.get(&number) {
        Some(outcome) => outcome.clone(),
        None if abi.knows(number) => Outcome::Always(policy.default),
        None => Outcome::Always(unknown),
    };
    let mut ranges: Vec<(u32, Outcome<'a>)> = Vec::new();
    let mut put = |start: u32, outcome: Outcome<'a>| {
        if ranges.last().is_none_or(|(_, last)| *last != outcome) {
            ranges.push((start, outcome));
        }
    };
    for number in 0..COMMON_END {
        put(number, outcome(number));
    }
    put(COMMON_END, Outcome::Always(unknown));
    for number in outcomes.keys().copied().filter(|n| *n >= COMMON_END) {
        put(number, outcome(number));
        put(number + 1, Outcome::Always(unknown));
    }
    if abi == Abi::X86_64 {
        // Also where the default allows: x32 would be a way around every rule.
        put(X32, Outcome::Always(ENOSYS));
    }
    ranges
}

/// Code for one ABI's calls.
fn section(policy: &Policy, abi: Abi) -> Result<Vec<Instruction>> {
    let ranges = ranges(policy, abi);
    let mut code = vec![op(LOAD, AT_NUMBER)];
    code.extend(tree(&ranges, policy.default)?);
    Ok(code)
}

/// Code that expects the number loaded and ends in a return on every way.
fn tree(ranges: &[(u32, Outcome<'_>)], default: Action) -> Result<Vec<Instruction>> {
    if let [(_, outcome)] = ranges {
        return match outcome {
            Outcome::Always(action) => Ok(vec![give(*action)]),
            Outcome::Depends(rules) => conditional(rules, default),
        };
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (left, right) = (tree(low, default)?, tree(high, default)?);
    let mut code = Vec::with_capacity(left.len() + right.len() + 2);
    match u8::try_from(left.len()) {
        Ok(over) => code.push(test(JUMP_GE, high[0].0, over, 0)),
        Err(_) => {
            code.push(test(JUMP_GE, high[0].0, 0, 1));
            code.push(op(JUMP, length(&left)?));
        }
    }
    code.extend(left);
    code.extend(right);
    Ok(code)
}

/// Code for the rules of one call.
fn conditional(rules: &[&Rule], default: Action) -> Result<Vec<Instruction>> {
    let mut code = Vec::new();
    let mut rest = rules;
    while let Some(first) = rest.first() {
        // A run of "argument n is one of these small numbers" shares its loads.
        let run = rest.iter().take_while(|r| small_equal(r).is_some_and(|c| Some(c.0) == small_equal(first).map(|c| c.0))).count();
        let same = rest.iter().take(run.min(200)).take_while(|r| r.action == first.action).count();
        if same > 1 {
            code.extend(one_of(&rest[..same], first.action));
            rest = &rest[same..];
        } else {
            code.extend(one_rule(first)?);
            rest = &rest[1..];
        }
    }
    code.push(give(default));
    Ok(code)
}

/// (index, value) of a rule with the sole condition that an argument equals a 32-bit number.
fn small_equal(rule: &Rule) -> Option<(u8, u32)> {
    match rule.conditions.as_slice() {
        [Condition { index, op: Op::Eq, value }] => Some((*index, u32::try_from(*value).ok()?)),
        _ => None,
    }
}

fn at(index: u8) -> (u32, u32) {
    // Little-endian machines: the low half comes first.
    let low = AT_ARGS + u32::from(index) * 8;
    (low, low + 4)
}

/// At most 200 values of one argument, and what happens if it is one of them.
fn one_of(rules: &[&Rule], action: Action) -> Vec<Instruction> {
    let values: Vec<(u8, u32)> = rules.iter().filter_map(|r| small_equal(r)).collect();
    let Some((index, _)) = values.first().copied() else { return Vec::new() };
    let (low, high) = at(index);
    #[allow(clippy::cast_possible_truncation)] // at most 200
    let count = values.len() as u8;
    // The upper half must be zero, else none fits: over the load, the tests, the way out and the return.
    let mut code = vec![op(LOAD, high), test(JUMP_EQ, 0, 0, count + 3), op(LOAD, low)];
    for (i, (_, value)) in (0u8..).zip(&values) {
        code.push(test(JUMP_EQ, *value, count - i, 0));
    }
    code.push(op(JUMP, 1));
    code.push(give(action));
    code
}

/// Where a test in a rule's code goes.
#[derive(Clone, Copy)]
enum To {
    /// The next instruction.
    Next,
    /// Past this condition: it holds.
    Holds,
    /// Past this rule: it does not fit.
    Fails,
}

enum Step {
    Plain(Instruction),
    Test(u16, u32, To, To),
}

/// Code that returns the rule's action if all its conditions hold and falls through otherwise.
fn one_rule(rule: &Rule) -> Result<Vec<Instruction>> {
    let steps: Vec<Vec<Step>> = rule.conditions.iter().map(condition).collect();
    let total: usize = steps.iter().map(Vec::len).sum::<usize>() + 1; // and the return
    let mut code = Vec::with_capacity(total);
    let mut begin = 0;
    for condition in &steps {
        let end = begin + condition.len();
        for step in condition {
            let here = code.len() + 1;
            let jump = |to: To| {
                let target = match to {
                    To::Next => here,
                    To::Holds => end,
                    To::Fails => total,
                };
                // Six conditions of at most six instructions: far below 255.
                u8::try_from(target - here).map_err(|_| Error::invalid("too many conditions in a seccomp rule"))
            };
            code.push(match step {
                Step::Plain(instruction) => *instruction,
                Step::Test(code, k, yes, no) => test(*code, *k, jump(*yes)?, jump(*no)?),
            });
        }
        begin = end;
    }
    code.push(give(rule.action));
    Ok(code)
}

/// A 64-bit comparison with 32-bit tests, upper half first.
fn condition(c: &Condition) -> Vec<Step> {
    use Step::{Plain, Test};
    use To::{Fails, Holds, Next};
    let (low, high) = at(c.index);
    #[allow(clippy::cast_possible_truncation)] // halves on purpose
    let (value_low, value_high) = (c.value as u32, (c.value >> 32) as u32);
    let load = |at| Plain(op(LOAD, at));
    match c.op {
        Op::Eq => {
            vec![load(high), Test(JUMP_EQ, value_high, Next, Fails), load(low), Test(JUMP_EQ, value_low, Next, Fails)]
        }
        Op::Ne => {
            vec![load(high), Test(JUMP_EQ, value_high, Next, Holds), load(low), Test(JUMP_EQ, value_low, Fails, Next)]
        }
        Op::Lt | Op::Le => vec![
            load(high),
            Test(JUMP_GE, value_high, Next, Holds),
            Test(JUMP_GT, value_high, Fails, Next),
            load(low),
            Test(if c.op == Op::Lt { JUMP_GE } else { JUMP_GT }, value_low, Fails, Next),
        ],
        Op::Ge | Op::Gt => vec![
            load(high),
            Test(JUMP_GE, value_high, Next, Fails),
            Test(JUMP_GT, value_high, Holds, Next),
            load(low),
            Test(if c.op == Op::Ge { JUMP_GE } else { JUMP_GT }, value_low, Next, Fails),
        ],
        Op::MaskedEq { mask } => {
            #[allow(clippy::cast_possible_truncation)]
            let (mask_low, mask_high) = (mask as u32, (mask >> 32) as u32);
            let mut steps = Vec::new();
            for (at, mask, value) in [(high, mask_high, value_high), (low, mask_low, value_low)] {
                if (mask, value) != (0, 0) {
                    steps.extend([load(at), Plain(op(AND, mask)), Test(JUMP_EQ, value, Next, Fails)]);
                }
            }
            steps
        }
    }
}
