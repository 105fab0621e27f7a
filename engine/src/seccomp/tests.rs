//! The compiler against a plain reading of the rules, the default profile against what it must say, and both against
//! the kernel.

use super::compile::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, LOAD, RETURN, compile};
use super::*;
use crate::caps::Cap;
use proptest::prelude::*;

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);

/// Runs a program as the kernel would.
fn run(code: &[Instruction], abi: Abi, number: u32, args: [u64; 6]) -> u32 {
    let mut data = vec![number, abi.audit(), 0, 0];
    for a in args {
        data.extend([a as u32, (a >> 32) as u32]);
    }
    let (mut a, mut pc) = (0u32, 0usize);
    loop {
        let i = code[pc];
        pc += 1;
        let mut jump = |yes: bool| pc += usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            LOAD => a = data[i.k as usize / 4],
            AND => a &= i.k,
            JUMP => pc += i.k as usize,
            JUMP_EQ => jump(a == i.k),
            JUMP_GT => jump(a > i.k),
            JUMP_GE => jump(a >= i.k),
            RETURN => return i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What the rules say, read one by one.
fn naive(policy: &Policy, abi: Abi, number: u32, args: [u64; 6]) -> Action {
    let rules: Vec<_> = policy.rules.iter().filter(|r| abi.number(&r.name) == Some(number)).collect();
    if abi == Abi::X86_64 && number >= 0x4000_0000 {
        return ENOSYS;
    }
    if let Some(always) = rules.iter().find(|r| r.conditions.is_empty()) {
        return always.action;
    }
    if let Some(fits) = rules.iter().find(|r| r.conditions.iter().all(|c| c.holds(&args))) {
        return fits.action;
    }
    if !abi.knows(number) && policy.default.refuses() { ENOSYS } else { policy.default }
}

fn default(caps: CapSet) -> impl Fn(&str, [u64; 6]) -> Action {
    let policy = Policy::docker(caps, Abi::NATIVE.go_name());
    let code = compile(&policy, Abi::NATIVE, false).unwrap();
    move |name, args| {
        let number = Abi::NATIVE.number(name).unwrap_or_else(|| panic!("{name} has no number"));
        let value = run(&code, Abi::NATIVE, number, args);
        let action = naive(&policy, Abi::NATIVE, number, args);
        assert_eq!(value, action.value(), "{name}");
        action
    }
}

fn first(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

#[test]
fn the_default_profile_says_what_dockers_says() {
    let f = default(CapSet::DOCKER);
    for name in ["read", "openat", "execve", "futex", "ptrace", "seccomp", "chroot", "rseq", "landlock_add_rule"] {
        assert_eq!(f(name, [0; 6]), Action::Allow, "{name}");
    }
    // sec_f9 (CVE-2022-0185 and its kind).
    let refused = "unshare mount umount2 fsopen fsconfig move_mount open_tree setns bpf perf_event_open io_uring_setup \
                   io_uring_enter io_uring_register keyctl add_key request_key userfaultfd kexec_load kexec_file_load \
                   open_by_handle_at init_module finit_module delete_module reboot swapon swapoff acct quotactl syslog \
                   settimeofday clock_settime kcmp pidfd_getfd process_madvise move_pages mbind vhangup pivot_root \
                   lookup_dcookie open_tree_attr personality";
    for name in refused.split_whitespace() {
        assert_eq!(f(name, first(0x4242)), EPERM, "{name}");
    }
    assert_eq!(f("clone3", [0; 6]), ENOSYS);
}

#[test]
fn sec_f8_sockets_of_dangerous_families_are_refused() {
    let f = default(CapSet::DOCKER);
    for family in 0..=11 {
        assert_eq!(f("socket", first(family)), Action::Allow, "{family}");
    }
    let (key, rxrpc, alg, vsock) = (15, 33, 38, 40);
    for family in [12, key, 19, 20, 23, 25, rxrpc, 34, 37, alg, vsock, 46, 1000, 1 << 32, (1 << 32) | 2] {
        assert_eq!(f("socket", first(family)), EPERM, "{family}");
    }
    let admin = default(CapSet::ALL);
    assert_eq!(admin("socket", first(key)), Action::Allow);
    for family in [rxrpc, alg, vsock] {
        assert_eq!(admin("socket", first(family)), EPERM, "{family}");
    }
}

#[test]
fn namespaces_by_clone_need_sys_admin() {
    let plain = default(CapSet::DOCKER);
    let admin = default(CapSet::DOCKER.with(Cap::SYS_ADMIN));
    let newuser = 0x1000_0000u64;
    for flags in [newuser, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x2000_0000, 0x4000_0000, newuser | 0x11] {
        assert_eq!(plain("clone", first(flags)), EPERM, "{flags:#x}");
        assert_eq!(admin("clone", first(flags)), Action::Allow);
    }
    assert_eq!(plain("clone", first(0x3d_0f00)), Action::Allow, "a thread");
    assert_eq!(plain("clone", first(17)), Action::Allow, "a fork");
    assert_eq!(admin("clone3", [0; 6]), Action::Allow);
}

#[test]
fn personalities() {
    let f = default(CapSet::DOCKER);
    for p in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(f("personality", first(p)), Action::Allow);
    }
    for p in [0x4_0000, 1, 0xffff_ffff_ffff_ffff] {
        assert_eq!(f("personality", first(p)), EPERM, "{p:#x} (ADDR_NO_RANDOMIZE and others)");
    }
}

#[test]
fn each_capability_opens_its_calls() {
    for (cap, names) in table::BY_CAP {
        let cap = Cap::named(cap).unwrap();
        let (with, without) = (default(CapSet::EMPTY.with(cap)), default(CapSet::EMPTY));
        for name in names.split_whitespace().filter(|n| Abi::NATIVE.number(n).is_some()) {
            assert_eq!(with(name, first(0x1000_0000)), Action::Allow, "{cap} {name}");
            if !["ptrace", "process_vm_readv", "process_vm_writev"].contains(&name) {
                assert_ne!(without(name, first(0x1000_0000)), Action::Allow, "{name}");
            }
        }
        assert!(table::relevant().contains(cap), "the cache must tell {cap} apart");
    }
}

#[test]
fn unknown_calls_do_not_exist_and_other_abis_neither() {
    let code = compile(&Policy::docker(CapSet::ALL, "amd64"), Abi::X86_64, false).unwrap();
    for number in [700, 100_000, 0x4000_0000, 0x4000_0001, u32::MAX] {
        assert_eq!(run(&code, Abi::X86_64, number, [0; 6]), ENOSYS.value(), "{number}");
    }
    for number in 0..500 {
        assert_eq!(run(&code, Abi::I386, number, [0; 6]), ENOSYS.value());
        assert_eq!(run(&code, Abi::Aarch64, number, [0; 6]), ENOSYS.value());
    }
}

#[test]
fn an_open_profile_is_no_way_around_by_x32() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#;
    let policy = Policy::parse(json, CapSet::ALL, "amd64", (6, 1)).unwrap();
    let code = compile(&policy, Abi::X86_64, false).unwrap();
    let mount = Abi::X86_64.number("mount").unwrap();
    assert_eq!(run(&code, Abi::X86_64, mount, [0; 6]), Action::KillProcess.value());
    assert_eq!(run(&code, Abi::X86_64, mount | 0x4000_0000, [0; 6]), ENOSYS.value());
    assert_eq!(run(&code, Abi::X86_64, 999, [0; 6]), Action::Allow.value());
}

#[test]
fn every_name_is_a_call_somewhere() {
    let names = table::ALLOWED.iter().chain(table::BY_ARCH.iter().map(|(_, n)| n)).chain(table::BY_CAP.iter().map(|(_, n)| n));
    // Of architectures without a table here, or under another name in the tables.
    let elsewhere = ["riscv_hwprobe", "fstatat64", "utimensat_time64", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"];
    for name in names.flat_map(|n| n.split_whitespace()) {
        let known = [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm].iter().any(|a| a.number(name).is_some());
        assert!(known || elsewhere.contains(&name), "{name} is misspelt");
    }
}

#[test]
fn both_widths_on_both_machines() {
    for (wide, narrow) in [(Abi::X86_64, Abi::I386), (Abi::Aarch64, Abi::Arm)] {
        let policy = Policy::docker(CapSet::DOCKER, wide.go_name());
        let code = compile(&policy, wide, true).unwrap();
        assert!(code.len() < 1000, "{}", code.len());
        for abi in [wide, narrow] {
            for number in 0..1100 {
                for value in [0, 2, 8, 17, 38, 0x1000_0000] {
                    let args = first(value);
                    assert_eq!(run(&code, abi, number, args), naive(&policy, abi, number, args).value(), "{abi:?} {number} {value}");
                }
            }
        }
    }
}

#[test]
fn compiled_once() {
    let of = |caps| program(Choice::Default, caps, Abi32::Refuse).unwrap().unwrap();
    let chown = Cap::named("chown").unwrap();
    assert!(Arc::ptr_eq(&of(CapSet::DOCKER).0, &of(CapSet::DOCKER.without(chown)).0), "CHOWN makes no difference");
    assert_ne!(of(CapSet::DOCKER), of(CapSet::ALL));
    assert!(program(Choice::parse("unconfined"), CapSet::DOCKER, Abi32::Refuse).unwrap().is_none());
}

#[test]
fn a_profile_longer_than_the_kernel_takes_is_refused() {
    let rules = (0..2000u64)
        .map(|v| Rule { name: "read".into(), conditions: vec![Condition { index: 0, op: Op::Gt, value: v }], action: Action::Errno(2) })
        .collect();
    let error = compile(&Policy { default: Action::Allow, rules, abi32: false }, Abi::X86_64, false).unwrap_err();
    assert!(error.to_string().contains("the kernel takes 4096"), "{error}");
}

prop_compose! {
    fn some_condition()(index in 0u8..6, op in 0..7, value in interesting(), mask in interesting()) -> Condition {
        let op = [Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt, Op::MaskedEq { mask }][op as usize];
        Condition { index, op, value }
    }
}

fn interesting() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..4, Just(u64::from(u32::MAX)), Just(1 << 32), Just((1 << 32) | 1), Just(u64::MAX), any::<u64>()]
}

