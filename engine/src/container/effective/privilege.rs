//! Privileges: capabilities, `--security-opt`, system paths, devices.

use super::text::{clean_path, parse_bool};
use super::{AppArmor, Device, MASKED_PATHS, Privileges, READONLY_PATHS, Seccomp};
use crate::caps::{self, CapSet};
use crate::cgroup::{Access, DeviceRule};
use crate::container::spec::{ContainerSpec, HostSpec};
use crate::{Error, Result};

/// What the container may do.
pub(super) fn privileges(spec: &ContainerSpec, warnings: &mut Vec<String>) -> Result<Privileges> {
    let host = &spec.host;
    let asked = SecurityOptions::parse(&host.security_opt, warnings)?;
    let all = host.privileged;
    let capabilities = caps::tweak(CapSet::DOCKER, &host.cap_add, &host.cap_drop, all)?;
    let paths = |given: &Option<Vec<String>>, default: &[String]| -> Result<Vec<String>> {
        let open = all || asked.system_paths_open;
        match given {
            None if open => Ok(Vec::new()),
            None => Ok(default.to_vec()),
            Some(list) => list
                .iter()
                .map(|p| clean_path(p).ok_or_else(|| Error::invalid(format!("invalid path {p:?}: it must be absolute"))))
                .collect(),
        }
    };
    let seccomp = asked.seccomp.unwrap_or(if all { Seccomp::Unconfined } else { Seccomp::Default });
    Ok(Privileges {
        privileged: all,
        capabilities,
        seccomp,
        syscalls_32bit: all || asked.syscalls_32bit || spec.platform.as_deref().is_some_and(is_32bit),
        apparmor: asked.apparmor.unwrap_or(if all { AppArmor::Unconfined } else { AppArmor::Default }),
        no_new_privileges: asked.no_new_privileges,
        masked_paths: paths(&host.masked_paths, &MASKED_PATHS)?,
        readonly_paths: paths(&host.readonly_paths, &READONLY_PATHS)?,
    })
}

/// Platforms whose programs make 32-bit system calls on the machines we run on.
fn is_32bit(platform: &str) -> bool {
    matches!(platform.split('/').nth(1), Some("386" | "arm"))
}

#[derive(Default)]
struct SecurityOptions {
    seccomp: Option<Seccomp>,
    apparmor: Option<AppArmor>,
    no_new_privileges: bool,
    system_paths_open: bool,
    syscalls_32bit: bool,
}

impl SecurityOptions {
    fn parse(options: &[String], warnings: &mut Vec<String>) -> Result<Self> {
        let mut parsed = Self::default();
        for option in options {
            let invalid = |n: u8| Error::invalid(format!("invalid --security-opt {n}: {option:?}"));
            // `key=value`, in old clients `key:value`.
            let (key, value) = match option.split_once('=').or_else(|| option.split_once(':')) {
                Some((key, value)) => (key, Some(value)),
                None => (option.as_str(), None),
            };
            match (key, value) {
                ("no-new-privileges", None) => parsed.no_new_privileges = true,
                ("no-new-privileges", Some(v)) => parsed.no_new_privileges = parse_bool(v).ok_or_else(|| invalid(2))?,
                ("disable", None) => warnings.push(NO_SELINUX.to_owned()),
                (_, None) => return Err(invalid(1)),
                ("seccomp", Some("unconfined")) => parsed.seccomp = Some(Seccomp::Unconfined),
                ("seccomp", Some("" | "builtin" | "default")) => parsed.seccomp = Some(Seccomp::Default),
                ("seccomp", Some(profile)) => {
                    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(profile)
                        .map_err(|e| Error::invalid(format!("Decoding seccomp profile failed: {e}")))?;
                    parsed.seccomp = Some(Seccomp::Profile(profile.to_owned()));
                }
                ("apparmor", Some("unconfined")) => parsed.apparmor = Some(AppArmor::Unconfined),
                ("apparmor", Some("" | "docker-default" | "wharf-default")) => parsed.apparmor = Some(AppArmor::Default),
                ("apparmor", Some(name)) => {
                    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')) {
                        return Err(invalid(2));
                    }
                    parsed.apparmor = Some(AppArmor::Profile(name.to_owned()));
                }
                ("systempaths", Some("unconfined")) => parsed.system_paths_open = true,
                ("syscalls-32bit", Some(v)) => parsed.syscalls_32bit = parse_bool(v).ok_or_else(|| invalid(2))?,
                ("label", Some(_)) => warnings.push(NO_SELINUX.to_owned()),
                ("writable-cgroups", Some(v)) => {
                    if parse_bool(v).ok_or_else(|| invalid(2))? {
                        return Err(Error::unsupported("--security-opt writable-cgroups=true"));
                    }
                }
                _ => return Err(invalid(2)),
            }
        }
        Ok(parsed)
    }
}

