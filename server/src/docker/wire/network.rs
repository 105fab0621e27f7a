//! Networks, and a container's place in them, in both directions.

use crate::docker::fields::Fields;
use crate::route::ApiVersion;
use engine::container::EndpointSpec;
use engine::container::view::EndpointView;
use engine::network::{IpamPool, Network, NetworkSpec};
use engine::{Error, Result};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads an address that may be absent.
fn address<T: std::str::FromStr>(f: &mut Fields, key: &str) -> Result<Option<T>> {
    match f.text(key)?.as_str() {
        "" => Ok(None),
        text => {
            let family = key.trim_end_matches("Address");
            let invalid = || Error::invalid(format!("invalid {family} address: {text}"));
            // An IPv4 address in IPv6's clothes is of neither kind.
            if text.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| ip.to_ipv4_mapped().is_some()) {
                return Err(invalid());
            }
            text.parse().map(Some).map_err(|_| invalid())
        }
    }
}

/// Reads an `EndpointSettings`.
pub fn endpoint(f: &mut Fields) -> Result<EndpointSpec> {
    let mut spec = EndpointSpec {
        aliases: f.texts("Aliases")?,
        links: f.texts("Links")?,
        mac_address: f.text_or_absent("MacAddress")?.filter(|m| !m.is_empty()),
        driver_opts: f.map("DriverOpts")?,
        gateway_priority: f.int("GwPriority")?,
        ..EndpointSpec::default()
    };
    if let Some(mut ipam) = f.object("IPAMConfig")? {
        spec.ipv4 = address(&mut ipam, "IPv4Address")?;
        spec.ipv6 = address(&mut ipam, "IPv6Address")?;
        for ip in ipam.texts("LinkLocalIPs")? {
            let ip: IpAddr = ip.parse().map_err(|_| Error::invalid(format!("invalid link-local IP address: {ip}")))?;
            spec.link_local.push(ip);
        }
        ipam.finish()?;
    }
    // What inspect tells of an attachment comes back from clients that re-create a container. It asks for nothing.
    f.legacy(&[
        "NetworkID",
        "EndpointID",
        "Gateway",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "DNSNames",
    ]);
    Ok(spec)
}

/// Reads `ConsoleSize`: `[height, width]`; `[0, 0]` asks for nothing.
pub fn console_size(f: &mut Fields) -> Result<Option<(u16, u16)>> {
    match f.value("ConsoleSize") {
        Value::Null => Ok(None),
        value => {
            let [h, w]: [u16; 2] = serde_json::from_value(value).map_err(|e| Error::invalid(format!("invalid JSON: ConsoleSize: {e}")))?;
            Ok((h != 0 || w != 0).then_some((h, w)))
        }
    }
}

/// An attachment as inspect and lists show it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointSettings<'a> {
    #[serde(rename = "IPAMConfig")]
    ipam_config: Option<EndpointIpam<'a>>,
    links: Option<&'a [String]>,
    aliases: Option<Vec<&'a str>>,
    mac_address: &'a str,
    driver_opts: Option<&'a BTreeMap<String, String>>,
    #[serde(rename = "NetworkID")]
    network: &'a str,
    #[serde(rename = "EndpointID")]
    endpoint: &'a str,
    #[serde(serialize_with = "shown")]
    gateway: Option<Ipv4Addr>,
    #[serde(rename = "IPAddress", serialize_with = "shown")]
    ip: Option<Ipv4Addr>,
    #[serde(rename = "IPPrefixLen")]
    prefix_length: u8,
    #[serde(rename = "IPv6Gateway", serialize_with = "shown")]
    gateway6: Option<Ipv6Addr>,
    #[serde(rename = "GlobalIPv6Address", serialize_with = "shown")]
    ip6: Option<Ipv6Addr>,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    prefix_length6: u8,
    /// Outer: since 1.44.
    #[serde(rename = "DNSNames", skip_serializing_if = "Option::is_none")]
    dns_names: Option<Option<&'a [String]>>,
    /// Since 1.48.
    #[serde(skip_serializing_if = "Option::is_none")]
    gw_priority: Option<i64>,
}

#[derive(Serialize)]
struct EndpointIpam<'a> {
    #[serde(rename = "IPv4Address", skip_serializing_if = "Option::is_none")]
    ipv4: Option<Ipv4Addr>,
    #[serde(rename = "IPv6Address", skip_serializing_if = "Option::is_none")]
    ipv6: Option<Ipv6Addr>,
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "<[_]>::is_empty")]
    link_local: &'a [IpAddr],
}

/// An address that may be absent, as Go writes one: empty text.
#[allow(clippy::ref_option)] // serde's signature.
fn shown<T: std::fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_str(""),
    }
}

