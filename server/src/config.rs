//! What can be configured: built-in, then the file, then the environment, then flags; the later wins. The outcome is a
//! checked `Config`, and nothing past this point reads the environment.

use clap::Args;
use engine::log::Retention;
use engine::tenant::Pool;
use engine::{Error, Result};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file that is read when none is named; it need not exist.
pub const DEFAULT_FILE: &str = "/etc/wharf/wharf.toml";
/// Loopback: an administrator chooses to be reachable.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);
/// The pool of uid blocks (DESIGN 4): clear of what distributions and useradd give out, below the kernel's reserved end.
const DEFAULT_UIDS: (u32, u32) = (1_879_048_192, 2_147_352_575);

/// A day: what was removed by mistake is missed by then.
const DEFAULT_TRASH: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything lasting lies.
    pub data_root: PathBuf,
    /// Sockets and shims' facts.
    pub run_dir: PathBuf,
    /// The main Unix socket.
    pub socket: PathBuf,
    /// HTTPS. Empty: none.
    pub listen: Vec<SocketAddr>,
    /// More names for the built-in CA's certificate.
    pub tls_names: Vec<String>,
    /// The administrator's own certificate and key.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// Registries without TLS: `host[:port]` or CIDR.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, tried in order.
    pub registry_mirrors: Vec<String>,
    /// Hosts that may hand out tokens for registries of another domain.
    pub token_hosts: Vec<String>,
    /// Whether Unix accounts without a user get one when they first call.
    pub auto_provision: bool,
    /// First and last uid of the pool.
    pub uid_pool: (u32, u32),
    /// Zygotes kept ready per tenant in use.
    pub zygotes: usize,
    /// How many days logs of removed containers are kept; 0: not at all.
    pub keep_logs_days: u32,
    /// How many bytes of such logs a tenant has at most.
    pub keep_logs_bytes: u64,
    /// Where networks get their subnets when nobody names one.
    pub address_pools: Vec<engine::network::AddressPool>,
    /// How long removed volumes can be restored; zero: not at all.
    pub trash: std::time::Duration,
    /// tracing's filter.
    pub log: String,
}

/// Where the server's files are: what every subcommand needs to find it.
#[derive(Debug, Clone, Default, Args)]
pub struct Place {
    /// Configuration file [default: /etc/wharf/wharf.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "WHARF_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Where images, containers, volumes and the database lie [default: /var/lib/wharf]
    #[arg(long, value_name = "DIR", env = "WHARF_DATA_ROOT", global = true)]
    pub data_root: Option<PathBuf>,
    /// Where sockets and the facts of running containers lie [default: /run/wharf]
    #[arg(long, value_name = "DIR", env = "WHARF_RUN_DIR", global = true)]
    pub run_dir: Option<PathBuf>,
    /// The Unix socket [default: <run-dir>/wharf.sock]
    #[arg(long, value_name = "PATH", env = "WHARF_SOCKET", global = true)]
    pub socket: Option<PathBuf>,
}

