//! `POST /containers/create`, and the parts of it that commit and update use.

use super::{host, network};
use crate::docker::fields::Fields;
use engine::container::spec::{ContainerPort, ContainerSpec, Healthcheck, Resources, RestartPolicy};
use engine::{Error, Result};
use serde_json::Value;
use std::time::Duration;

/// The whole request of `POST /containers/create`. `minor`: of the API version 1.x.
pub fn container(body: Value, minor: u32) -> Result<ContainerSpec> {
    if body.is_null() || body.as_object().is_some_and(|o| o.is_empty()) {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    let mut fields = Fields::of("", body)?;
    let mut spec = config_fields(&mut fields)?;
    if let Some(mut host_config) = fields.object("HostConfig")? {
        spec.host = host::host(&mut host_config)?;
        host_config.finish()?;
    }
    if let Some(mut networking) = fields.object("NetworkingConfig")? {
        for (name, mut endpoint) in networking.named_objects("EndpointsConfig")? {
            let asked = network::endpoint(&mut endpoint)?;
            endpoint.finish()?;
            // The CLI names the network mode here again, and `default` is another name of `bridge`. Where it asks for nothing
            // more, the mode says it all.
            let name = if name == "default" { "bridge".to_owned() } else { name };
            let mode = host::network_mode(&spec.host.network_mode);
            if name == mode && matches!(mode, "bridge" | "host" | "none") && asked == Default::default() {
                continue;
            }
            spec.networks.insert(name, asked);
        }
        networking.finish()?;
    }
    if minor < 44 && spec.networks.len() > 1 {
        let names: Vec<&str> = spec.networks.keys().map(String::as_str).collect();
        return Err(Error::invalid(format!("Container cannot be connected to network endpoints: {}", names.join(", "))));
    }
    if spec.image.is_empty() && spec.cmd.as_ref().is_none_or(Vec::is_empty) && spec.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("no command specified"));
    }
    // docker-py has always put it here.
    let runtime = fields.text("Runtime")?;
    if spec.host.runtime.is_empty() {
        spec.host.runtime = runtime;
    }
    // dockerode and Portainer repeat the query in the body.
    fields.legacy(&["name", "platform"]);
    fields.finish()?;

    if minor < 44 && spec.networks.len() > 1 {
        return Err(Error::invalid("Container cannot be created with multiple network endpoints"));
    }
    if minor < 40 && spec.host.ipc_mode.is_empty() {
        // What those clients' daemons did where nothing was asked.
        spec.host.ipc_mode = "shareable".to_owned();
    }
    if minor < 25 {
        // Clients of that time remove the container themselves, and must still be able to read its exit code.
        spec.host.auto_remove = false;
    }
    // For create, "unlimited" is the same as not asked; for update it is a change.
    spec.host.resources.pids_limit = spec.host.resources.pids_limit.filter(|n| *n > 0);
    Ok(spec)
}

/// A container's configuration alone, as `POST /commit` carries it.
pub fn config(body: Value) -> Result<ContainerSpec> {
    let mut fields = Fields::of("", body)?;
    let spec = config_fields(&mut fields)?;
    // dockerode repeats the query in the body.
    fields.legacy(&["container", "repo", "tag", "comment", "author", "pause", "changes"]);
    fields.finish()?;
    Ok(spec)
}