/// A list, or null when it is empty, as Go writes a nil slice.
fn or_null<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

impl<'a> EndpointSettings<'a> {
    /// As inspect shows it. `short_id`: of the container, which old clients expect among the aliases.
    pub fn of(view: &'a EndpointView, short_id: &'a str, version: ApiVersion) -> Self {
        let spec = &view.spec;
        let mut aliases: Vec<&str> = spec.aliases.iter().map(String::as_str).collect();
        // Since 1.45 the short id stands in DNSNames only.
        if !version.at_least(45) && view.dns_names.iter().any(|name| name == short_id) && !aliases.contains(&short_id) {
            aliases.push(short_id);
        }
        let asked = spec.ipv4.is_some() || spec.ipv6.is_some() || !spec.link_local.is_empty();
        Self {
            ipam_config: asked.then_some(EndpointIpam { ipv4: spec.ipv4, ipv6: spec.ipv6, link_local: &spec.link_local }),
            links: or_null(&spec.links),
            aliases: (!aliases.is_empty()).then_some(aliases),
            mac_address: &view.mac_address,
            driver_opts: (!spec.driver_opts.is_empty()).then_some(&spec.driver_opts),
            network: view.network.as_str(),
            endpoint: view.endpoint.as_ref().map(|e| e.as_str()).unwrap_or_default(),
            gateway: view.gateway4,
            ip: view.ipv4.map(|(ip, _)| ip),
            prefix_length: view.ipv4.map_or(0, |(_, length)| length),
            gateway6: view.gateway6,
            ip6: view.ipv6.map(|(ip, _)| ip),
            prefix_length6: view.ipv6.map_or(0, |(_, length)| length),
            dns_names: version.at_least(44).then(|| or_null(&view.dns_names)),
            gw_priority: version.at_least(48).then_some(spec.gateway_priority),
        }
    }

    /// As lists show it: they have always had the addresses only; the names are inspect's.
    pub fn in_a_list(view: &'a EndpointView, short_id: &'a str, version: ApiVersion) -> Self {
        let whole = Self::of(view, short_id, version);
        Self { links: None, aliases: None, dns_names: whole.dns_names.map(|_| None), ..whole }
    }
}

/// Reads `POST /networks/create`.
pub fn create(body: Value) -> Result<NetworkSpec> {
    let mut f = Fields::of("", body)?;
    let mut spec = NetworkSpec {
        name: f.text("Name")?,
        driver: f.text("Driver")?,
        internal: f.flag("Internal")?,
        attachable: f.flag("Attachable")?,
        ipv4: f.flag_or_absent("EnableIPv4")?,
        ipv6: f.flag_or_absent("EnableIPv6")?,
        options: f.map("Options")?,
        labels: f.map("Labels")?,
        ..NetworkSpec::default()
    };
    if let Some(mut ipam) = f.object("IPAM")? {
        spec.ipam_driver = ipam.text("Driver")?;
        spec.ipam_options = ipam.map("Options")?;
        for mut pool in ipam.objects("Config")? {
            spec.ipam.push(IpamPool {
                subnet: pool.text("Subnet")?,
                ip_range: pool.text("IPRange")?,
                gateway: pool.text("Gateway")?,
                aux: match pool.map("AuxiliaryAddresses")? {
                    aux if aux.is_empty() => pool.map("AuxAddress")?,
                    aux => aux,
                },
            });
            pool.finish()?;
        }
        ipam.finish()?;
    }
    // Duplicates are refused always, whether the client asks for the check or not.
    f.legacy(&["CheckDuplicate"]);
    match f.text("Scope")?.as_str() {
        "" | "local" => {}
        scope => return Err(Error::unsupported(&format!("a network of scope {scope}"))),
    }
    f.unserved(&["Ingress", "ConfigOnly"])?;
    if let Some(mut from) = f.object("ConfigFrom")? {
        from.unserved(&["Network"])?;
        from.finish()?;
    }
    f.finish()?;
    if spec.name.trim().is_empty() {
        return Err(Error::invalid("network name is required"));
    }
    Ok(spec)
}

