//! An image's configuration file (image-spec config.md, and what Docker adds): read leniently where others wrote it,
//! written in one form.

use crate::container::spec::Healthcheck;
use crate::image::{History, ImageConfig};
use crate::{Digest, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Largest configuration we take; the largest public ones are below 100 KiB.
pub const CONFIG_MAX: u64 = 4 << 20;
/// Layers an overlay can stack with room for the upper one.
pub const LAYERS_MAX: usize = 500;

/// A parsed configuration file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigFile {
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Author.
    pub author: String,
    /// `amd64`.
    pub architecture: String,
    /// `v8`.
    pub variant: String,
    /// `linux`.
    pub os: String,
    /// Comment.
    pub comment: String,
    /// What containers inherit.
    pub config: ImageConfig,
    /// Layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Steps, oldest first; sizes unknown.
    pub history: Vec<History>,
    /// What a build with `--cache-from` this image may take for done.
    pub build_cache: Vec<CachedStep>,
}

/// A step that an image carries for later builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedStep {
    /// The names by which a builder knows it.
    pub keys: Vec<String>,
    /// The layer it made; `None`: it changed no file.
    pub layer: Option<Digest>,
    /// When, in milliseconds since 1970.
    pub made: i64,
}

/// Where an image's configuration has them.
const BUILD_CACHE: &str = "wharf.build-cache.v0";

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawFile {
    created: Option<String>,
    #[serde(deserialize_with = "nullable")]
    author: String,
    #[serde(deserialize_with = "nullable")]
    architecture: String,
    #[serde(deserialize_with = "nullable")]
    variant: String,
    #[serde(deserialize_with = "nullable")]
    os: String,
    #[serde(deserialize_with = "nullable")]
    comment: String,
    #[serde(deserialize_with = "nullable")]
    config: RawConfig,
    rootfs: Option<RawRootfs>,
    #[serde(deserialize_with = "nullable")]
    history: Vec<RawHistory>,
    #[serde(rename = "wharf.build-cache.v0")]
    build_cache: Value,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct RawConfig {
    #[serde(deserialize_with = "nullable")]
    user: String,
    #[serde(deserialize_with = "nullable")]
    exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    volumes: BTreeMap<String, Value>,
    #[serde(deserialize_with = "nullable")]
    working_dir: String,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    stop_signal: Option<String>,
    healthcheck: Option<RawHealthcheck>,
    shell: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    on_build: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    args_escaped: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct RawHealthcheck {
    #[serde(deserialize_with = "nullable")]
    test: Vec<String>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    start_interval: i64,
    retries: i64,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default, deserialize_with = "nullable")]
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawHistory {
    created: Option<String>,
    #[serde(deserialize_with = "nullable")]
    created_by: String,
    #[serde(deserialize_with = "nullable")]
    author: String,
    #[serde(deserialize_with = "nullable")]
    comment: String,
    #[serde(deserialize_with = "nullable")]
    empty_layer: bool,
}

impl ConfigFile {
    /// Parses the bytes a registry or an archive gave.
    ///
    /// # Errors
    /// `Invalid` if it is no image configuration, has too many layers, or is for another system than Linux.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let raw: RawFile =
            serde_json::from_slice(bytes).map_err(|e| Error::invalid(format!("invalid image configuration: {e}")).because(e))?;
        let Some(rootfs) = raw.rootfs else {
            return Err(Error::invalid("invalid image configuration: no rootfs key"));
        };
        if !matches!(rootfs.kind.as_str(), "layers" | "") {
            return Err(Error::invalid(format!("invalid image configuration: rootfs of type {:?}", rootfs.kind)));
        }
        if rootfs.diff_ids.len() > LAYERS_MAX {
            return Err(Error::invalid(format!("the image has {} layers, {LAYERS_MAX} is the limit", rootfs.diff_ids.len())));
        }
        if !matches!(raw.os.as_str(), "linux" | "") {
            return Err(Error::invalid(format!("image operating system \"{}\" cannot be used on this platform", raw.os)));
        }
        let time = |text: Option<String>| text.and_then(|t| t.parse::<Timestamp>().ok());
        let nanoseconds = |n: i64| Duration::from_nanos(u64::try_from(n).unwrap_or(0));
        let c = raw.config;
        Ok(Self {
            created: time(raw.created),
            author: raw.author,
            architecture: raw.architecture,
            variant: raw.variant,
            os: if raw.os.is_empty() { "linux".to_owned() } else { raw.os },
            comment: raw.comment,
            config: ImageConfig {
                user: c.user,
                env: c.env,
                cmd: c.cmd,
                entrypoint: c.entrypoint,
                working_dir: c.working_dir,
                labels: c.labels,
                volumes: c.volumes.into_keys().collect(),
                // What does not name a port publishes nothing.
                exposed_ports: c.exposed_ports.keys().filter_map(|p| p.parse().ok()).collect(),
                stop_signal: c.stop_signal.filter(|s| !s.is_empty()),
                healthcheck: c.healthcheck.map(|h| Healthcheck {
                    test: h.test,
                    interval: nanoseconds(h.interval),
                    timeout: nanoseconds(h.timeout),
                    start_period: nanoseconds(h.start_period),
                    start_interval: nanoseconds(h.start_interval),
                    retries: u32::try_from(h.retries).unwrap_or(0),
                }),
                shell: c.shell,
                on_build: c.on_build,
                args_escaped: c.args_escaped,
            },
            diff_ids: rootfs.diff_ids,
            history: raw
                .history
                .into_iter()
                .map(|h| History {
                    created: time(h.created),
                    created_by: h.created_by,
                    author: h.author,
                    comment: h.comment,
                    empty_layer: h.empty_layer,
                    size: 0,
                })
                .collect(),
            // Somebody else's idea of it helps nobody, and hurts nobody.
            build_cache: serde_json::from_value(raw.build_cache).unwrap_or_default(),
        })
    }

    /// The bytes whose digest is the image's id.
    pub fn to_json(&self) -> String {
        let mut file = Map::new();
        let mut put = |key: &str, value: Value| {
            file.insert(key.to_owned(), value);
        };
        put("architecture", json!(self.architecture));
        if !self.author.is_empty() {
            put("author", json!(self.author));
        }
        if !self.comment.is_empty() {
            put("comment", json!(self.comment));
        }
        put("config", config_json(&self.config));
        if let Some(created) = self.created {
            put("created", json!(created.to_string()));
        }
        put("history", self.history.iter().map(history_json).collect());
        put("os", json!(self.os));
        put("rootfs", json!({"type": "layers", "diff_ids": self.diff_ids}));
        if !self.variant.is_empty() {
            put("variant", json!(self.variant));
        }
        if !self.build_cache.is_empty() {
            put(BUILD_CACHE, json!(self.build_cache));
        }
        Value::Object(file).to_string()
    }
}