fn some_action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Allow), Just(EPERM), Just(ENOSYS), Just(Action::KillProcess), Just(Action::Log), Just(Action::Trap)]
}

prop_compose! {
    fn some_rule()(name in 0..6, conditions in prop::collection::vec(some_condition(), 0..4), action in some_action()) -> Rule {
        let name = ["read", "socket", "clone", "openat", "mount", "no_such_call"][name as usize].to_owned();
        Rule { name, conditions, action }
    }
}

proptest! {
    #[test]
    fn the_program_says_what_the_rules_say(
        rules in prop::collection::vec(some_rule(), 0..40),
        default in some_action(),
        calls in prop::collection::vec((0u32..600, prop::array::uniform6(interesting())), 40),
    ) {
        let policy = Policy { default, rules, abi32: true };
        let code = compile(&policy, Abi::X86_64, true).unwrap();
        for (number, args) in calls {
            // Mostly the calls the rules are about.
            let number = match number { 0..500 => Abi::X86_64.number(["read", "socket", "clone", "openat", "mount"][number as usize % 5]).unwrap(), n => n };
            for abi in [Abi::X86_64, Abi::I386] {
                prop_assert_eq!(run(&code, abi, number, args), naive(&policy, abi, number, args).value());
            }
        }
    }
}

#[test]
fn the_kernel_takes_it_and_obeys() {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};
    let program = program(Choice::Default, CapSet::DOCKER, Abi32::Allow).unwrap().unwrap();
    // A filter is a thread's: this one keeps it to its end, the other tests never see it.
    std::thread::spawn(move || {
        let alg = AddressFamily::from_raw(38);
        crate::sys::seccomp::confine_thread(program.instructions()).unwrap();
        assert_eq!(socket(alg, SocketType::SEQPACKET, None).unwrap_err(), Errno::PERM, "AF_ALG");
        assert_eq!(socket(AddressFamily::VSOCK, SocketType::STREAM, None).unwrap_err(), Errno::PERM, "AF_VSOCK");
        socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let refused = rustix::thread::set_name(c"x").map(|()| rustix::mount::unmount("/nowhere", rustix::mount::UnmountFlags::DETACH));
        assert_eq!(refused.unwrap().unwrap_err(), Errno::PERM, "umount2 answers before it looks");
        assert!(std::fs::read_to_string("/proc/thread-self/status").unwrap().contains("Seccomp:\t2"));
    })
    .join()
    .unwrap();
}