const NO_SELINUX: &str = "SELinux labels are not used here; the label option has no effect.";

/// The devices asked for.
pub(super) fn devices(host: &HostSpec) -> Result<(Vec<Device>, Vec<DeviceRule>)> {
    let mut devices = Vec::new();
    for d in &host.devices {
        if !d.host.starts_with('/') && d.host.contains('=') {
            return Err(Error::unsupported("a CDI device"));
        }
        let invalid =
            |why: &str| Error::invalid(format!("error gathering device information while adding custom device {:?}: {why}", d.host));
        let path = clean_path(&d.host).ok_or_else(|| invalid("not an absolute path"))?;
        let inside = if d.container.is_empty() {
            path.clone()
        } else {
            clean_path(&d.container).ok_or_else(|| invalid("its container path is not absolute"))?
        };
        let text = if d.permissions.is_empty() { "rwm" } else { &d.permissions };
        let access = Access::parse(text).ok_or_else(|| Error::invalid(format!("invalid device mode: {text}")))?;
        devices.push(Device { host: path.into(), container: inside, access });
    }
    let rules = host.device_cgroup_rules.iter().map(|r| DeviceRule::parse(r)).collect::<Result<_>>()?;
    Ok((devices, rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Privileges> {
        let host = HostSpec { security_opt: options.iter().map(|s| (*s).to_owned()).collect(), ..HostSpec::default() };
        privileges(&ContainerSpec { host, ..ContainerSpec::default() }, &mut Vec::new())
    }

    #[test]
    fn the_default_is_the_strictest() {
        let p = parse(&[]).unwrap();
        assert_eq!((p.capabilities, p.seccomp, p.apparmor), (CapSet::DOCKER, Seccomp::Default, AppArmor::Default));
        assert!(!p.syscalls_32bit && !p.privileged);
        assert_eq!(p.masked_paths, *MASKED_PATHS);
        assert_eq!(p.readonly_paths, *READONLY_PATHS);
    }

    #[test]
    fn security_options_in_both_spellings() {
        assert!(parse(&["no-new-privileges"]).unwrap().no_new_privileges);
        assert!(parse(&["no-new-privileges:true"]).unwrap().no_new_privileges);
        assert!(!parse(&["no-new-privileges=false"]).unwrap().no_new_privileges);
        assert_eq!(parse(&["seccomp:unconfined"]).unwrap().seccomp, Seccomp::Unconfined);
        assert_eq!(parse(&["seccomp=builtin"]).unwrap().seccomp, Seccomp::Default);
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","x":"a=b"}"#;
        assert_eq!(parse(&[&format!("seccomp={profile}")]).unwrap().seccomp, Seccomp::Profile(profile.into()));
        assert!(parse(&["systempaths=unconfined"]).unwrap().masked_paths.is_empty());
        for (option, error) in [
            ("foo", "invalid --security-opt 1: \"foo\""),
            ("foo=bar", "invalid --security-opt 2: \"foo=bar\""),
            ("no-new-privileges=x", "invalid --security-opt 2: \"no-new-privileges=x\""),
            ("apparmor=a b", "invalid --security-opt 2: \"apparmor=a b\""),
        ] {
            assert_eq!(parse(&[option]).unwrap_err().to_string(), error);
        }
        assert!(parse(&["seccomp={"]).unwrap_err().to_string().starts_with("Decoding seccomp profile failed: "));
    }

    #[test]
    fn devices_and_rules() {
        let device = |host: &str, permissions: &str| crate::container::spec::DeviceSpec {
            host: host.into(),
            container: String::new(),
            permissions: permissions.into(),
        };
        let host = HostSpec {
            devices: vec![device("/dev/../dev/fuse", "")],
            device_cgroup_rules: vec!["c 42:* rmw".into()],
            ..HostSpec::default()
        };
        let (devices_, rules) = devices(&host).unwrap();
        assert_eq!((devices_[0].host.to_str(), devices_[0].container.as_str()), (Some("/dev/fuse"), "/dev/fuse"));
        assert_eq!(rules.len(), 1);
        for bad in [device("dev/x", ""), device("/dev/x", "rwx")] {
            assert!(devices(&HostSpec { devices: vec![bad], ..HostSpec::default() }).is_err());
        }
    }
}