fn config_json(c: &ImageConfig) -> Value {
    let set = |keys: Vec<String>| keys.into_iter().map(|k| (k, json!({}))).collect::<Map<_, _>>();
    let mut out = Map::new();
    let mut put = |key: &str, value: Value, there: bool| {
        if there {
            out.insert(key.to_owned(), value);
        }
    };
    put("User", json!(c.user), !c.user.is_empty());
    put("ExposedPorts", set(c.exposed_ports.iter().map(ToString::to_string).collect()).into(), !c.exposed_ports.is_empty());
    put("Env", json!(c.env), !c.env.is_empty());
    put("Entrypoint", json!(c.entrypoint), c.entrypoint.is_some());
    put("Cmd", json!(c.cmd), c.cmd.is_some());
    put("Volumes", set(c.volumes.clone()).into(), !c.volumes.is_empty());
    put("WorkingDir", json!(c.working_dir), !c.working_dir.is_empty());
    put("Labels", json!(c.labels), !c.labels.is_empty());
    put("StopSignal", json!(c.stop_signal), c.stop_signal.is_some());
    put("Shell", json!(c.shell), c.shell.is_some());
    put("OnBuild", json!(c.on_build), !c.on_build.is_empty());
    put("ArgsEscaped", json!(true), c.args_escaped);
    if let Some(h) = &c.healthcheck {
        let mut check = Map::new();
        check.insert("Test".to_owned(), json!(h.test));
        for (key, value) in
            [("Interval", h.interval), ("Timeout", h.timeout), ("StartPeriod", h.start_period), ("StartInterval", h.start_interval)]
        {
            if !value.is_zero() {
                check.insert(key.to_owned(), json!(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX)));
            }
        }
        if h.retries > 0 {
            check.insert("Retries".to_owned(), json!(h.retries));
        }
        put("Healthcheck", check.into(), true);
    }
    out.into()
}