/// A network as inspect shows it. `members`: whether its containers are told (lists do not).
pub fn network(n: &Network, members: bool, version: ApiVersion) -> Value {
    let spec = &n.spec;
    let pools = spec.ipam.iter().map(|pool| {
        let mut value = Map::new();
        value.insert("Subnet".to_owned(), json!(pool.subnet));
        for (key, text) in [("IPRange", &pool.ip_range), ("Gateway", &pool.gateway)] {
            if !text.is_empty() {
                value.insert(key.to_owned(), json!(text));
            }
        }
        if !pool.aux.is_empty() {
            value.insert("AuxiliaryAddresses".to_owned(), json!(pool.aux));
        }
        Value::Object(value)
    });
    let prefixed = |ip: Option<String>| ip.unwrap_or_default();
    let containers: Map<String, Value> = n
        .containers
        .iter()
        .filter(|_| members)
        .map(|(id, m)| {
            let member = json!({
                "Name": m.name,
                "EndpointID": m.endpoint.as_str(),
                "MacAddress": m.mac_address,
                "IPv4Address": prefixed(m.ipv4.map(|(ip, len)| format!("{ip}/{len}"))),
                "IPv6Address": prefixed(m.ipv6.map(|(ip, len)| format!("{ip}/{len}"))),
            });
            (id.to_string(), member)
        })
        .collect();
    let mut value = json!({
        "Name": spec.name,
        "Id": n.id.as_str(),
        "Created": n.created.to_string(),
        "Scope": "local",
        "Driver": match spec.driver.as_str() { "" => "bridge", driver => driver },
        "EnableIPv6": spec.ipv6.unwrap_or(false),
        "IPAM": {
            "Driver": match spec.ipam_driver.as_str() { "" => "default", driver => driver },
            "Options": if spec.ipam_options.is_empty() { Value::Null } else { json!(spec.ipam_options) },
            "Config": pools.collect::<Vec<_>>(),
        },
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": spec.options,
        "Labels": spec.labels,
    });
    if let Value::Object(map) = &mut value
        && version.at_least(47)
    {
        map.insert("EnableIPv4".to_owned(), json!(spec.ipv4.unwrap_or(true)));
    }
    value
}

/// `POST /networks/{id}/connect`: the container, and what it asks for.
pub fn connect(body: Value) -> Result<(String, EndpointSpec)> {
    let mut f = Fields::of("", body)?;
    let container = f.text("Container")?;
    let spec = match f.object("EndpointConfig")? {
        None => EndpointSpec::default(),
        Some(mut config) => {
            let spec = endpoint(&mut config)?;
            config.finish()?;
            spec
        }
    };
    f.finish()?;
    Ok((container, spec))
}

/// `POST /networks/{id}/disconnect`: the container, and whether by force.
pub fn disconnect(body: Value) -> Result<(String, bool)> {
    let mut f = Fields::of("", body)?;
    let request = (f.text("Container")?, f.flag("Force")?);
    f.finish()?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_of_the_cli_and_compose() {
        let spec = create(json!({
            "Name": "n", "CheckDuplicate": true, "Driver": "bridge", "Scope": "", "EnableIPv6": false, "Internal": true,
            "IPAM": {"Driver": "default", "Options": {}, "Config": [{"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.9", "AuxiliaryAddresses": {"a": "10.1.0.2"}}]},
            "Ingress": false, "ConfigOnly": false, "ConfigFrom": null, "Options": {"x": "y"}, "Labels": null,
        }))
        .unwrap();
        assert_eq!(spec.ipam[0].aux["a"], "10.1.0.2");
        assert!(spec.internal);
        assert_eq!(create(json!({"Name": "n", "ConfigOnly": true})).unwrap_err().kind(), engine::Kind::Unsupported);
        assert_eq!(create(json!({"Name": "n", "Scope": "swarm"})).unwrap_err().kind(), engine::Kind::Unsupported);
        assert!(create(json!({"Driver": "bridge"})).is_err());
    }

    #[test]
    fn an_attachment_that_inspect_told_can_be_sent_back() {
        let view = EndpointView {
            network: engine::NetworkId::random(),
            endpoint: None,
            spec: EndpointSpec { ipv4: Some([10, 0, 0, 5].into()), aliases: vec!["al".into()], ..EndpointSpec::default() },
            ipv4: Some(([10, 0, 0, 5].into(), 24)),
            ipv6: None,
            gateway4: Some([10, 0, 0, 1].into()),
            gateway6: None,
            mac_address: String::new(),
            dns_names: vec!["web".into(), "0123456789ab".into()],
        };
        let value = json!(EndpointSettings::of(&view, "0123456789ab", ApiVersion { major: 1, minor: 51 }));
        let mut fields = Fields::of("", value).unwrap();
        assert_eq!(endpoint(&mut fields).unwrap(), view.spec);
        fields.finish().unwrap();
        let old = json!(EndpointSettings::of(&view, "0123456789ab", ApiVersion { major: 1, minor: 40 }));
        assert_eq!(old["Aliases"], json!(["al", "0123456789ab"]));
        assert!(old.get("DNSNames").is_none() && old.get("GwPriority").is_none());
    }
}
