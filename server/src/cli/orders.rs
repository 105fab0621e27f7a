//! What the subcommands ask of our API, and how they show the answer.

use super::door::Door;
use super::{AuditCommand, ContextArgs, GrantCommand, TenantCommand, TokenCommand, UserCommand, prompt, table};
use crate::config::Place;
use anyhow::{Context, bail};
use http::Method;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

type Outcome = anyhow::Result<ExitCode>;

async fn ask(place: &Place, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    Door::open(place).await?.ask(method, path, body).await
}

pub(super) async fn user(place: &Place, command: UserCommand) -> Outcome {
    match command {
        UserCommand::Add { name, admin, unix_user, password_stdin } => {
            let password = match (password_stdin, &unix_user) {
                (true, _) => Some(prompt::from_pipe()?),
                (false, Some(_)) => None,
                (false, None) => Some(prompt::twice(&name)?),
            };
            let body = json!({ "name": name, "admin": admin, "unix_user": unix_user, "password": password });
            ask(place, Method::POST, "/api/v1/users", Some(body)).await?;
            println!("{name}");
        }
        UserCommand::List(format) => {
            let users = ask(place, Method::GET, "/api/v1/users", None).await?;
            let columns = [
                ("NAME", "name"),
                ("ADMIN", "admin"),
                ("PASSWORD", "password"),
                ("UNIX UID", "unix_uid"),
                ("DISABLED", "disabled"),
                ("TENANTS", "tenants"),
                ("CREATED", "created"),
            ];
            table::print(&users, &columns, format.json);
        }
        UserCommand::Remove { name, force } => {
            ask(place, Method::DELETE, &format!("/api/v1/users/{}?force={force}", segment(&name)?), None).await?;
            println!("{name}");
        }
        UserCommand::Password { name, password_stdin, remove } => {
            let password = match (remove, password_stdin) {
                (true, _) => None,
                (false, true) => Some(prompt::from_pipe()?),
                (false, false) => Some(prompt::twice(&name)?),
            };
            let path = format!("/api/v1/users/{}/password", segment(&name)?);
            ask(place, Method::PUT, &path, Some(json!({ "password": password }))).await?;
        }
        UserCommand::Disable { name } => set_disabled(place, &name, true).await?,
        UserCommand::Enable { name } => set_disabled(place, &name, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_disabled(place: &Place, name: &str, disabled: bool) -> anyhow::Result<()> {
    let path = format!("/api/v1/users/{}/disabled", segment(name)?);
    ask(place, Method::PUT, &path, Some(json!({ "disabled": disabled }))).await?;
    Ok(())
}

pub(super) async fn token(place: &Place, command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Create { user, tenant, name, scope, expires } => {
            let body = json!({ "user": user, "tenant": tenant, "name": name, "scope": scope, "expires": expires });
            let made = ask(place, Method::POST, "/api/v1/tokens", Some(body)).await?;
            // Alone on standard output, so that a script can take it.
            println!("{}", made["token"].as_str().context("the answer held no token")?);
        }
        TokenCommand::List { user, format } => {
            let tokens = match user {
                Some(user) => ask(place, Method::GET, &format!("/api/v1/tokens?user={}", query(&user)), None).await?,
                None if nix::unistd::geteuid().is_root() => ask(place, Method::GET, "/api/v1/tokens?user=*", None).await?,
                None => ask(place, Method::GET, "/api/v1/tokens", None).await?,
            };
            let columns = [
                ("ID", "id"),
                ("NAME", "name"),
                ("USER", "user"),
                ("TENANT", "tenant"),
                ("SCOPE", "scope"),
                ("EXPIRES", "expires"),
                ("LAST USED", "used"),
            ];
            table::print(&tokens, &columns, format.json);
        }
        TokenCommand::Revoke { id } => {
            ask(place, Method::DELETE, &format!("/api/v1/tokens/{id}"), None).await?;
            println!("{id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn context(place: &Place, args: ContextArgs) -> Outcome {
    if args.list {
        let path = match args.user {
            Some(user) => format!("/api/v1/certificates?user={}", query(&user)),
            None if nix::unistd::geteuid().is_root() => "/api/v1/certificates?user=*".to_owned(),
            None => "/api/v1/certificates".to_owned(),
        };
        let columns = [
            ("ID", "id"),
            ("NAME", "name"),
            ("USER", "user"),
            ("TENANT", "tenant"),
            ("SCOPE", "scope"),
            ("EXPIRES", "expires"),
            ("LAST USED", "used"),
        ];
        table::print(&ask(place, Method::GET, &path, None).await?, &columns, false);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(id) = args.revoke {
        ask(place, Method::DELETE, &format!("/api/v1/certificates/{id}"), None).await?;
        println!("{id}");
        return Ok(ExitCode::SUCCESS);
    }
    let Some(out) = args.out else { bail!("--out is missing") };
    let body = json!({ "user": args.user, "tenant": args.tenant, "name": args.name, "scope": args.scope });
    // The folder first: a certificate that could not be written is one more to revoke.
    std::fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    let made = ask(place, Method::POST, "/api/v1/certificates", Some(body)).await?;
    let files = &made["files"];
    for (name, field, mode) in [("ca.pem", "ca", 0o644), ("cert.pem", "certificate", 0o644), ("key.pem", "key", 0o600)] {
        write(&out.join(name), files[field].as_str().with_context(|| format!("the answer held no {name}"))?, mode)?;
    }
    let folder = std::path::absolute(&out)?;
    match files["endpoint"].as_str() {
        Some(endpoint) => println!("export DOCKER_HOST={endpoint} DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={}", folder.display()),
        None => eprintln!("wharf: the files are in {}, but this server has no HTTPS (--listen none)", folder.display()),
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, content: &str, mode: u32) -> anyhow::Result<()> {
    let doing = || format!("writing {}", path.display());
    // Anew, so that a key never lands in a file that others may read.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).with_context(doing),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path).with_context(doing)?;
    file.write_all(content.as_bytes()).with_context(doing)
}

pub(super) async fn tenant(place: &Place, command: TenantCommand) -> Outcome {
    match command {
        TenantCommand::List(format) => {
            let tenants = ask(place, Method::GET, "/api/v1/tenants", None).await?;
            let columns = [
                ("ID", "id"),
                ("NAME", "name"),
                ("KIND", "kind"),
                ("FIRST UID", "uid_first"),
                ("MEMBERS", "members"),
                ("CREATED", "created"),
            ];
            table::print(&tenants, &columns, format.json);
        }
        TenantCommand::Add { name, owner } => {
            ask(place, Method::POST, "/api/v1/tenants", Some(json!({ "name": name, "owner": owner }))).await?;
            println!("{name}");
        }
        TenantCommand::Remove { name, force } => {
            ask(place, Method::DELETE, &format!("/api/v1/tenants/{}?force={force}", segment(&name)?), None).await?;
            println!("{name}");
        }
        TenantCommand::Member { name, user, role } => {
            let path = format!("/api/v1/tenants/{}/members/{}", segment(&name)?, segment(&user)?);
            ask(place, Method::PUT, &path, Some(json!({ "role": role }))).await?;
        }
        TenantCommand::RemoveMember { name, user } => {
            let path = format!("/api/v1/tenants/{}/members/{}", segment(&name)?, segment(&user)?);
            ask(place, Method::DELETE, &path, None).await?;
        }
        TenantCommand::Quota { name, cpus, memory, memory_swap, pids, disk, containers, images, volumes, networks, ports } => {
            let size = |text: Option<String>| text.as_deref().map(bytes).transpose();
            let nano_cpus = match cpus {
                None => None,
                Some(n) if n > 0.0 && n <= 4096.0 => Some(format!("{:.0}", n * 1e9).parse::<u64>()?),
                Some(n) => bail!("--cpus {n}: expected a positive number"),
            };
            let quota = json!({
                "nano_cpus": nano_cpus,
                "memory": size(memory)?,
                "memory_swap": size(memory_swap)?,
                "pids": pids,
                "disk": size(disk)?,
                "containers": containers,
                "images": images,
                "volumes": volumes,
                "networks": networks,
                "ports": ports,
            });
            ask(place, Method::PUT, &format!("/api/v1/tenants/{}/quota", segment(&name)?), Some(quota)).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn grant(place: &Place, command: GrantCommand) -> Outcome {
    match command {
        GrantCommand::Add { tenant, grant, expires } => {
            let body = json!({ "tenant": tenant, "grant": grant, "expires": expires });
            let made = ask(place, Method::POST, "/api/v1/grants", Some(body)).await?;
            println!("{}", made["id"]);
        }
        GrantCommand::List { tenant, format } => {
            let path = match tenant {
                Some(tenant) => format!("/api/v1/grants?tenant={}", query(&tenant)),
                None => "/api/v1/grants".to_owned(),
            };
            let columns = [
                ("ID", "id"),
                ("TENANT", "tenant"),
                ("GRANT", "grant"),
                ("IN FORCE", "in_force"),
                ("EXPIRES", "expires"),
                ("BY", "created_by"),
            ];
            table::print(&ask(place, Method::GET, &path, None).await?, &columns, format.json);
        }
        GrantCommand::Remove { id } => {
            ask(place, Method::DELETE, &format!("/api/v1/grants/{id}"), None).await?;
            println!("{id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn audit(place: &Place, command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::Verify => {
            let found = ask(place, Method::GET, "/api/v1/audit/verify", None).await?;
            if found["whole"] == json!(true) {
                println!("whole: {} rows", found["rows"]);
            } else {
                println!("broken: row {} or one before it was changed, removed or put in", found["broken_at"]);
                return Ok(ExitCode::FAILURE);
            }
        }
        AuditCommand::List { actor, tenant, action, denied, limit, format } => {
            let mut path = format!("/api/v1/audit?limit={limit}");
            for (name, value) in [("actor", actor), ("tenant", tenant), ("action", action)] {
                if let Some(value) = value {
                    path.push_str(&format!("&{name}={}", query(&value)));
                }
            }
            if denied {
                path.push_str("&denied=true");
            }
            let columns = [
                ("SEQ", "seq"),
                ("TIME", "time"),
                ("WHO", "actor"),
                ("VIA", "via"),
                ("TENANT", "tenant"),
                ("ACTION", "action"),
                ("OBJECT", "object"),
                ("RULE", "rule"),
                ("OUTCOME", "outcome"),
                ("ERROR", "error"),
            ];
            table::print(&ask(place, Method::GET, &path, None).await?, &columns, format.json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A name as a path's segment: names have no other characters than these, so anything else names nothing.
fn segment(name: &str) -> anyhow::Result<&str> {
    let ok = !name.is_empty()
        && !matches!(name, "." | "..")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if ok { Ok(name) } else { bail!("{name:?} is no name of a user or tenant") }
}

/// A text as a query's value.
fn query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `512m`, `8g`, as Docker writes sizes: powers of 1024.
fn bytes(text: &str) -> anyhow::Result<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match lower.chars().last() {
        Some('k') => (&lower[..lower.len() - 1], 10),
        Some('m') => (&lower[..lower.len() - 1], 20),
        Some('g') => (&lower[..lower.len() - 1], 30),
        Some('t') => (&lower[..lower.len() - 1], 40),
        _ => (lower, 0),
    };
    let number: u64 = digits.parse().with_context(|| format!("{text:?} is no size: expected a number and b, k, m, g or t"))?;
    number.checked_mul(1 << shift).with_context(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_names() {
        assert_eq!(bytes("512m").unwrap(), 512 << 20);
        assert_eq!(bytes("8GiB").unwrap(), 8 << 30);
        assert_eq!(bytes("1").unwrap(), 1);
        for wrong in ["", "m", "1.5g", "-1", "99999999999t"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert!(segment("a/b").is_err() && segment("..").is_err() && segment("").is_err());
        assert_eq!(query("a b&c=*"), "a%20b%26c%3D*");
    }
}
