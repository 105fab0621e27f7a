//! Images as Docker shows them.

use super::container::{healthcheck, set};
use super::time;
use crate::route::ApiVersion;
use engine::image::{Distribution, Image, ImageConfig, Platform, RegistryAuth, Removal};
use engine::{Error, Result};
use serde_json::{Map, Value, json};

/// What an image's configuration gives to containers, as inspect shows it.
fn config(c: &ImageConfig) -> Value {
    let mut value = json!({
        "Env": if c.env.is_empty() { Value::Null } else { json!(c.env) },
        "Cmd": c.cmd,
        "WorkingDir": c.working_dir,
        "User": c.user,
        "Entrypoint": c.entrypoint,
        "OnBuild": if c.on_build.is_empty() { Value::Null } else { json!(c.on_build) },
        "Labels": if c.labels.is_empty() { Value::Null } else { json!(c.labels) },
        "Volumes": set(&c.volumes),
    });
    let Value::Object(map) = &mut value else { return value };
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    if let ports @ Value::Object(_) = set(&c.exposed_ports) {
        put("ExposedPorts", ports);
    }
    if let Some(check) = &c.healthcheck {
        put("Healthcheck", healthcheck(check));
    }
    if let Some(signal) = &c.stop_signal {
        put("StopSignal", json!(signal));
    }
    if let Some(shell) = &c.shell {
        put("Shell", json!(shell));
    }
    if c.args_escaped {
        put("ArgsEscaped", json!(true));
    }
    value
}

/// `GET /images/{name}/json`.
pub fn inspect(i: &Image, version: ApiVersion) -> Value {
    let mut value = json!({
        "Id": i.id.to_string(),
        "RepoTags": i.tags,
        "RepoDigests": i.digests,
        "Parent": i.parent.map(|p| p.to_string()).unwrap_or_default(),
        "Comment": i.comment,
        "Created": time::rfc3339(i.created),
        "DockerVersion": "",
        "Author": i.author,
        "Config": config(&i.config),
        "Architecture": i.architecture,
        "Os": i.os,
        "Size": i.size,
        // Where our layers lie is nobody's business: they are shared, and only root may look there.
        "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": "", "MergedDir": "", "UpperDir": "", "WorkDir": ""}},
        "RootFS": {"Type": "layers", "Layers": i.diff_ids.iter().map(|d| d.to_string()).collect::<Vec<_>>()},
        "Metadata": {"LastTagTime": time::rfc3339(i.last_tagged)},
    });
    if let Value::Object(map) = &mut value {
        if !i.variant.is_empty() {
            map.insert("Variant".to_owned(), json!(i.variant));
        }
        if !version.at_least(44) {
            map.insert("VirtualSize".to_owned(), json!(i.size));
        }
        // What the builder's last container was made with, which Docker stopped to tell in 1.45. Compose v1, which speaks
        // the newest version it meets, cannot recreate a container without it: it looks for volumes there.
        let mut last = config(&i.config);
        if let (Value::Object(last), Some(step)) = (&mut last, i.history.last()) {
            last.insert("Cmd".to_owned(), json!(step_words(&step.created_by)));
        }
        map.insert("ContainerConfig".to_owned(), last);
    }
    value
}

/// The command of a build step from its line in the history: `|1 a=b /bin/sh -c text`, or without build arguments.
fn step_words(line: &str) -> Vec<&str> {
    let (arguments, rest) = match line.strip_prefix('|').and_then(|l| l.split_once(' ')) {
        Some((count, rest)) => (count.parse().unwrap_or(0), rest),
        None => (0, line),
    };
    let mut words: Vec<&str> = if arguments > 0 { vec![line.split(' ').next().unwrap_or_default()] } else { Vec::new() };
    let mut rest = rest;
    for _ in 0..arguments {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        words.push(word);
        rest = after;
    }
    let split = |text: &'static str| rest.split_once(text);
    match (split(" #(nop)  "), rest.strip_prefix("/bin/sh -c ")) {
        // The shell of a step that ran nothing, and what it said.
        (Some((shell, said)), _) => {
            words.extend(shell.split(' ').filter(|word| !word.is_empty()));
            words.extend(["#(nop) ", said]);
        }
        (None, Some(text)) => words.extend(["/bin/sh", "-c", text]),
        (None, None) => words.extend(rest.split(' ').filter(|word| !word.is_empty())),
    }
    words
}