/// What only `serve` needs.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeOptions {
    /// HTTPS address and port, may be repeated; `none` for no HTTPS [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR:PORT", env = "WHARF_LISTEN", value_delimiter = ',')]
    pub listen: Option<Vec<String>>,
    /// A further host name or address for the built-in CA's certificate, may be repeated
    #[arg(long, value_name = "NAME", env = "WHARF_TLS_NAME", value_delimiter = ',')]
    pub tls_name: Option<Vec<String>>,
    /// Your own certificate chain (PEM) in place of the built-in CA's
    #[arg(long, value_name = "FILE", env = "WHARF_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", env = "WHARF_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// A registry spoken to without TLS, may be repeated
    #[arg(long, value_name = "HOST[:PORT]|CIDR", env = "WHARF_INSECURE_REGISTRY", value_delimiter = ',')]
    pub insecure_registry: Option<Vec<String>>,
    /// A mirror of Docker Hub, may be repeated
    #[arg(long, value_name = "URL", env = "WHARF_REGISTRY_MIRROR", value_delimiter = ',')]
    pub registry_mirror: Option<Vec<String>>,
    /// A host that may hand out tokens for registries of another domain, may be repeated
    #[arg(long, value_name = "HOST", env = "WHARF_TOKEN_HOST", value_delimiter = ',')]
    pub token_host: Option<Vec<String>>,
    /// Give every Unix account (uid 1000 and up) a user when it first calls [default: false]
    #[arg(long, value_name = "BOOL", env = "WHARF_AUTO_PROVISION", num_args = 0..=1, default_missing_value = "true")]
    pub auto_provision: Option<bool>,
    /// First and last host uid for tenants' blocks [default: 1879048192-2147352575]
    #[arg(long, value_name = "FIRST-LAST", env = "WHARF_UID_POOL")]
    pub uid_pool: Option<String>,
    /// Processes kept ready per tenant in use, for fast starts [default: 2]
    #[arg(long, value_name = "N", env = "WHARF_ZYGOTES")]
    pub zygotes: Option<usize>,
    /// Days that logs of removed containers are kept; 0: they go with their container [default: 7]
    #[arg(long, value_name = "DAYS", env = "WHARF_KEEP_LOGS_DAYS")]
    pub keep_logs_days: Option<u32>,
    /// Bytes of such logs that a tenant has at most, with `k`, `m` or `g`; the oldest go first [default: 1g]
    #[arg(long, value_name = "SIZE", env = "WHARF_KEEP_LOGS_BYTES")]
    pub keep_logs_bytes: Option<String>,
    /// Where networks get their subnets when nobody names one, may be repeated [default: 172.17-31.0.0/20, 192.168.0.0/24]
    #[arg(long, value_name = "base=CIDR,size=N", env = "WHARF_DEFAULT_ADDRESS_POOL", value_delimiter = ';')]
    pub default_address_pool: Option<Vec<String>>,
    /// How long removed volumes can be restored, such as 24h or 7d; 0: not at all [default: 24h]
    #[arg(long, value_name = "TIME", env = "WHARF_TRASH")]
    pub trash: Option<String>,
    /// What to log: a level, or a filter such as `info,wharf=debug` [default: info]
    #[arg(long, value_name = "FILTER", env = "WHARF_LOG")]
    pub log: Option<String>,
}

/// The file: the same names with underscores, plural where there may be several.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_root: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    listen: Option<Several>,
    tls_names: Option<Several>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    insecure_registries: Option<Several>,
    registry_mirrors: Option<Several>,
    token_hosts: Option<Several>,
    auto_provision: Option<bool>,
    uid_pool: Option<String>,
    zygotes: Option<usize>,
    keep_logs_days: Option<u32>,
    keep_logs_bytes: Option<String>,
    default_address_pools: Option<Several>,
    trash: Option<String>,
    log: Option<String>,
}

/// One text or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Several {
    One(String),
    Many(Vec<String>),
}

impl From<Several> for Vec<String> {
    fn from(several: Several) -> Self {
        match several {
            Several::One(text) => vec![text],
            Several::Many(texts) => texts,
        }
    }
}

