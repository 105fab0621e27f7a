//! Profiles: Docker's and the OCI's JSON, and what is left of one for a certain container: rules by name.

use super::table;
use crate::caps::{Cap, CapSet};
use crate::{Error, Result};
use serde::Deserialize;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is made.
    Allow,
    /// It fails with this errno.
    Errno(u16),
    /// The process dies by SIGSYS.
    KillProcess,
    /// The thread dies.
    KillThread,
    /// SIGSYS is sent.
    Trap,
    /// A tracer decides; without one, ENOSYS.
    Trace(u16),
    /// It is made and logged.
    Log,
}

impl Action {
    /// The filter's return value (seccomp(2)).
    pub(super) fn value(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Errno(e) => 0x0005_0000 | u32::from(e),
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Self::Log => 0x7ffc_0000,
        }
    }

    /// Whether it keeps a call from happening.
    pub(super) fn refuses(self) -> bool {
        !matches!(self, Self::Allow | Self::Log | Self::Trace(_))
    }
}

/// How an argument is compared, as unsigned 64-bit numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// ≠
    Ne,
    /// <
    Lt,
    /// ≤
    Le,
    /// =
    Eq,
    /// ≥
    Ge,
    /// >
    Gt,
    /// `argument & mask =`
    MaskedEq {
        /// The mask.
        mask: u64,
    },
}

/// One condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How.
    pub op: Op,
    /// With what.
    pub value: u64,
}

impl Condition {
    /// Whether arguments meet it.
    #[cfg(test)]
    pub(super) fn holds(&self, args: &[u64; 6]) -> bool {
        let a = args[usize::from(self.index)];
        match self.op {
            Op::Ne => a != self.value,
            Op::Lt => a < self.value,
            Op::Le => a <= self.value,
            Op::Eq => a == self.value,
            Op::Ge => a >= self.value,
            Op::Gt => a > self.value,
            Op::MaskedEq { mask } => a & mask == self.value,
        }
    }
}

/// A call by name, conditions that must all hold, and what then happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The call.
    pub name: String,
    /// All must hold; none: always.
    pub conditions: Vec<Condition>,
    /// Then this.
    pub action: Action,
}

/// What a container's filter says. For one call an unconditional rule outweighs conditional ones and the first of
/// several decides, as in libseccomp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// For calls that no rule fits.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
    /// Whether the 32-bit ABI may be used as far as the profile goes.
    pub abi32: bool,
}

impl Policy {
    /// Docker's default for a container with these capabilities.
    pub fn docker(caps: CapSet, arch: &str) -> Self {
        let mut rules = Vec::new();
        let mut allow = |names: &str| {
            rules.extend(names.split_whitespace().map(|n| Rule { name: n.to_owned(), conditions: Vec::new(), action: Action::Allow }));
        };
        table::ALLOWED.iter().for_each(|names| allow(names));
        for (arches, names) in table::BY_ARCH {
            if arches.contains(&arch) {
                allow(names);
            }
        }
        for (cap, names) in table::BY_CAP {
            if Cap::named(cap).is_ok_and(|c| caps.contains(c)) {
                allow(names);
            }
        }
        let mut when = |name: &str, condition: Condition| {
            rules.push(Rule { name: name.to_owned(), conditions: vec![condition], action: Action::Allow });
        };
        let key = caps.contains(Cap::NET_ADMIN).then_some(table::SOCKET_KEY);
        for family in table::SOCKET_FAMILIES.iter().copied().chain(key) {
            when("socket", Condition { index: 0, op: Op::Eq, value: family });
        }
        for personality in table::PERSONALITIES {
            when("personality", Condition { index: 0, op: Op::Eq, value: *personality });
        }
        if !caps.contains(Cap::SYS_ADMIN) {
            when("clone", Condition { index: 0, op: Op::MaskedEq { mask: table::CLONE_NAMESPACES }, value: 0 });
            rules.push(Rule { name: "clone3".to_owned(), conditions: Vec::new(), action: Action::Errno(ENOSYS) });
        }
        Self { default: Action::Errno(EPERM), rules, abi32: true }
    }