fn config_fields(f: &mut Fields) -> Result<ContainerSpec> {
    let mut spec = ContainerSpec {
        image: f.text("Image")?,
        hostname: f.text("Hostname")?,
        domainname: f.text("Domainname")?,
        user: f.text("User")?,
        attach: [f.flag("AttachStdin")?, f.flag("AttachStdout")?, f.flag("AttachStderr")?],
        tty: f.flag("Tty")?,
        open_stdin: f.flag("OpenStdin")?,
        stdin_once: f.flag("StdinOnce")?,
        env: f.texts("Env")?,
        cmd: f.words_or_absent("Cmd")?.filter(|cmd| !cmd.is_empty()),
        entrypoint: f.words_or_absent("Entrypoint")?,
        working_dir: f.text("WorkingDir")?,
        labels: f.map("Labels")?,
        volumes: f.set("Volumes")?,
        stop_signal: f.text_or_absent("StopSignal")?.filter(|s| !s.is_empty()),
        stop_timeout: f.int_or_absent("StopTimeout")?,
        shell: f.words_or_absent("Shell")?.filter(|s| !s.is_empty()),
        network_disabled: f.flag("NetworkDisabled")?,
        mac_address: f.text_or_absent("MacAddress")?.filter(|s| !s.is_empty()),
        ..ContainerSpec::default()
    };
    for port in f.set("ExposedPorts")? {
        spec.exposed_ports.extend(port_range(&port)?);
    }
    if let Some(mut check) = f.object("Healthcheck")? {
        spec.healthcheck = Some(healthcheck(&mut check)?);
        check.finish()?;
    }
    // OnBuild and ArgsEscaped come back from clients that re-create what they inspected; they concern image builds only.
    // PortSpecs is what ports were before 2013, and docker-java still has it.
    f.legacy(&["OnBuild", "ArgsEscaped", "PortSpecs"]);

    match &spec.entrypoint {
        // `--entrypoint ""`: no entry point, and the image's command goes with it.
        Some(entrypoint) if entrypoint.len() == 1 && entrypoint[0].is_empty() => {
            spec.entrypoint = Some(Vec::new());
            spec.cmd.get_or_insert_with(Vec::new);
        }
        // The image's command belongs to the image's entry point, not to this one.
        Some(entrypoint) if !entrypoint.is_empty() => {
            spec.cmd.get_or_insert_with(Vec::new);
        }
        _ => {}
    }
    Ok(spec)
}