impl Config {
    /// Puts the layers together.
    ///
    /// # Errors
    /// `Invalid`, naming the file or option and what is wrong with it.
    pub fn load(place: &Place, options: ServeOptions) -> Result<Self> {
        let file = read_file(place.config.as_deref())?;
        let data_root = place.data_root.clone().or(file.data_root).unwrap_or_else(|| engine::DEFAULT_DATA_ROOT.into());
        let data_root = absolute(&data_root)?;
        let run_dir = match place.run_dir.clone().or(file.run_dir) {
            Some(dir) => absolute(&dir)?,
            None => default_run_dir(&data_root),
        };
        let socket = match place.socket.clone().or(file.socket) {
            Some(socket) => absolute(&socket)?,
            None => run_dir.join("wharf.sock"),
        };
        // sun_path has 108 bytes with its NUL, and the name it is bound under first has four more (unix(7)).
        if socket.as_os_str().len() > 103 {
            return Err(Error::invalid(format!(
                "the socket's path {} is longer than 103 bytes: choose another --socket",
                socket.display()
            )));
        }
        let listen = options.listen.or(file.listen.map(Vec::from));
        let tls_files = match (options.tls_cert.or(file.tls_cert), options.tls_key.or(file.tls_key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Error::invalid("tls_cert and tls_key go together: one of them is missing")),
        };
        Ok(Self {
            data_root,
            run_dir,
            socket,
            listen: listen.map_or(Ok(vec![DEFAULT_LISTEN]), |texts| addresses(&texts))?,
            tls_names: options.tls_name.or(file.tls_names.map(Vec::from)).unwrap_or_default(),
            tls_files,
            insecure_registries: options.insecure_registry.or(file.insecure_registries.map(Vec::from)).unwrap_or_default(),
            registry_mirrors: options.registry_mirror.or(file.registry_mirrors.map(Vec::from)).unwrap_or_default(),
            token_hosts: options.token_host.or(file.token_hosts.map(Vec::from)).unwrap_or_default(),
            auto_provision: options.auto_provision.or(file.auto_provision).unwrap_or(false),
            uid_pool: options.uid_pool.or(file.uid_pool).map_or(Ok(DEFAULT_UIDS), |text| uid_pool(&text))?,
            zygotes: options.zygotes.or(file.zygotes).unwrap_or(2),
            keep_logs_days: options.keep_logs_days.or(file.keep_logs_days).unwrap_or(7),
            keep_logs_bytes: options.keep_logs_bytes.or(file.keep_logs_bytes).map_or(Ok(1 << 30), |text| kept_bytes(&text))?,
            address_pools: options
                .default_address_pool
                .or(file.default_address_pools.map(Vec::from))
                .unwrap_or_default()
                .iter()
                .map(|pool| pool.parse())
                .collect::<Result<_>>()?,
            trash: options.trash.or(file.trash).map_or(Ok(DEFAULT_TRASH), |text| duration(&text))?,
            log: options.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
        })
    }
}

impl Config {
    /// The pool of uid blocks.
    pub fn pool(&self) -> Pool {
        let (first, last) = self.uid_pool;
        Pool { first, last, ..Pool::default() }
    }

    /// How long logs of removed containers are kept.
    pub fn kept_logs(&self) -> Retention {
        Retention { age: jiff::SignedDuration::from_hours(i64::from(self.keep_logs_days) * 24), bytes: self.keep_logs_bytes }
    }
}

fn read_file(named: Option<&Path>) -> Result<File> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if named.is_none() && e.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(e) => return Err(Error::invalid(format!("reading the configuration {}: {e}", path.display()))),
    };
    toml::from_str(&text).map_err(|e| Error::invalid(format!("the configuration {}: {e}", path.display())))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::invalid(format!("the path {:?}: {e}", path.display())))
}

/// `/run/wharf` for the default data root; for another, one that carries its tag, so that instances do not meet there.
fn default_run_dir(data_root: &Path) -> PathBuf {
    if data_root == Path::new(engine::DEFAULT_DATA_ROOT) {
        return "/run/wharf".into();
    }
    // The same tag as the engine's where the folder exists already; links in the way would only give another, equally good one.
    let real = data_root.canonicalize().unwrap_or_else(|_| data_root.to_owned());
    let tag = engine::Digest::of(real.as_os_str().as_encoded_bytes()).hex();
    format!("/run/wharf-{}", &tag[..5]).into()
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>> {
    if texts.iter().any(|t| t == "none") {
        return if texts.len() == 1 { Ok(Vec::new()) } else { Err(Error::invalid("--listen none stands alone")) };
    }
    let one = |text: &String| {
        text.parse().map_err(|_| Error::invalid(format!("--listen {text:?}: expected ADDRESS:PORT, such as 0.0.0.0:8443 or [::]:8443")))
    };
    texts.iter().map(one).collect()
}

fn kept_bytes(text: &str) -> Result<u64> {
    web::format::parse_bytes(text)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| Error::invalid(format!("keep_logs_bytes {text:?}: expected bytes, such as 500m or 2g")))
}

