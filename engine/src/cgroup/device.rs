//! Which device nodes a group's processes may open or make.
//!
//! v1 has the devices controller's files, v2 a BPF program that the kernel asks at each open and mknod
//! (`BPF_PROG_TYPE_CGROUP_DEVICE`); both start from "nothing". The program is assembled here, instruction by instruction.

use crate::{Doing, Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What may be done with a node, as bits of the BPF context (`BPF_DEVCG_ACC_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access(u8);

impl Access {
    const MKNOD: u8 = 1;
    const READ: u8 = 2;
    const WRITE: u8 = 4;
    /// Everything.
    pub const ALL: Self = Self(7);
    /// Making the node only.
    pub const MAKE: Self = Self(Self::MKNOD);

    /// From one to three of `r`, `w`, `m`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bits = 0;
        for c in text.chars() {
            bits |= match c {
                'r' => Self::READ,
                'w' => Self::WRITE,
                'm' => Self::MKNOD,
                _ => return None,
            };
        }
        (1..=3).contains(&text.len()).then_some(Self(bits))
    }

    /// As device rules are written: `rwm` or fewer.
    pub fn text(self) -> String {
        [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MKNOD, 'm')]
            .into_iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, c)| c)
            .collect()
    }
}

/// Character or block devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Both.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// One rule; of several that fit, the last decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind.
    pub kind: DeviceKind,
    /// `None`: any.
    pub major: Option<u32>,
    /// `None`: any.
    pub minor: Option<u32>,
    /// For what.
    pub access: Access,
}

impl DeviceRule {
    /// Allows `access` to one character device.
    pub fn char(major: u32, minor: u32, access: Access) -> Self {
        Self { allow: true, kind: DeviceKind::Char, major: Some(major), minor: Some(minor), access }
    }

    /// Allows everything (`--privileged`).
    pub fn everything() -> Self {
        Self { allow: true, kind: DeviceKind::All, major: None, minor: None, access: Access::ALL }
    }

    /// `--device-cgroup-rule`: `c 42:* rmw`.
    ///
    /// # Errors
    /// `Invalid` with Docker's text.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
        let mut words = text.split(' ');
        let (Some(kind), Some(numbers), Some(access), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(invalid());
        };
        let kind = match kind {
            "a" => DeviceKind::All,
            "c" => DeviceKind::Char,
            "b" => DeviceKind::Block,
            _ => return Err(invalid()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
        let number = |s: &str| match s {
            "*" => Ok(None),
            _ if s.bytes().all(|b| b.is_ascii_digit()) => s.parse::<u32>().map(Some).map_err(|_| invalid()),
            _ => Err(invalid()),
        };
        let access = Access::parse(access).ok_or_else(invalid)?;
        Ok(Self { allow: true, kind, major: number(major)?, minor: number(minor)?, access })
    }

    /// What every container has: null, zero, full, random, urandom, tty, console, ptmx and its ptys for use; any node
    /// may be *made* (in a user namespace the kernel refuses that anyway), as with Docker.
    pub fn defaults() -> Vec<Self> {
        let any = |kind| Self { allow: true, kind, major: None, minor: None, access: Access::MAKE };
        let mut rules = vec![any(DeviceKind::Char), any(DeviceKind::Block)];
        rules.extend([(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)].map(|(a, b)| Self::char(a, b, Access::ALL)));
        rules.push(Self { allow: true, kind: DeviceKind::Char, major: Some(136), minor: None, access: Access::ALL });
        rules
    }

    fn same_devices(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether every device of `other` is one of ours.
    fn covers(&self, other: &Self) -> bool {
        (self.kind == DeviceKind::All || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }
}

/// Rules about the very same devices put together, so that `r` and `w` in two rules allow an open for both at once.
fn merged(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut list: Vec<DeviceRule> = Vec::new();
    for rule in rules {
        // Only onto the last rule about these devices, and only if no later rule overlaps: order decides otherwise.
        let earlier = list.iter().rposition(|r| r.same_devices(rule));
        match earlier {
            Some(i) if list[i].allow == rule.allow && !list[i + 1..].iter().any(|r| !r.allow) => {
                list[i].access = Access(list[i].access.0 | rule.access.0);
            }
            _ => list.push(*rule),
        }
    }
    list
}

/// Lines for devices.allow and devices.deny that leave exactly what the rules say.
///
/// A v1 group is either "all but" or "none but": a deny narrower than an earlier allow of less than everything cannot
/// be said. Such a deny is answered by leaving out the wider allow, which is stricter than asked, never weaker.
pub(super) fn v1_lines(rules: &[DeviceRule]) -> Vec<(&'static str, String)> {
    let line = |r: &DeviceRule| {
        let kind = match r.kind {
            DeviceKind::All => 'a',
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        format!("{kind} {}:{} {}", number(r.major), number(r.minor), r.access.text())
    };
    let mut lines = vec![("devices.deny", "a *:* rwm".to_owned())];
    let rules = merged(rules);
    // From the last allow of everything on, the group is "all but".
    let everything = rules
        .iter()
        .rposition(|r| r.allow && r.kind == DeviceKind::All && r.major.is_none() && r.minor.is_none() && r.access == Access::ALL);
    if let Some(i) = everything {
        lines.push(("devices.allow", "a *:* rwm".to_owned()));
        lines.extend(rules[i + 1..].iter().filter(|r| !r.allow).map(|r| ("devices.deny", line(r))));
        return lines;
    }
    for (i, rule) in rules.iter().enumerate().filter(|(_, r)| r.allow) {
        let denied_later = rules[i + 1..].iter().any(|r| !r.allow && r.access.0 & rule.access.0 != 0 && (rule.covers(r) || r.covers(rule)));
        if denied_later {
            continue;
        }
        // The kernel takes `a` only for everything: both kinds are two lines.
        let kinds = if rule.kind == DeviceKind::All { vec![DeviceKind::Char, DeviceKind::Block] } else { vec![rule.kind] };
        lines.extend(kinds.into_iter().map(|kind| ("devices.allow", line(&DeviceRule { kind, ..*rule }))));
    }
    lines
}

/// Puts the program for `rules` on a v2 group in place of what was there.
pub(super) fn attach(dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    use crate::sys::bpf;
    use rustix::fs::{Mode, OFlags, open};
    let group = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| format!("opening cgroup {}", dir.display()))?;
    let program = bpf::load_device_filter(&program(rules)).doing(|| "loading the device filter".into())?;
    let before = bpf::attached_device_filters(&group).doing(|| "asking for the device filter".into())?;
    // The new one first: while both are there, both must allow.
    bpf::attach_device_filter(&group, &program).doing(|| format!("attaching the device filter to {}", dir.display()))?;
    for id in before {
        bpf::detach_device_filter(&group, id).doing(|| "detaching the former device filter".into())?;
    }
    Ok(())
}

// eBPF instructions (Documentation/bpf/standardization/instruction-set.rst): opcode, registers, offset, immediate.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbc;
const MOVE_IMM: u8 = 0xb4;
const AND_IMM: u8 = 0x54;
const SHIFT_RIGHT_IMM: u8 = 0x74;
const JUMP_NE_IMM: u8 = 0x55;
const JUMP_NE: u8 = 0x5d;
const JUMP_EQ_IMM: u8 = 0x15;
const EXIT: u8 = 0x95;

/// One eBPF instruction in the kernel's layout, little end first (`struct bpf_insn`).
fn insn(code: u8, dst: u8, src: u8, off: i16, imm: u32) -> u64 {
    let [o0, o1] = off.to_ne_bytes();
    let [i0, i1, i2, i3] = imm.to_ne_bytes();
    // Register fields are bit fields: the target is in the low half on little-endian machines, the only ones we build for.
    u64::from_ne_bytes([code, dst | src << 4, o0, o1, i0, i1, i2, i3])
}

/// The device filter: r2 kind, r3 access asked, r4 major, r5 minor; the last rule that fits decides, none: no.
fn program(rules: &[DeviceRule]) -> Vec<u64> {
    let mut code = vec![
        insn(LOAD_WORD, 2, 1, 0, 0), // struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor
        insn(MOVE, 3, 2, 0, 0),
        insn(AND_IMM, 2, 0, 0, 0xffff),
        insn(SHIFT_RIGHT_IMM, 3, 0, 0, 16),
        insn(LOAD_WORD, 4, 1, 4, 0),
        insn(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in merged(rules).iter().rev() {
        // Each test jumps to the next rule; how far is known when the rule is complete.
        let mut tests: Vec<(u8, u8, u8, u32)> = Vec::new();
        let mut before = Vec::new();
        match rule.kind {
            DeviceKind::All => {}
            DeviceKind::Block => tests.push((JUMP_NE_IMM, 2, 0, 1)),
            DeviceKind::Char => tests.push((JUMP_NE_IMM, 2, 0, 2)),
        }
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            if let Some(number) = number {
                tests.push((JUMP_NE_IMM, register, 0, number));
            }
        }
        if rule.access != Access::ALL {
            before.push(insn(MOVE, 1, 3, 0, 0));
            before.push(insn(AND_IMM, 1, 0, 0, u32::from(rule.access.0)));
            // An allow must cover all that is asked; a deny bites when it covers any of it.
            tests.push(if rule.allow { (JUMP_NE, 1, 3, 0) } else { (JUMP_EQ_IMM, 1, 0, 0) });
        }
        code.append(&mut before);
        let count = tests.len();
        for (i, (op, dst, src, imm)) in tests.into_iter().enumerate() {
            let skip = i16::try_from(count - i - 1 + 2).unwrap_or(i16::MAX); // the tests left, then the two below
            code.push(insn(op, dst, src, skip, imm));
        }
        code.push(insn(MOVE_IMM, 0, 0, 0, u32::from(rule.allow)));
        code.push(insn(EXIT, 0, 0, 0, 0));
        if count == 0 {
            return code; // it always fits, and the verifier refuses instructions that cannot be reached
        }
    }
    code.push(insn(MOVE_IMM, 0, 0, 0, 0));
    code.push(insn(EXIT, 0, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a program for one question.
    fn run(code: &[u64], kind: u32, access: u8, major: u32, minor: u32) -> bool {
        let context = [u32::from(access) << 16 | kind, major, minor];
        let mut r = [0u64; 11];
        let mut pc = 0usize;
        loop {
            let [op, regs, o0, o1, i0, i1, i2, i3] = code[pc].to_ne_bytes();
            let (dst, src) = (usize::from(regs & 15), usize::from(regs >> 4));
            let off = i16::from_ne_bytes([o0, o1]);
            let imm = u64::from(u32::from_ne_bytes([i0, i1, i2, i3]));
            let jump = match op {
                LOAD_WORD => {
                    r[dst] = u64::from(context[off as usize / 4]);
                    false
                }
                MOVE => {
                    r[dst] = r[src];
                    false
                }
                MOVE_IMM => {
                    r[dst] = imm;
                    false
                }
                AND_IMM => {
                    r[dst] &= imm;
                    false
                }
                SHIFT_RIGHT_IMM => {
                    r[dst] >>= imm;
                    false
                }
                JUMP_NE_IMM => r[dst] != imm,
                JUMP_EQ_IMM => r[dst] == imm,
                JUMP_NE => r[dst] != r[src],
                EXIT => return r[0] == 1,
                other => panic!("opcode {other:#x}"),
            };
            pc += 1;
            if jump {
                pc += usize::try_from(off).unwrap();
            }
        }
    }

    fn naive(rules: &[DeviceRule], kind: DeviceKind, access: u8, major: u32, minor: u32) -> bool {
        let one = DeviceRule { allow: true, kind, major: Some(major), minor: Some(minor), access: Access(access) };
        for rule in merged(rules).iter().rev().filter(|r| r.covers(&one)) {
            if rule.allow && rule.access.0 & access == access {
                return true;
            }
            if !rule.allow && rule.access.0 & access != 0 {
                return false;
            }
        }
        false
    }

    prop_compose! {
        fn rule()(allow in prop::bool::weighted(0.7), kind in 0..3, major in prop::option::of(0u32..4), minor in prop::option::of(0u32..4), access in 1u8..8) -> DeviceRule {
            let kind = [DeviceKind::All, DeviceKind::Char, DeviceKind::Block][kind as usize];
            DeviceRule { allow, kind, major, minor, access: Access(access) }
        }
    }

    proptest! {
        #[test]
        fn the_program_says_what_the_rules_say(rules in prop::collection::vec(rule(), 0..8)) {
            let code = program(&rules);
            for (kind, number) in [(DeviceKind::Block, 1), (DeviceKind::Char, 2)] {
                for access in 1..8 {
                    for major in 0..5 {
                        for minor in 0..5 {
                            prop_assert_eq!(run(&code, number, access, major, minor), naive(&rules, kind, access, major, minor));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn defaults_allow_null_and_no_disk() {
        let code = program(&DeviceRule::defaults());
        let (block, char) = (1, 2);
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, 77)] {
            assert!(run(&code, char, Access::READ | Access::WRITE, major, minor), "{major}:{minor}");
        }
        // sec_f7: sda, kmsg, mem, fuse, tun.
        for (kind, major, minor) in [(block, 8, 0), (char, 1, 11), (char, 1, 1), (char, 10, 229), (char, 10, 200)] {
            assert!(!run(&code, kind, Access::READ, major, minor), "{major}:{minor}");
            assert!(run(&code, kind, Access::MKNOD, major, minor));
        }
    }

    #[test]
    fn the_kernel_takes_the_programs() {
        let deny = DeviceRule { allow: false, ..DeviceRule::parse("c 10:229 rw").unwrap() };
        let mut many = DeviceRule::defaults();
        many.extend([DeviceRule::everything(), deny]);
        for rules in [vec![], DeviceRule::defaults(), vec![DeviceRule::everything()], many] {
            if let Err(e) = crate::sys::bpf::load_device_filter(&program(&rules)) {
                if e.raw_os_error() == Some(libc::EPERM) || e.raw_os_error() == Some(libc::ENOSYS) {
                    println!("SKIPPED: bpf(2) cannot be used here: {e}");
                    return;
                }
                panic!("{rules:?}: {e}");
            }
        }
    }

    #[test]
    fn r_and_w_in_two_rules_allow_both_at_once() {
        let rules: Vec<_> = ["c 1:1 r", "c 1:1 w"].iter().map(|t| DeviceRule::parse(t).unwrap()).collect();
        assert!(run(&program(&rules), 2, Access::READ | Access::WRITE, 1, 1));
    }

    #[test]
    fn rules_as_docker_writes_them() {
        assert_eq!(
            DeviceRule::parse("c 42:* rmw").unwrap(),
            DeviceRule { allow: true, kind: DeviceKind::Char, major: Some(42), minor: None, access: Access::ALL }
        );
        for bad in ["", "c 1:1", "x 1:1 r", "c 1 r", "c 1:1 rwmr", "c 1:1 x", "c -1:1 r", "c 1:1 r ", "c :1 r"] {
            let text = DeviceRule::parse(bad).unwrap_err().to_string();
            assert_eq!(text, format!("invalid device cgroup rule format: '{bad}'"));
        }
    }

    #[test]
    fn v1_files() {
        let lines = |rules: &[DeviceRule]| v1_lines(rules).into_iter().map(|(f, l)| format!("{f} {l}")).collect::<Vec<_>>();
        let deny = |text: &str| DeviceRule { allow: false, ..DeviceRule::parse(text).unwrap() };
        assert_eq!(
            lines(&[DeviceRule::parse("a 1:3 rw").unwrap()]),
            ["devices.deny a *:* rwm", "devices.allow c 1:3 rw", "devices.allow b 1:3 rw"]
        );
        assert_eq!(
            lines(&[DeviceRule::char(1, 1, Access::ALL), DeviceRule::everything(), deny("c 10:229 rwm")]),
            ["devices.deny a *:* rwm", "devices.allow a *:* rwm", "devices.deny c 10:229 rwm"]
        );
        assert_eq!(
            lines(&[DeviceRule::parse("c 10:* rwm").unwrap(), deny("c 10:229 rwm"), DeviceRule::char(1, 3, Access::ALL)]),
            ["devices.deny a *:* rwm", "devices.allow c 1:3 rwm"],
            "stricter, never weaker"
        );
    }
}