/// One row of `GET /images/json`. `containers`: how many use it; −1: not counted.
pub fn summary(i: &Image, containers: i64, version: ApiVersion) -> Value {
    let mut value = json!({
        "Containers": containers,
        "Created": i.created.map_or(0, |t| t.as_second()),
        "Id": i.id.to_string(),
        "Labels": if i.config.labels.is_empty() { Value::Null } else { json!(i.config.labels) },
        "ParentId": i.parent.map(|p| p.to_string()).unwrap_or_default(),
        "RepoDigests": i.digests,
        "RepoTags": i.tags,
        "SharedSize": -1,
        "Size": i.size,
    });
    let Value::Object(map) = &mut value else { return value };
    if !version.at_least(43) && i.tags.is_empty() {
        map.insert("RepoTags".to_owned(), json!(["<none>:<none>"]));
        if i.digests.is_empty() {
            map.insert("RepoDigests".to_owned(), json!(["<none>@<none>"]));
        }
    }
    if !version.at_least(44) {
        map.insert("VirtualSize".to_owned(), json!(i.size));
    }
    value
}

/// `GET /images/{name}/history`: newest first; only the top step is an image one can name.
pub fn history(i: &Image) -> Value {
    let steps = i.history.iter().rev().enumerate().map(|(n, step)| {
        json!({
            "Id": if n == 0 { i.id.to_string() } else { "<missing>".to_owned() },
            "Created": step.created.map_or(0, |t| t.as_second()),
            "CreatedBy": step.created_by,
            "Tags": if n == 0 && !i.tags.is_empty() { json!(i.tags) } else { Value::Null },
            "Size": step.size,
            "Comment": step.comment,
        })
    });
    steps.collect()
}

/// The answer to a removal.
pub fn removals(list: &[Removal]) -> Value {
    let one = |removal: &Removal| match removal {
        Removal::Untagged(name) => json!({ "Untagged": name }),
        Removal::Deleted(digest) => json!({ "Deleted": digest.to_string() }),
    };
    list.iter().map(one).collect()
}

/// What a registry has under a name.
pub fn distribution(d: &Distribution) -> Value {
    let platform = |p: &Platform| match p.variant.as_str() {
        "" => json!({ "architecture": p.architecture, "os": p.os }),
        variant => json!({ "architecture": p.architecture, "os": p.os, "variant": variant }),
    };
    json!({
        "Descriptor": { "mediaType": d.media_type, "digest": d.digest.to_string(), "size": d.size },
        "Platforms": d.platforms.iter().map(platform).collect::<Vec<_>>(),
    })
}