/// `0`, or a number of minutes, hours or days: `90m`, `24h`, `7d`.
fn duration(text: &str) -> Result<std::time::Duration> {
    let text = text.trim();
    let wrong = || Error::invalid(format!("the time {text:?}: expected 0, or a number with m, h or d, such as 24h"));
    if text == "0" {
        return Ok(std::time::Duration::ZERO);
    }
    let unit = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(std::time::Duration::from_secs(number.checked_mul(unit).ok_or_else(wrong)?))
}

fn uid_pool(text: &str) -> Result<(u32, u32)> {
    let parsed = text.split_once('-').and_then(|(a, b)| Some((a.trim().parse::<u32>().ok()?, b.trim().parse::<u32>().ok()?)));
    match parsed {
        Some((first, last)) if first >= 65_536 && last > first && last - first >= 65_535 => Ok((first, last)),
        _ => Err(Error::invalid(format!("uid pool {text:?}: expected FIRST-LAST, from 65536 up, with room for 65,536 ids or more"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, place: Place, options: ServeOptions) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wharf.toml");
        std::fs::write(&file, toml).unwrap();
        Config::load(&Place { config: Some(file), ..place }, options)
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("0", 0), ("90m", 5400), ("24h", 86_400), ("7d", 604_800), ("0h", 0)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in ["", "24", "h", "-1h", "1.5h", "1y", "99999999999999999999d", "999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_anything_the_design_s_defaults_hold() {
        let config = load("", Place::default(), ServeOptions::default()).unwrap();
        assert_eq!(config.socket, Path::new("/run/wharf/wharf.sock"));
        assert_eq!(config.listen, ["127.0.0.1:8443".parse().unwrap()]);
        assert_eq!(config.uid_pool, (1_879_048_192, 2_147_352_575));
        assert!(!config.auto_provision);
        assert_eq!(config.kept_logs(), Retention::default());
    }

    #[test]
    fn flags_win_over_the_file() {
        let toml = "data_root = '/srv/w'\nlisten = ['0.0.0.0:1', '[::]:1']\nregistry_mirrors = 'http://m'\nauto_provision = true";
        let config = load(toml, Place::default(), ServeOptions::default()).unwrap();
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.registry_mirrors, ["http://m"]);
        assert!(config.auto_provision);
        assert!(config.run_dir.to_str().unwrap().starts_with("/run/wharf-"), "{:?}", config.run_dir);
        let options = ServeOptions { listen: Some(vec!["none".into()]), auto_provision: Some(false), ..Default::default() };
        let place = Place { run_dir: Some("/run/x".into()), ..Default::default() };
        let config = load(toml, place, options).unwrap();
        assert!(config.listen.is_empty() && !config.auto_provision);
        assert_eq!(config.socket, Path::new("/run/x/wharf.sock"));
    }

    #[test]
    fn mistakes_are_named() {
        let text = |toml: &str| load(toml, Place::default(), ServeOptions::default()).unwrap_err().to_string();
        assert!(text("colour = 'red'").contains("colour"));
        assert!(text("listen = 'here'").contains("expected ADDRESS:PORT"));
        assert!(text("keep_logs_bytes = 'much'").contains("such as 500m"));
        assert!(text("uid_pool = '1000-2000'").contains("from 65536 up"));
        assert!(text("tls_cert = '/x'").contains("go together"));
        let missing = Config::load(&Place { config: Some("/nowhere.toml".into()), ..Default::default() }, ServeOptions::default());
        assert!(missing.unwrap_err().to_string().contains("/nowhere.toml"));
    }
}
