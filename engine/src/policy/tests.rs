//! The law's own trial: every field that needs a grant is denied without it, allowed with it, and nothing changes on the way.

use super::*;
use crate::container::effective::*;
use crate::container::request::ExecSpec;
use crate::container::spec::{ContainerSpec, DeviceRequest, DeviceSpec, HostSpec, MountKind, MountSpec};
use crate::container::{HostPort, effective};
use crate::grant::Grant;
use crate::image::ImageConfig;
use crate::network::{IpamPool, NetworkSpec};
use crate::volume::VolumeSpec;
use crate::{GrantId, Role, Scope, TenantId, UserId, Via};
use jiff::Timestamp;
use proptest::prelude::*;
use std::path::Path;

fn bob() -> Subject {
    Subject {
        user: Some(UserId(7)),
        name: "bob".into(),
        tenant: TenantId(3),
        tenant_name: "bob".into(),
        role: Role::User,
        unix: Some(UnixAccount { uid: 1000, gid: 1000 }),
        via: Via::Socket,
        ip: None,
        scope: Scope::Write,
    }
}

fn with(grants: &[&str]) -> Standing {
    let grants = grants
        .iter()
        .map(|t| Grant {
            id: GrantId(1),
            tenant: TenantId(3),
            kind: t.parse().unwrap(),
            expires: None,
            created: Timestamp::UNIX_EPOCH,
            created_by: "root".into(),
        })
        .collect();
    Standing { grants: Grants::Only(grants), quota: Quota::default(), home: Some("/home/bob".into()) }
}

fn support() -> crate::cgroup::Support {
    crate::cgroup::Support {
        version: crate::cgroup::Version::V1,
        memory: true,
        swap: true,
        cpu: true,
        cpu_rt: true,
        cpuset: true,
        pids: true,
        io: true,
        io_weight: true,
        swappiness: true,
        oom_disable: true,
        cpus: 4,
        cpuset_cpus: "0-3".into(),
        cpuset_mems: "0".into(),
    }
}

fn asked(host: HostSpec) -> ContainerSpec {
    ContainerSpec { image: "busybox".into(), cmd: Some(vec!["true".into()]), host, ..ContainerSpec::default() }
}

fn resolved(spec: &ContainerSpec) -> crate::Result<EffectiveSpec> {
    effective(spec, &ImageConfig::default(), &Defaults::new("/run/wharf", support())).map(|(spec, _)| spec)
}

fn plain() -> EffectiveSpec {
    resolved(&asked(HostSpec::default())).unwrap()
}