fn history_json(h: &History) -> Value {
    let mut out = Map::new();
    if let Some(created) = h.created {
        out.insert("created".to_owned(), json!(created.to_string()));
    }
    for (key, value) in [("created_by", &h.created_by), ("author", &h.author), ("comment", &h.comment)] {
        if !value.is_empty() {
            out.insert(key.to_owned(), json!(value));
        }
    }
    if h.empty_layer {
        out.insert("empty_layer".to_owned(), json!(true));
    }
    out.into()
}

/// `os/arch[/variant]`, as `--platform` and indexes say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub architecture: String,
    /// `v8`, or empty.
    pub variant: String,
}

impl Platform {
    /// This host's.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            other => (other, ""),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// Whether something for `self` was asked for by `wanted`. arm64 means v8, as everywhere else.
    pub fn suits(&self, wanted: &Platform) -> bool {
        let variant = |p: &Platform| match (p.architecture.as_str(), p.variant.as_str()) {
            ("arm64", "" | "8") => "v8".to_owned(),
            ("arm", "") => "v7".to_owned(),
            (_, v) => v.to_owned(),
        };
        self.os == wanted.os && self.architecture == wanted.architecture && (wanted.variant.is_empty() || variant(self) == variant(wanted))
    }
}

impl std::str::FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = |a: &str| match a.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        let parts: Vec<&str> = text.split('/').collect();
        let good = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if parts.len() > 3 || !parts.iter().all(good) {
            return Err(Error::invalid(format!("{text:?} is an invalid OS or architecture: expected os/architecture[/variant]")));
        }
        let (os, architecture, variant) = match parts[..] {
            [one] if matches!(one, "linux" | "windows" | "darwin" | "freebsd") => (one.to_owned(), Platform::host().architecture, ""),
            [one] => ("linux".to_owned(), known(one), ""),
            [os, architecture] => (os.to_ascii_lowercase(), known(architecture), ""),
            [os, architecture, variant, ..] => (os.to_ascii_lowercase(), known(architecture), variant),
            [] => return Err(Error::invalid("an empty platform")),
        };
        Ok(Self { os, architecture, variant: variant.to_owned() })
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let file = ConfigFile {
            created: Some("2024-01-02T03:04:05Z".parse().unwrap()),
            architecture: "amd64".into(),
            os: "linux".into(),
            comment: "c".into(),
            config: ImageConfig {
                user: "1000:1000".into(),
                env: vec!["A=b\n".into()],
                cmd: Some(vec!["sh".into()]),
                entrypoint: Some(vec![]),
                labels: [("com.docker.compose.project".to_owned(), "x".to_owned())].into(),
                volumes: vec!["/data".into()],
                exposed_ports: vec!["80/tcp".parse().unwrap()],
                healthcheck: Some(Healthcheck {
                    test: vec!["CMD".into()],
                    interval: Duration::from_secs(3),
                    retries: 2,
                    ..Default::default()
                }),
                ..Default::default()
            },
            diff_ids: vec![Digest::of(b"a")],
            history: vec![History { created_by: "x".into(), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(ConfigFile::parse(file.to_json().as_bytes()).unwrap(), file);
    }

    #[test]
    fn nulls_are_absent_and_nonsense_is_refused() {
        let ok = r#"{"os":"linux","architecture":"amd64","config":{"Labels":null,"Env":null,"Cmd":null},"rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        assert_eq!(ConfigFile::parse(ok.as_bytes()).unwrap().config, ImageConfig::default());
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"rootfs":{"type":"x"}}"#,
            r#"{"os":"windows","rootfs":{"type":"layers"}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["../../etc"]}}"#,
            &format!(r#"{{"rootfs":{{"diff_ids":[{}]}}}}"#, vec![format!("\"{}\"", Digest::of(b"")); 501].join(",")),
            &("[".repeat(100_000)),
        ] {
            assert_eq!(ConfigFile::parse(bad.as_bytes()).unwrap_err().kind(), crate::Kind::Invalid, "{}", &bad[..bad.len().min(60)]);
        }
    }

    #[test]
    fn platforms() {
        let p = |s: &str| s.parse::<Platform>().unwrap();
        assert_eq!(p("linux/arm64"), Platform { os: "linux".into(), architecture: "arm64".into(), variant: String::new() });
        assert!(p("linux/arm64/v8").suits(&p("linux/arm64")) && p("linux/arm64").suits(&p("linux/arm64/v8")));
        assert!(!p("linux/arm/v6").suits(&p("linux/arm/v7")) && p("linux/x86_64").suits(&p("linux/amd64")));
        assert!("a/b/c/d".parse::<Platform>().is_err() && "linux//".parse::<Platform>().is_err());
    }
}