/// Reads the JSON of credentials (`X-Registry-Auth`, `POST /auth`). Registries' clients put their own keys into it, so
/// unknown ones are no error here: nothing but these five is ever used.
pub fn registry_auth(value: Value) -> Result<RegistryAuth> {
    let Value::Object(map) = value else {
        return Err(Error::invalid("invalid credentials: expected a JSON object"));
    };
    let map: Map<String, Value> = map.into_iter().map(|(key, value)| (key.to_lowercase(), value)).collect();
    let text = |key: &str| match map.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Error::invalid(format!("invalid credentials: {key}: expected a string"))),
    };
    let mut auth = RegistryAuth {
        username: text("username")?,
        password: text("password")?,
        identity_token: text("identitytoken")?,
        registry_token: text("registrytoken")?,
        server_address: text("serveraddress")?,
    };
    // `auth` is base64 of `user:password`, as the CLI's config file has it.
    let joined = text("auth")?;
    if auth.username.is_empty() && !joined.is_empty() {
        let bytes = super::base64_any(&joined).ok_or_else(|| Error::invalid("invalid credentials: auth: expected base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::invalid("invalid credentials: auth: expected UTF-8"))?;
        if let Some((user, password)) = text.split_once(':') {
            auth.username = user.to_owned();
            auth.password = password.to_owned();
        }
    }
    Ok(auth)
}

/// Reads the header `X-Registry-Auth`: base64 of JSON, URL-safe or not, padded or not. Empty, `{}` and absent are `None`.
pub fn registry_auth_header(header: Option<&str>) -> Result<Option<RegistryAuth>> {
    // Some Go programs send the JSON of nothing as it is.
    let Some(text) = header.map(str::trim).filter(|h| !h.is_empty() && *h != "{}") else { return Ok(None) };
    let bytes = super::base64_any(text).ok_or_else(|| Error::invalid("invalid X-Registry-Auth header: expected base64"))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let value =
        serde_json::from_slice(&bytes).map_err(|_| Error::invalid("invalid X-Registry-Auth header: expected the base64 of JSON"))?;
    if matches!(&value, Value::Null) {
        return Ok(None);
    }
    let auth = registry_auth(value)?;
    Ok((auth != RegistryAuth::default()).then_some(auth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::wire::container::tests::V51;
    use crate::docker::wire::recordings;
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    use engine::image::History;
    use std::collections::BTreeMap;

    fn sample() -> Image {
        Image {
            id: engine::Digest::of(b"config"),
            tags: vec!["shpimg:1".into()],
            digests: Vec::new(),
            parent: None,
            created: Some(jiff::Timestamp::from_second(1_700_000_000).unwrap()),
            author: "a".into(),
            comment: "c".into(),
            architecture: "amd64".into(),
            variant: String::new(),
            os: "linux".into(),
            config: ImageConfig {
                env: vec!["PATH=/bin".into()],
                cmd: Some(vec!["sh".into()]),
                working_dir: "/tmp".into(),
                labels: BTreeMap::from([("shp".into(), "1".into()), ("maintainer".into(), "m".into())]),
                volumes: vec!["/anon".into()],
                exposed_ports: vec!["80/tcp".parse().unwrap()],
                stop_signal: Some("SIGTERM".into()),
                healthcheck: Some(engine::container::Healthcheck {
                    test: vec!["CMD-SHELL".into(), "true".into()],
                    interval: std::time::Duration::from_secs(1),
                    retries: 2,
                    ..Default::default()
                }),
                ..ImageConfig::default()
            },
            diff_ids: vec![engine::Digest::of(b"layer")],
            size: 1234,
            last_tagged: None,
            history: vec![
                History { created_by: "ADD rootfs".into(), size: 1000, ..History::default() },
                History { created_by: "sh".into(), comment: "c".into(), size: 234, ..History::default() },
            ],
        }
    }

    #[test]
    fn a_steps_line_is_a_command_again() {
        assert_eq!(step_words("|2 a=1 b=2 /bin/sh -c echo $a  $b"), ["|2", "a=1", "b=2", "/bin/sh", "-c", "echo $a  $b"]);
        assert_eq!(step_words("/bin/sh -c #(nop)  CMD [\"sh\"]"), ["/bin/sh", "-c", "#(nop) ", "CMD [\"sh\"]"]);
        assert_eq!(step_words("foo -bar #(nop)  SHELL [foo -bar]"), ["foo", "-bar", "#(nop) ", "SHELL [foo -bar]"]);
        assert_eq!(step_words("touch /x"), ["touch", "/x"]);
        assert!(step_words("").is_empty());
    }

    #[test]
    fn shapes_hold_to_the_recordings() {
        recordings::holds("image-inspect-commit", &inspect(&sample(), V51));
        recordings::holds("images", &json!([summary(&sample(), -1, V51)]));
        recordings::holds("image-history", &history(&sample()));
        insta::assert_json_snapshot!(inspect(&sample(), V51));
    }

    #[test]
    fn nameless_images_have_dockers_old_name_for_old_clients() {
        let image = Image { tags: Vec::new(), ..sample() };
        assert_eq!(summary(&image, -1, V51)["RepoTags"], json!([]));
        assert_eq!(summary(&image, -1, ApiVersion { major: 1, minor: 41 })["RepoTags"], json!(["<none>:<none>"]));
        assert_eq!(summary(&image, -1, ApiVersion { major: 1, minor: 41 })["VirtualSize"], 1234);
    }

    #[test]
    fn credentials_in_every_base64() {
        let text = r#"{"username":"u?>","password":"p~~","serveraddress":"r:5000","email":"x","unknown":{}}"#;
        for encoded in [URL_SAFE.encode(text), URL_SAFE_NO_PAD.encode(text), STANDARD.encode(text)] {
            let auth = registry_auth_header(Some(&encoded)).unwrap().unwrap();
            assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u?>", "p~~"));
        }
        for nothing in [None, Some(""), Some("e30="), Some("e30"), Some("bnVsbA==")] {
            assert_eq!(registry_auth_header(nothing).unwrap(), None, "{nothing:?}");
        }
        assert_eq!(registry_auth_header(Some("{}")).unwrap(), None);
        assert!(registry_auth_header(Some("*")).is_err());
        let config_file = STANDARD.encode(format!(r#"{{"auth":"{}"}}"#, STANDARD.encode("u:p:q")));
        assert_eq!(registry_auth_header(Some(&config_file)).unwrap().unwrap().password, "p:q");
    }
}