    /// What a user's profile says for a container with these capabilities, on this architecture (Go's name) and kernel.
    ///
    /// # Errors
    /// `Invalid` when it is no profile, or asks for what no filter can do; `Unsupported` for notification.
    pub fn parse(json: &str, caps: CapSet, arch: &str, kernel: (u32, u32)) -> Result<Self> {
        let document: Document = serde_json::from_str(json).map_err(|e| Error::invalid(format!("decoding seccomp profile failed: {e}")))?;
        document.resolve(caps, arch, kernel)
    }
}

/// The JSON. Unknown fields are refused: a misspelt `args` would otherwise make a rule unconditional.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
    #[serde(default, rename = "comment")]
    _comment: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<Arg>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
    #[serde(default, rename = "comment")]
    _comment: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arg {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Document {
    fn resolve(self, caps: CapSet, arch: &str, kernel: (u32, u32)) -> Result<Policy> {
        if self.architectures.as_ref().is_some_and(|a| !a.is_empty()) && self.arch_map.as_ref().is_some_and(|a| !a.is_empty()) {
            return Err(Error::invalid(
                "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
            ));
        }
        if self.listener_path.is_some() || self.listener_metadata.is_some() {
            return Err(Error::unsupported("a seccomp listener (listenerPath)"));
        }
        for flag in self.flags.unwrap_or_default() {
            // A container's init has one thread when the filter is loaded: TSYNC is fulfilled by itself.
            if flag != "SECCOMP_FILTER_FLAG_TSYNC" {
                return Err(Error::unsupported(&format!("the seccomp flag {flag}")));
            }
        }
        let default = action(&self.default_action, self.default_errno_ret)?;
        let (native, narrow) = match arch {
            "arm64" => ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
            _ => ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
        };
        let abi32 = self.architectures.iter().flatten().any(|a| a == narrow)
            || self
                .arch_map
                .iter()
                .flatten()
                .any(|m| m.architecture == native && m.sub_architectures.iter().flatten().any(|s| s == narrow));
        let mut rules = Vec::new();
        for entry in self.syscalls.unwrap_or_default() {
            entry.resolve(caps, arch, kernel, default, &mut rules)?;
        }
        Ok(Policy { default, rules, abi32 })
    }
}

impl Entry {
    fn resolve(self, caps: CapSet, arch: &str, kernel: (u32, u32), default: Action, rules: &mut Vec<Rule>) -> Result<()> {
        let names = match (self.name.filter(|n| !n.is_empty()), self.names.filter(|n| !n.is_empty())) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"));
            }
            (Some(name), None) => vec![name],
            (None, names) => names.unwrap_or_default(),
        };
        if self.errno.is_some() {
            return Err(Error::unsupported("'errno' by name in a seccomp profile (use the number, 'errnoRet')"));
        }
        let action = action(&self.action, self.errno_ret)?;
        let conditions = self.args.unwrap_or_default().into_iter().map(condition).collect::<Result<Vec<_>>>()?;
        let includes = self.includes.unwrap_or_default();
        let excludes = self.excludes.unwrap_or_default();
        // A capability nobody knows is one nobody has.
        let has = |name: &String| Cap::named(name).is_ok_and(|c| caps.contains(c));
        let newer = |text: &Option<String>| text.as_deref().map(version).transpose().map(|v| v.map(|v| kernel >= v));
        if excludes.arches.iter().flatten().any(|a| a == arch)
            || excludes.caps.iter().flatten().any(has)
            || newer(&excludes.min_kernel)? == Some(true)
            || includes.arches.as_ref().is_some_and(|a| !a.is_empty() && !a.iter().any(|a| a == arch))
            || !includes.caps.iter().flatten().all(has)
            || newer(&includes.min_kernel)? == Some(false)
        {
            return Ok(());
        }
        if action == default {
            return Ok(()); // says nothing; libseccomp and runc leave such rules out too
        }
        // Two conditions on one argument are alternatives, not a range: runc's reading, so everybody's.
        let mut seen = [false; 6];
        let twice = conditions.iter().any(|c| std::mem::replace(&mut seen[usize::from(c.index)], true));
        let alternatives: Vec<Vec<Condition>> = if twice { conditions.into_iter().map(|c| vec![c]).collect() } else { vec![conditions] };
        for name in names {
            for conditions in &alternatives {
                rules.push(Rule { name: name.clone(), conditions: conditions.clone(), action });
            }
        }
        Ok(())
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<Action> {
    let errno = match errno.unwrap_or(u32::from(EPERM)) {
        n @ 0..=4095 => n as u16, // the kernel cuts larger ones off at MAX_ERRNO
        n => return Err(Error::invalid(format!("invalid errnoRet {n} in the seccomp profile: the largest is 4095"))),
    };
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_TRACE" => Action::Trace(errno),
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_NOTIFY" => return Err(Error::unsupported("the seccomp action SCMP_ACT_NOTIFY")),
        other => return Err(Error::invalid(format!("invalid seccomp action {other:?}"))),
    })
}