type Change = (fn(&mut HostSpec), &'static str);

fn mount(kind: MountKind, source: &str) -> MountSpec {
    MountSpec { kind, source: source.into(), target: format!("/t{}", source.len()), ..MountSpec::default() }
}

fn volume_on(options: &[(&str, &str)]) -> MountSpec {
    let volume_options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    MountSpec { volume_options, ..mount(MountKind::Volume, "vol") }
}

fn device(host: &str) -> DeviceSpec {
    DeviceSpec { host: host.into(), container: String::new(), permissions: String::new() }
}

/// What a client can ask for that needs a grant, and which.
fn needy() -> Vec<Change> {
    vec![
        (|h| h.binds.push("/etc/cron.d:/a".into()), "bind=/etc/cron.d"),
        (|h| h.binds.push("/srv/x:/b:ro".into()), "bind=/srv/x:ro"),
        (|h| h.mounts.push(mount(MountKind::Bind, "/opt/data")), "bind=/opt/data"),
        (|h| h.mounts.push(volume_on(&[("type", "none"), ("o", "bind"), ("device", "/var/lib")])), "bind=/var/lib"),
        (|h| h.devices.push(device("/dev/fuse")), "device=/dev/fuse"),
        (|h| h.devices.push(device("/dev/snd")), "device=/dev/snd"),
        (|h| h.device_cgroup_rules.push("c 42:* rmw".into()), "device-rules"),
        (|h| h.cap_add.push("NET_ADMIN".into()), "cap=NET_ADMIN"),
        (|h| h.cap_add.push("SYS_PTRACE".into()), "cap=SYS_PTRACE"),
        (|h| h.network_mode = "host".into(), "network-host"),
        (|h| h.pid_mode = "host".into(), "pid-host"),
        (|h| h.ipc_mode = "host".into(), "ipc-host"),
        (|h| h.uts_mode = "host".into(), "uts-host"),
        (|h| h.cgroupns_mode = "host".into(), "cgroupns-host"),
        (|h| h.security_opt.push("seccomp=unconfined".into()), "security-opt=seccomp"),
        (|h| h.security_opt.push("apparmor=unconfined".into()), "security-opt=apparmor"),
        (|h| h.security_opt.push("systempaths=unconfined".into()), "security-opt=systempaths"),
        (|h| h.security_opt.push("syscalls-32bit=true".into()), "syscalls-32bit"),
        (|h| h.oom_score_adj = -1, "oom-score-adj"),
        (|h| h.resources.ulimits.push(crate::container::spec::Ulimit { name: "rtprio".into(), soft: 99, hard: 99 }), "cap=SYS_NICE"),
        (|h| h.binds.push("/home/bob/x:/shared:rshared".into()), "shared-mounts"),
    ]
}

#[test]
fn a_plain_container_needs_nothing() {
    let yes = authorize(&bob(), &with(&[]), plain()).unwrap();
    assert_eq!(yes.rule(), "default");
    assert_eq!(*yes, plain());
}

#[test]
fn without_any_grant_a_tenant_may_do_what_the_design_says() {
    let host = HostSpec {
        binds: vec!["/home/bob/project:/app".into(), "data:/data".into(), "/var/run/docker.sock:/var/run/docker.sock".into()],
        tmpfs: [("/tmp".to_owned(), "size=1m".to_owned())].into(),
        port_bindings: [(
            "80/tcp".parse().unwrap(),
            vec![HostPort { ip: None, ports: (8080, 8080) }, HostPort { ip: None, ports: (0, 0) }],
        )]
        .into(),
        cap_drop: vec!["ALL".into()],
        cap_add: vec!["CHOWN".into()],
        security_opt: vec!["no-new-privileges".into()],
        read_only: true,
        userns_mode: "isolated".into(),
        oom_score_adj: 500,
        sysctls: [("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())].into(),
        masked_paths: Some(MASKED_PATHS.iter().cloned().chain(["/proc/extra".to_owned()]).collect()),
        ..HostSpec::default()
    };
    let yes = authorize(&bob(), &with(&[]), resolved(&asked(host)).unwrap()).unwrap();
    assert_eq!(yes.rule(), "grant home");
    let account = UnixAccount { uid: 1000, gid: 1000 };
    assert_eq!(*yes.binds(), [("/app".to_owned(), BindAccess::HomeBind { account, below: "/home/bob".into() })].into());
}

#[test]
fn sec_a3_each_privilege_alone_is_denied_and_names_its_grant() {
    for (change, grant) in needy() {
        let mut host = HostSpec::default();
        change(&mut host);
        let spec = resolved(&asked(host)).unwrap();
        let no = authorize(&bob(), &with(&[]), spec.clone()).unwrap_err();
        let named: Vec<String> = no.grants().map(ToString::to_string).collect();
        assert_eq!(named, [grant]);
        let text = crate::Error::from(no).to_string();
        assert!(text.contains(&format!("wharf grant add --tenant bob {grant}")), "{text}");
        // All other grants do not help; this one alone does.
        let others: Vec<&str> = needy().iter().map(|(_, g)| *g).filter(|g| *g != grant).collect();
        assert!(authorize(&bob(), &with(&others), spec.clone()).is_err(), "{grant} is not needed beside the others");
        let yes = authorize(&bob(), &with(&[grant]), spec).unwrap();
        assert!(yes.rule().starts_with("grant "), "{}", yes.rule());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Allowed exactly when every needed grant is there, whatever the order and number; and what comes out is what went in.
    #[test]
    fn sec_a9_nothing_changes_after_authorize(asks in prop::collection::vec(any::<bool>(), 21), has in prop::collection::vec(any::<bool>(), 21)) {
        let needy = needy();
        prop_assert_eq!(needy.len(), 21);
        let mut host = HostSpec::default();
        for ((change, _), _) in needy.iter().zip(&asks).filter(|(_, asked)| **asked) {
            change(&mut host);
        }
        let grants: Vec<&str> = needy.iter().zip(&has).filter(|(_, has)| **has).map(|((_, g), _)| *g).collect();
        let missing = needy.iter().zip(&asks).any(|((_, g), asked)| *asked && !grants.contains(g));
        let spec = resolved(&asked(host)).unwrap();
        match authorize(&bob(), &with(&grants), spec.clone()) {
            Ok(yes) => {
                prop_assert!(!missing);
                prop_assert_eq!(&*yes, &spec);
                prop_assert_eq!(yes.hash(), spec.hash());
                prop_assert_eq!(yes.into_inner(), spec);
            }
            Err(no) => {
                prop_assert!(missing);
                let named: Vec<String> = no.grants().map(ToString::to_string).collect();
                let expected: Vec<&str> = needy.iter().zip(&asks).filter(|((_, g), asked)| **asked && !grants.contains(g)).map(|((_, g), _)| *g).collect();
                prop_assert_eq!(named.len(), expected.len());
                prop_assert!(expected.iter().all(|g| named.iter().any(|n| n == g)));
            }
        }
    }
}

#[test]
fn sec_a6_every_spelling_of_a_host_path_is_denied() {
    type Spelling = (&'static str, fn(&mut HostSpec));
    let spellings: Vec<Spelling> = vec![
        ("bind", |h| h.binds.push("/etc:/x".into())),
        ("bind read-only", |h| h.binds.push("/etc:/x:ro".into())),
        ("bind of the root", |h| h.binds.push("/:/x".into())),
        ("bind with dots", |h| h.binds.push("/home/bob/../../etc:/x".into())),
        ("bind with slashes", |h| h.binds.push("//etc//:/x".into())),
        ("bind beside the home", |h| h.binds.push("/home/bobby:/x".into())),
        ("bind above the home", |h| h.binds.push("/home:/x".into())),
        ("bind of proc", |h| h.binds.push("/proc:/x".into())),
        ("bind of proc's root", |h| h.binds.push("/proc/1/root:/x".into())),
        ("bind of the run dir", |h| h.binds.push("/run/wharf/c:/x".into())),
        ("mount", |h| h.mounts.push(mount(MountKind::Bind, "/etc"))),
        ("mount with dots", |h| h.mounts.push(mount(MountKind::Bind, "/home/bob/../alice"))),
        ("volume of type none", |h| h.mounts.push(volume_on(&[("type", "none"), ("o", "bind"), ("device", "/etc")]))),
        ("volume with rbind", |h| h.mounts.push(volume_on(&[("o", "ro,rbind"), ("device", "/etc")]))),
        ("volume of the home", |h| h.mounts.push(volume_on(&[("o", "bind"), ("device", "/home/bob")]))),
        ("volume of a disk", |h| h.mounts.push(volume_on(&[("type", "ext4"), ("device", "/dev/sda1")]))),
        ("volume of an overlay", |h| h.mounts.push(volume_on(&[("type", "overlay"), ("device", "overlay"), ("o", "lowerdir=/etc")]))),
        ("volume over nfs", |h| h.mounts.push(volume_on(&[("type", "nfs"), ("device", ":/"), ("o", "addr=127.0.0.1")]))),
        ("device that is a folder", |h| h.devices.push(device("/etc"))),
        ("device that is a disk", |h| h.devices.push(device("/dev/sda"))),
    ];
    for (what, change) in spellings {
        let mut host = HostSpec::default();
        change(&mut host);
        let spec = resolved(&asked(host)).unwrap();
        assert!(authorize(&bob(), &with(&["bind=/srv", "device=/dev/fuse", "gpu"]), spec).is_err(), "{what}");
    }
    // A volume made that way beforehand, and the mounts of another container, are the same path again.
    let options = [("type", "none"), ("o", "bind"), ("device", "/etc")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let volume = VolumeSpec { name: "v".into(), options, ..VolumeSpec::default() };
    assert!(authorize_volume(&bob(), &with(&[]), volume.clone()).is_err());
    assert!(authorize_volume(&bob(), &with(&["bind=/etc"]), volume).is_ok());
    let mut spec = resolved(&asked(HostSpec { volumes_from: vec!["other".into()], ..HostSpec::default() })).unwrap();
    assert!(authorize(&bob(), &with(&[]), spec.clone()).is_err(), "unresolved names are never allowed");
    let theirs = resolved(&asked(HostSpec { binds: vec!["/etc:/x".into()], ..HostSpec::default() })).unwrap().mounts;
    spec.merge_volumes_from(|_| Ok(theirs.clone())).unwrap();
    assert!(authorize(&bob(), &with(&[]), spec).is_err());
}

#[test]
fn a_home_is_only_a_persons_own_and_only_for_that_person() {
    let bind = |path: &str| resolved(&asked(HostSpec { binds: vec![format!("{path}:/x")], ..HostSpec::default() })).unwrap();
    assert!(authorize(&bob(), &with(&[]), bind("/home/bob")).is_ok());
    let by_token = Subject { unix: None, ..bob() };
    assert!(authorize(&by_token, &with(&[]), bind("/home/bob")).is_err());
    for home in ["/", "/usr/sbin", "/run/postgresql", "/home", "/home/bob/..", "relative", "/var/run/x", "/proc/1"] {
        let standing = Standing { home: Some(home.into()), ..with(&[]) };
        assert!(authorize(&bob(), &standing, bind("/home/alice/x")).is_err(), "{home}");
    }
}

#[test]
fn sec_a9_a_path_that_is_not_clean_is_no_path_below_anything() {
    // effective() cleans; policy does not rely on that.
    for path in ["/home/bob/../alice", "/srv/../etc", "srv", "/srv/./x", "/srv/x\0"] {
        let mut spec = plain();
        spec.mounts.push(Mount {
            target: "/x".into(),
            read_only: false,
            mode: String::new(),
            implied: false,
            source: MountSource::Bind {
                path: path.into(),
                create: false,
                recursive: true,
                read_only_below: ReadOnlyBelow::IfPossible,
                propagation: Propagation::RPrivate,
            },
        });
        assert!(authorize(&bob(), &with(&["bind=/srv"]), spec).is_err(), "{path:?}");
    }
}

#[test]
fn sec_a11_what_is_left_out_is_the_strictest() {
    let spec = plain();
    assert_eq!(
        spec.namespaces,
        Namespaces {
            user: UserNamespace::Tenant,
            pid: Shared::Private,
            ipc: Ipc::Private,
            uts: OwnOrHost::Private,
            cgroup: OwnOrHost::Private
        }
    );
    assert_eq!((spec.privileges.seccomp.clone(), spec.privileges.apparmor.clone()), (Seccomp::Default, AppArmor::Default));
    assert_eq!(spec.privileges.capabilities, crate::caps::CapSet::DOCKER);
    assert_eq!(spec.privileges.masked_paths, *MASKED_PATHS);
    assert_eq!(spec.privileges.readonly_paths, *READONLY_PATHS);
    // One path fewer is not the default any more.
    for i in 0..MASKED_PATHS.len() {
        let mut fewer = plain();
        fewer.privileges.masked_paths.remove(i);
        assert!(authorize(&bob(), &with(&[]), fewer).is_err());
    }
}

#[test]
fn ports_below_1024_need_a_grant() {
    let publish = |ports| {
        let port_bindings = [("80/tcp".parse().unwrap(), vec![HostPort { ip: None, ports }])].into();
        resolved(&asked(HostSpec { port_bindings, ..HostSpec::default() })).unwrap()
    };
    for (ports, grants, allowed) in [
        ((1024, 1024), &[][..], true),
        ((0, 0), &[], true),
        ((1023, 1023), &[], false),
        ((1000, 2000), &[], false),
        ((1000, 2000), &["ports=1000-1023"], true),
        ((1000, 2000), &["ports=1000-1022"], false),
        ((80, 80), &["ports=80"], true),
        ((80, 80), &["ports=80/udp"], false),
        ((80, 80), &["ports=443", "ports=80/tcp"], true),
    ] {
        assert_eq!(authorize(&bob(), &with(grants), publish(ports)).is_ok(), allowed, "{ports:?} {grants:?}");
    }
}

#[test]
fn privileged_takes_its_grant_and_covers_what_it_implies_and_no_more() {
    let host = || HostSpec { privileged: true, ..HostSpec::default() };
    let spec = resolved(&asked(host())).unwrap();
    assert_eq!(spec.namespaces.user, UserNamespace::Host);
    let named: Vec<String> = authorize(&bob(), &with(&[]), spec.clone()).unwrap_err().grants().map(ToString::to_string).collect();
    assert_eq!(named, ["privileged"]);
    assert!(authorize(&bob(), &with(&["privileged"]), spec).is_ok());
    let network = resolved(&asked(HostSpec { network_mode: "host".into(), binds: vec!["/:/host".into()], ..host() })).unwrap();
    assert_eq!(authorize(&bob(), &with(&["privileged"]), network).unwrap_err().grants().count(), 2);
    let exec = |privileged| authorize_exec(&bob(), &with(&[]), ExecSpec { argv: vec!["sh".into()], privileged, ..ExecSpec::default() });
    assert!(exec(false).is_ok() && exec(true).is_err());
}

#[test]
fn sharing_is_no_way_around_a_grant() {
    let id = crate::ContainerId::random();
    let peer =
        resolved(&asked(HostSpec { network_mode: "host".into(), pid_mode: "host".into(), ipc_mode: "host".into(), ..HostSpec::default() }))
            .unwrap();
    let host = HostSpec {
        network_mode: "container:p".into(),
        pid_mode: "container:p".into(),
        ipc_mode: "container:p".into(),
        ..HostSpec::default()
    };
    let mut spec = resolved(&asked(host.clone())).unwrap();
    spec.resolve_containers(|name| {
        assert_eq!(name, "p");
        Ok(Peer { id: &id, namespaces: &peer.namespaces, network: &peer.network.mode })
    })
    .unwrap();
    assert_eq!(authorize(&bob(), &with(&[]), spec).unwrap_err().grants().count(), 3);

    let private = plain();
    let mut spec = resolved(&asked(host)).unwrap();
    let error =
        spec.resolve_containers(|_| Ok(Peer { id: &id, namespaces: &private.namespaces, network: &private.network.mode })).unwrap_err();
    assert!(error.to_string().contains("non-shareable IPC"));
    let mut spec = resolved(&asked(HostSpec { network_mode: "container:p".into(), ..HostSpec::default() })).unwrap();
    spec.resolve_containers(|_| Ok(Peer { id: &id, namespaces: &private.namespaces, network: &private.network.mode })).unwrap();
    assert_eq!(spec.network.mode, NetworkMode::Container(id.to_string()));
    let absent = spec.resolve_containers(|name| Err(crate::Error::no_such("container", name))).unwrap_err();
    assert!(absent.is_not_found());
}

#[test]
fn the_administrator_has_all_in_the_own_tenant() {
    let mut host = HostSpec { privileged: true, userns_mode: "host".into(), ..HostSpec::default() };
    for (change, _) in needy() {
        change(&mut host);
    }
    let all = Standing { grants: Grants::All, ..with(&[]) };
    let yes = authorize(&bob(), &all, resolved(&asked(host)).unwrap()).unwrap();
    assert_eq!(yes.rule(), "administrator");
    assert!(yes.binds().values().all(|b| *b == BindAccess::Administrator));
}

#[test]
fn networks_and_their_parents() {
    let network = |driver: &str, options: &[(&str, &str)]| NetworkSpec {
        name: "n".into(),
        driver: driver.into(),
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..NetworkSpec::default()
    };
    let ask = |grants: &[&str], spec| authorize_network(&bob(), &with(grants), spec).is_ok();
    assert!(ask(&[], network("", &[])) && ask(&[], network("bridge", &[("com.docker.network.bridge.enable_icc", "false")])));
    assert!(!ask(&[], network("macvlan", &[("parent", "eth0")])));
    assert!(ask(&["network-parent=eth0"], network("macvlan", &[("parent", "eth0")])));
    assert!(!ask(&["network-parent=eth1"], network("ipvlan", &[("parent", "eth0")])));
    assert!(!ask(&[], network("bridge", &[("com.docker.network.bridge.name", "docker0")])));
    assert!(!ask(&[], network("overlay", &[])));
    // Public addresses on a bridge take the host's way to their owners.
    let on = |subnet: &str| NetworkSpec { ipam: vec![IpamPool { subnet: subnet.into(), ..IpamPool::default() }], ..network("", &[]) };
    assert!(ask(&[], on("10.1.0.0/16")) && ask(&[], on("fd00:1::/64")) && ask(&[], on("2001:db8:1::/64")));
    assert!(!ask(&[], on("8.8.8.0/24")) && !ask(&[], on("2001:389::/64")) && !ask(&[], on("10.0.0.0/7")));
    assert!(ask(&["network-host"], on("8.8.8.0/24")));
}

#[test]
fn credentials_reach_as_far_as_their_scope() {
    for action in Action::ALL {
        for (scope, role) in [
            (Scope::Read, Role::User),
            (Scope::Write, Role::User),
            (Scope::Admin, Role::User),
            (Scope::Read, Role::Admin),
            (Scope::Admin, Role::Admin),
        ] {
            let allowed = authorize_action(&Subject { scope, role, ..bob() }, *action).is_ok();
            let expected = scope >= action.scope() && (action.scope() != Scope::Admin || role == Role::Admin);
            assert_eq!(allowed, expected, "{action:?} {scope:?} {role:?}");
        }
    }
    assert_eq!(Action::GrantChange.scope(), Scope::Admin);
    assert_eq!(Action::ContainerCreate.scope(), Scope::Write);
}

#[test]
fn what_is_not_built_is_not_ignored() {
    let unsupported = |host: HostSpec| resolved(&asked(host)).unwrap_err().kind() == crate::Kind::Unsupported;
    assert!(unsupported(HostSpec { device_requests: vec![DeviceRequest::default()], ..HostSpec::default() }));
    assert!(unsupported(HostSpec { storage_opt: [("size".to_owned(), "1g".to_owned())].into(), ..HostSpec::default() }));
    let rest = resolved(&asked(HostSpec { auto_remove: true, restart: crate::container::RestartPolicy::Always, ..HostSpec::default() }));
    assert_eq!(rest.unwrap_err().to_string(), "can't create 'AutoRemove' container with restart policy");
    let missing = effective(&ContainerSpec::default(), &ImageConfig::default(), &Defaults::new(Path::new("/run/wharf"), support()));
    assert_eq!(missing.unwrap_err().to_string(), "no command specified");
}

#[test]
fn counts_stop_at_the_quota() {
    let quota = Quota { containers: Some(3), ..Quota::default() };
    assert!(quota.room(Counted::Containers, 2, 1).is_ok());
    assert_eq!(quota.room(Counted::Containers, 3, 1).unwrap_err().kind(), Kind::Exhausted);
    assert!(quota.room(Counted::Volumes, u64::MAX, 1).is_ok());
}