/// `80`, `80/udp` or `8000-8010/tcp`.
fn port_range(text: &str) -> Result<Vec<ContainerPort>> {
    let invalid = || Error::invalid(format!("invalid port specification: {text:?}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let first: ContainerPort = format!("{first}/{protocol}").parse().map_err(|_| invalid())?;
    let last: ContainerPort = format!("{last}/{protocol}").parse().map_err(|_| invalid())?;
    if last.port < first.port {
        return Err(invalid());
    }
    Ok((first.port..=last.port).map(|port| ContainerPort { port, protocol: first.protocol }).collect())
}

/// A health check; durations are nanoseconds on the wire.
pub fn healthcheck(f: &mut Fields) -> Result<Healthcheck> {
    let mut duration = |key: &str| -> Result<Duration> {
        let nanos = f.int(key)?;
        if nanos != 0 && nanos < 1_000_000 {
            return Err(Error::invalid(format!("{key} in Healthcheck cannot be less than 1ms")));
        }
        Ok(Duration::from_nanos(nanos.unsigned_abs()))
    };
    let interval = duration("Interval")?;
    let timeout = duration("Timeout")?;
    let start_period = duration("StartPeriod")?;
    let start_interval = duration("StartInterval")?;
    let retries = f.int("Retries")?;
    let retries = u32::try_from(retries).map_err(|_| Error::invalid("Retries in Healthcheck cannot be negative"))?;
    Ok(Healthcheck { test: f.texts("Test")?, interval, timeout, start_period, start_interval, retries })
}

/// `POST /containers/{id}/update`: new limits, and a restart policy if one is given. `minor`: of the API version 1.x.
pub fn update(body: Value, minor: u32) -> Result<(Resources, Option<RestartPolicy>)> {
    let mut fields = Fields::of("", body)?;
    let mut resources = host::resources(&mut fields)?;
    if minor < 40 {
        // Older clients send 0 for what they do not know.
        resources.pids_limit = None;
    }
    // The CLI sends the whole resources struct; what cannot change while a container lives must not be asked for.
    fields.unserved(&["Devices", "DeviceCgroupRules", "DeviceRequests", "CgroupParent"])?;
    let restart = match fields.object("RestartPolicy")? {
        None => None,
        Some(mut policy) => {
            let restart = host::restart_policy(&mut policy)?;
            policy.finish()?;
            restart
        }
    };
    fields.finish()?;
    Ok((resources, restart))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::container::spec::{HostPort, MountKind, Protocol};
    use proptest::prelude::*;
    use serde_json::json;

    fn create(body: Value) -> ContainerSpec {
        container(body, 51).unwrap()
    }

    fn refused(body: Value) -> String {
        container(body, 51).unwrap_err().to_string()
    }

    /// What docker CLI 28.2.2 sends for a `docker run` with many flags (captured from it).
    #[test]
    fn create_of_the_docker_cli() {
        let body: Value = serde_json::from_str(include_str!("../testdata/create-cli-28.json")).unwrap();
        insta::assert_json_snapshot!(container(body, 51).unwrap());
    }

    /// And for a bare one: all its nulls and zeroes ask for nothing.
    #[test]
    fn bare_create_of_the_docker_cli() {
        let body: Value = serde_json::from_str(include_str!("../testdata/create-cli-28-bare.json")).unwrap();
        insta::assert_json_snapshot!(container(body, 51).unwrap());
    }

    #[test]
    fn an_empty_request_is_refused_with_dockers_words() {
        for body in [json!(null), json!({})] {
            assert_eq!(refused(body), "config cannot be empty in order to create a container");
        }
    }

    #[test]
    fn entry_point_and_command_as_docker_merges_them() {
        let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        for (body, entrypoint, cmd) in [
            (json!({"Image": "a"}), None, None),
            (json!({"Image": "a", "Cmd": []}), None, None),
            (json!({"Image": "a", "Cmd": "echo hi"}), None, list(&["echo hi"])),
            (json!({"Image": "a", "Entrypoint": []}), list(&[]), None),
            (json!({"Image": "a", "Entrypoint": [""]}), list(&[]), list(&[])),
            (json!({"Image": "a", "Entrypoint": [""], "Cmd": ["x"]}), list(&[]), list(&["x"])),
            (json!({"Image": "a", "Entrypoint": "sh"}), list(&["sh"]), list(&[])),
            (json!({"Image": "a", "Entrypoint": ["sh"], "Cmd": ["-c"]}), list(&["sh"]), list(&["-c"])),
        ] {
            let spec = create(body.clone());
            assert_eq!((spec.entrypoint, spec.cmd), (entrypoint, cmd), "{body}");
        }
    }

    #[test]
    fn fields_nobody_knows_are_refused_by_name() {
        for (body, field) in [
            (json!({"Image": "a", "Privileged": true}), "Privileged"),
            (json!({"Image": "a", "HostConfig": {"ReadOnlyRootFs_": true}}), "HostConfig.ReadOnlyRootFs_"),
            (
                json!({"Image": "a", "HostConfig": {"Mounts": [{"Type": "volume", "Target": "/x", "Magic": 1}]}}),
                "HostConfig.Mounts[0].Magic",
            ),
            (json!({"Image": "a", "Healthcheck": {"Every": 1}}), "Healthcheck.Every"),
            (
                json!({"Image": "a", "NetworkingConfig": {"EndpointsConfig": {"n": {"Magic": "x"}}}}),
                "NetworkingConfig.EndpointsConfig.n.Magic",
            ),
        ] {
            assert_eq!(refused(body), format!("unknown field {field}"));
        }
    }

    #[test]
    fn ports_and_ranges() {
        let spec = create(json!({"Image": "a", "ExposedPorts": {"80": {}, "90-92/udp": {}}, "HostConfig": {"PortBindings": {
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostPort": ""}, {"HostIp": "::1", "HostPort": "8000-8010"}, {}]}}}));
        assert_eq!(spec.exposed_ports.len(), 4);
        let tcp = |port| ContainerPort { port, protocol: Protocol::Tcp };
        assert_eq!(
            spec.host.port_bindings[&tcp(80)],
            [
                HostPort { ip: Some([127, 0, 0, 1].into()), ports: (8080, 8080) },
                HostPort { ip: None, ports: (0, 0) },
                HostPort { ip: Some("::1".parse().unwrap()), ports: (8000, 8010) },
                HostPort { ip: None, ports: (0, 0) },
            ]
        );
        for bad in [
            json!({"x/tcp": [{}]}),
            json!({"0/tcp": [{}]}),
            json!({"80/tcp": [{"HostPort": "x"}]}),
            json!({"80/tcp": [{"HostPort": "9-8"}]}),
        ] {
            assert!(refused(json!({"Image": "a", "HostConfig": {"PortBindings": bad}})).contains("invalid port"));
        }
    }

    #[test]
    fn restart_policies() {
        let policy = |value: Value| container(json!({"Image": "a", "HostConfig": {"RestartPolicy": value}}), 51).map(|s| s.host.restart);
        assert_eq!(policy(json!({"Name": ""})).unwrap(), RestartPolicy::No);
        assert_eq!(policy(json!({"Name": "on-failure", "MaximumRetryCount": 2})).unwrap(), RestartPolicy::OnFailure(2));
        for bad in [
            json!({"Name": "nosuch"}),
            json!({"Name": "always", "MaximumRetryCount": 1}),
            json!({"Name": "on-failure", "MaximumRetryCount": -1}),
        ] {
            assert!(policy(bad).unwrap_err().to_string().starts_with("invalid restart policy"));
        }
    }

    #[test]
    fn mounts() {
        let spec = create(json!({"Image": "a", "HostConfig": {"Mounts": [
            {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "BindOptions": {"Propagation": "rslave", "CreateMountpoint": true}},
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 5, "Mode": 0o1770}},
            {"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"NoCopy": true, "Subpath": "s", "Labels": {"a": "b"}, "DriverConfig": {"Name": "local"}}},
        ]}}));
        let kinds: Vec<MountKind> = spec.host.mounts.iter().map(|m| m.kind).collect();
        assert_eq!(kinds, [MountKind::Bind, MountKind::Tmpfs, MountKind::Volume]);
        assert_eq!(spec.host.mounts[1].tmpfs_mode, Some(0o1770));
        let refused = |mount: Value| refused(json!({"Image": "a", "HostConfig": {"Mounts": [mount]}}));
        assert_eq!(refused(json!({"Type": "nosuch", "Target": "/x"})), "mount type unknown: \"nosuch\"");
        assert_eq!(
            refused(json!({"Type": "bind", "Source": "/a", "Target": "/b", "VolumeOptions": {"NoCopy": true}})),
            "invalid mount config for type \"bind\": field VolumeOptions must not be specified"
        );
        assert_eq!(refused(json!({"Type": "tmpfs"})), "invalid mount config for type \"tmpfs\": field Target must not be empty");
    }

    #[test]
    fn dockerode_repeats_the_query_in_the_body() {
        assert_eq!(create(json!({"Image": "a", "name": "web", "platform": "linux/amd64"})), create(json!({"Image": "a"})));
        assert_eq!(config(json!({"container": "c", "repo": "r", "tag": "t"})).unwrap(), ContainerSpec::default());
    }

    #[test]
    fn old_clients() {
        let two = json!({"Image": "a", "NetworkingConfig": {"EndpointsConfig": {"a": null, "b": {}}}});
        assert!(container(two.clone(), 43).is_err());
        assert_eq!(container(two, 44).unwrap().networks.len(), 2);
        let rm = json!({"Image": "a", "HostConfig": {"AutoRemove": true}});
        assert!(!container(rm.clone(), 24).unwrap().host.auto_remove);
        assert!(container(rm, 25).unwrap().host.auto_remove);
    }

    #[test]
    fn health_durations_below_a_millisecond_are_refused() {
        let error = refused(json!({"Image": "a", "Healthcheck": {"Interval": 5}}));
        assert_eq!(error, "Interval in Healthcheck cannot be less than 1ms");
    }

    #[test]
    fn pids_limit_unlimited_is_a_change_only_for_update() {
        assert_eq!(create(json!({"Image": "a", "HostConfig": {"PidsLimit": -1}})).host.resources.pids_limit, None);
        assert_eq!(update(json!({"PidsLimit": 5}), 39).unwrap().0.pids_limit, None);
        let (resources, restart) = update(json!({"PidsLimit": -1, "RestartPolicy": {"Name": "", "MaximumRetryCount": 0}}), 51).unwrap();
        assert_eq!((resources.pids_limit, restart), (Some(-1), None));
    }

    /// JSON with the keys that are read here, and any values: what untrusted clients can say.
    fn any_request() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            Just("Image"),
            Just("Cmd"),
            Just("Env"),
            Just("HostConfig"),
            Just("Mounts"),
            Just("Type"),
            Just("Target"),
            Just("PortBindings"),
            Just("80/tcp"),
            Just("HostPort"),
            Just("NetworkingConfig"),
            Just("EndpointsConfig"),
            Just("IPAMConfig"),
            Just("IPv4Address"),
            Just("Healthcheck"),
            Just("Interval"),
            Just("Ulimits"),
            Just("Memory"),
            Just("ConsoleSize"),
            Just("RestartPolicy"),
            Just("Name"),
            Just("MaximumRetryCount"),
            Just("name"),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~]{0,6}".prop_map(Value::from),
            Just(json!("bind")),
            Just(json!("8000-1")),
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key.clone(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_request_makes_it_panic(body in any_request()) {
            let _ = container(body.clone(), 24);
            let _ = update(body.clone(), 51);
            let _ = crate::docker::wire::network::create(body.clone());
            let _ = crate::docker::wire::exec::create(body);
        }

        /// What is not understood is refused, whatever is around it.
        #[test]
        fn an_unknown_field_that_asks_is_never_dropped(mut body in any_request(), key in "Zz[a-z]{1,8}") {
            prop_assume!(body.is_object());
            body[&key] = json!(true);
            prop_assert!(container(body, 51).is_err());
        }
    }
}