fn condition(arg: Arg) -> Result<Condition> {
    let index = u8::try_from(arg.index)
        .ok()
        .filter(|i| *i < 6)
        .ok_or_else(|| Error::invalid(format!("invalid seccomp argument index {}: calls have six, from 0", arg.index)))?;
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_NE" => (Op::Ne, arg.value),
        "SCMP_CMP_LT" => (Op::Lt, arg.value),
        "SCMP_CMP_LE" => (Op::Le, arg.value),
        "SCMP_CMP_EQ" => (Op::Eq, arg.value),
        "SCMP_CMP_GE" => (Op::Ge, arg.value),
        "SCMP_CMP_GT" => (Op::Gt, arg.value),
        "SCMP_CMP_MASKED_EQ" => (Op::MaskedEq { mask: arg.value }, arg.value_two),
        other => return Err(Error::invalid(format!("invalid seccomp operator {other:?}"))),
    };
    Ok(Condition { index, op, value })
}

/// `4.8` as numbers.
fn version(text: &str) -> Result<(u32, u32)> {
    let parsed = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.ok_or_else(|| Error::invalid(format!("invalid kernel version {text:?} in the seccomp profile: expected one like 4.8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Policy> {
        Policy::parse(json, CapSet::DOCKER, "amd64", (6, 1))
    }

    #[test]
    fn conditions_on_container_and_host_are_resolved() {
        let policy = parse(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
            "syscalls":[
              {"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_CHOWN","CAP_KILL"]}},
              {"names":["b"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_CHOWN","CAP_SYS_ADMIN"]}},
              {"names":["c"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_CHOWN"]}},
              {"names":["d"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]},"comment":"x"},
              {"names":["e"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}},
              {"names":["f"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}},
              {"names":["g"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.1"}},
              {"names":["h"],"action":"SCMP_ACT_ERRNO","errnoRet":1},
              {"name":"i","action":"SCMP_ACT_ERRNO","errnoRet":38,"args":null}
            ]}"#,
        )
        .unwrap();
        let names: Vec<_> = policy.rules.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["a", "d", "g", "i"]);
        assert!(policy.abi32);
        assert_eq!(policy.rules[3].action, Action::Errno(38));
    }

    #[test]
    fn two_conditions_on_one_argument_are_alternatives() {
        let one = |args: &str| {
            parse(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{args}]}}]}}"#
            ))
            .unwrap()
            .rules
            .len()
        };
        let arg = |index, value| format!(r#"{{"index":{index},"value":{value},"op":"SCMP_CMP_EQ"}}"#);
        assert_eq!(one(&[arg(0, 1), arg(0, 2)].join(",")), 2);
        assert_eq!(one(&[arg(0, 1), arg(1, 2)].join(",")), 1);
    }

    #[test]
    fn nonsense_is_named() {
        let rows = [
            ("{", "decoding seccomp profile failed: "),
            ("{}", "decoding seccomp profile failed: missing field `defaultAction`"),
            (r#"{"defaultAction":"X"}"#, "invalid seccomp action \"X\""),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","syscall":[]}"#, "decoding seccomp profile failed: unknown field `syscall`"),
            (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "the seccomp action SCMP_ACT_NOTIFY is not supported yet"),
            (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#, "invalid errnoRet 5000"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
                "invalid seccomp argument index 6",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":0,"op":"EQ"}]}]}"#,
                "invalid seccomp operator \"EQ\"",
            ),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["a"],"archMap":[{"architecture":"b"}]}"#, "both 'architectures'"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"x","names":["y"],"action":"SCMP_ACT_ERRNO"}]}"#,
                "both 'name' and 'names'",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["y"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"x"}}]}"#,
                "invalid kernel version \"x\"",
            ),
        ];
        for (json, text) in rows {
            let error = parse(json).unwrap_err().to_string();
            assert!(error.starts_with(text), "{json}: {error}");
        }
    }
}
