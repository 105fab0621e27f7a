//! A container as lists show it. Lists are the most asked question of all (dashboards poll them), so this one borrows
//! from the view and is written straight into the answer.

use super::network::EndpointSettings;
use super::{container, host, status};
use crate::route::ApiVersion;
use engine::container::view::Container;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One row of `GET /containers/json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary<'a> {
    id: &'a str,
    names: Vec<String>,
    image: &'a str,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Vec<Port>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_root_fs: Option<u64>,
    labels: BTreeMap<&'a str, &'a str>,
    state: &'a str,
    status: String,
    host_config: HostConfig<'a>,
    network_settings: NetworkSettings<'a>,
    mounts: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig<'a> {
    network_mode: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings<'a> {
    networks: BTreeMap<&'a str, EndpointSettings<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    private_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_port: Option<u16>,
    r#type: String,
}

/// The row of `c` at `now`. `size` as for inspect.
pub fn summary(c: &Container, size: Option<(u64, u64)>, now: Timestamp, version: ApiVersion) -> Summary<'_> {
    let networks = c.networks.iter().map(|(name, view)| (name.as_str(), EndpointSettings::in_a_list(view, c.id.short(), version)));
    Summary {
        id: c.id.as_str(),
        names: std::iter::once(&c.name).chain(&c.link_names).map(|name| format!("/{name}")).collect(),
        image: &c.spec.image,
        image_id: c.image_id.to_string(),
        command: command(&c.argv),
        created: c.created.as_second(),
        ports: ports(c),
        // Docker leaves a zero out here.
        size_rw: size.map(|s| s.0).filter(|n| *n != 0),
        size_root_fs: size.map(|s| s.1),
        labels: container::labels(c),
        state: c.state.word(),
        status: status::status(&c.state, c.health.as_ref(), now),
        host_config: HostConfig { network_mode: host::network_mode(&c.spec.host.network_mode), annotations: &c.spec.host.annotations },
        network_settings: NetworkSettings { networks: networks.collect() },
        mounts: container::mount_points(c),
    }
}

/// The command line as lists show it: arguments with a space in quotes.
fn command(argv: &[String]) -> String {
    let mut text = String::new();
    for (i, word) in argv.iter().enumerate() {
        if i > 0 {
            text.push(' ');
        }
        match word.contains(' ') && i > 0 {
            true => text.extend(["'", word, "'"]),
            false => text.push_str(word),
        }
    }
    text
}

/// Published ports first, then those that are only exposed; none while it is down.
fn ports(c: &Container) -> Vec<Port> {
    if !c.state.is_up() {
        return Vec::new();
    }
    let mut ports: Vec<Port> = c
        .ports
        .iter()
        .map(|p| Port {
            ip: Some(p.ip.to_string()),
            private_port: p.container.port,
            public_port: Some(p.port),
            r#type: p.container.protocol.to_string(),
        })
        .collect();
    for port in container::exposed_ports(c) {
        if !c.ports.iter().any(|p| p.container == port) {
            ports.push(Port { ip: None, private_port: port.port, public_port: None, r#type: port.protocol.to_string() });
        }
    }
    ports
}

/// `GET /containers/json` as JSON values, for answers that hold the list inside (`system df`).
pub fn value(summary: &Summary<'_>) -> Value {
    serde_json::to_value(summary).unwrap_or_else(|e| json!({"message": e.to_string()}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::wire::container::tests::{V51, sample};

    #[test]
    fn a_row_has_every_path_that_the_recording_has() {
        let c = sample();
        let now = Timestamp::from_second(1_700_000_002).unwrap();
        let rows = json!([value(&summary(&c, Some((0, 9)), now, V51))]);
        crate::docker::wire::recordings::holds("list-all-size", &rows);
        insta::assert_json_snapshot!(rows);
    }

    #[test]
    fn commands_are_quoted_as_docker_quotes_them() {
        let command = |argv: &[&str]| super::command(&argv.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(command(&[]), "");
        assert_eq!(command(&["sh"]), "sh");
        assert_eq!(command(&["sh", "-c", "echo hi"]), "sh -c 'echo hi'");
        assert_eq!(command(&["a b", "c"]), "a b c");
    }
}
