//! Sysctls a container may set: those the kernel keeps per namespace, and only of namespaces that are its own.

use super::{Ipc, Namespaces, NetworkMode};
use crate::{Error, Result};

/// The namespaced part of `kernel.` and all of `fs.mqueue.` belong to the IPC namespace (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks one setting.
///
/// # Errors
/// When the name is not namespaced, its namespace is shared, or the value is not one line of ordinary text (CVE-2022-0811).
pub(crate) fn check(name: &str, value: &str, namespaces: &Namespaces, network: &NetworkMode) -> Result<()> {
    let invalid = |why: &str| Error::invalid(format!("sysctl {name:?} is not allowed: {why}"));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // Slashes are the other spelling of dots (sysctl(8)); interface names may hold either, so only one spelling is taken.
    if name.is_empty() || !name.chars().all(plain) || name.split('.').any(str::is_empty) {
        return Err(invalid("the name is not written with dots"));
    }
    let value_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '\t' | '.' | ',' | '-' | '_' | ':' | '/');
    if value.len() > 1024 || !value.chars().all(value_ok) {
        return Err(invalid("the value has characters that no setting takes"));
    }
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return match namespaces.ipc {
            Ipc::Private | Ipc::Shareable | Ipc::None => Ok(()),
            Ipc::Host => Err(invalid("the container has the host's IPC namespace")),
            Ipc::Container(_) => Err(invalid("the container has another container's IPC namespace")),
        };
    }
    if name.starts_with("net.") {
        return match network {
            NetworkMode::None | NetworkMode::Network(_) => Ok(()),
            NetworkMode::Host => Err(invalid("the container has the host's network namespace")),
            NetworkMode::Container(_) => Err(invalid("the container has another container's network namespace")),
        };
    }
    Err(invalid("it is not kept per container: expected net.*, fs.mqueue.*, or kernel.msg*, kernel.sem, kernel.shm*"))
}

#[cfg(test)]
mod tests {
    use super::super::{OwnOrHost, Shared, UserNamespace};
    use super::*;

    fn namespaces(ipc: Ipc) -> Namespaces {
        Namespaces { user: UserNamespace::Tenant, pid: Shared::Private, ipc, uts: OwnOrHost::Private, cgroup: OwnOrHost::Private }
    }

    #[test]
    fn sec_a18_only_namespaced_names_and_plain_values() {
        let own = namespaces(Ipc::Private);
        let bridge = NetworkMode::Network("bridge".into());
        for (name, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("kernel.sem", "250\t32000 100 128"),
            ("fs.mqueue.msg_max", "20"),
            ("net.core.somaxconn", "1024"),
        ] {
            check(name, value, &own, &bridge).unwrap();
        }
        for (name, value) in [
            ("kernel.core_pattern", "|/bin/sh"),
            ("kernel.shm_rmid_forced+kernel.core_pattern", "1"),
            ("kernel/core_pattern", "x"),
            ("net/ipv4/ip_forward", "1"),
            ("net..ipv4", "1"),
            ("net.ipv4.../../kernel.core_pattern", "1"),
            ("kernel.msg", "1"),
            ("kernel.hostname", "x"),
            ("vm.swappiness", "1"),
            ("fs.file-max", "1"),
            ("", "1"),
            ("net.ipv4.ip_forward", "1\nkernel.core_pattern=|/x"),
            ("net.ipv4.ip_forward", "1+2"),
            ("net.ipv4.ip_forward", "1\0"),
        ] {
            assert!(check(name, value, &own, &bridge).is_err(), "{name}={value:?}");
        }
    }

    #[test]
    fn not_in_somebody_elses_namespace() {
        assert!(check("kernel.sem", "1", &namespaces(Ipc::Host), &NetworkMode::None).is_err());
        assert!(check("kernel.sem", "1", &namespaces(Ipc::Container("x".into())), &NetworkMode::None).is_err());
        assert!(check("net.ipv4.ip_forward", "1", &namespaces(Ipc::Private), &NetworkMode::Host).is_err());
        assert!(check("net.ipv4.ip_forward", "1", &namespaces(Ipc::Private), &NetworkMode::Container("x".into())).is_err());
    }
}
