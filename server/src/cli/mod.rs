//! The command line. Everything but `serve` speaks our API: over the socket of the running server, or, when none runs, to
//! the same handlers in this process on the data root (`door`).

mod doctor;
mod door;
mod orders;
mod prompt;
mod serve;

mod table;

use crate::config::{Place, ServeOptions};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A container platform many people can share.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<ServeOptions>),
    /// Users of this host
    #[command(subcommand)]
    User(UserCommand),
    /// API tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Write a client certificate for docker: ca.pem, cert.pem, key.pem
    Context(ContextArgs),
    /// Tenants: personal ones come with their users, teams are made here
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Permissions beyond the default
    #[command(subcommand)]
    Grant(GrantCommand),
    /// The audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// What this host offers, what it lacks, and what that means
    Doctor(DoctorArgs),
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user with a personal tenant
    Add {
        /// 1 to 32 small letters, digits, dots, dashes and underscores
        name: String,
        /// Administers this host
        #[arg(long)]
        admin: bool,
        /// The Unix account (name or number) that the socket takes for this user
        #[arg(long, value_name = "NAME")]
        unix_user: Option<String>,
        /// Read the password from standard input; without, one is asked for if there is a terminal and no --unix-user
        #[arg(long)]
        password_stdin: bool,
    },
    /// List users
    #[command(visible_alias = "ls")]
    List(Format),
    /// Remove a user, all their credentials and their personal tenant
    #[command(visible_alias = "rm")]
    Remove {
        /// The user
        name: String,
        /// Also stop and remove what the personal tenant holds
        #[arg(long, short)]
        force: bool,
    },
    /// Give a user another password; ends their sessions
    Password {
        /// The user
        name: String,
        /// Read it from standard input
        #[arg(long)]
        password_stdin: bool,
        /// No sign-in by password any more
        #[arg(long, conflicts_with = "password_stdin")]
        remove: bool,
    },
    /// Shut a user out at once
    Disable {
        /// The user
        name: String,
    },
    /// Let a user in again
    Enable {
        /// The user
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, once
    Create {
        /// Whose [default: your own]
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// The only tenant it speaks for
        #[arg(long, value_name = "T")]
        tenant: Option<String>,
        /// What you call it
        #[arg(long, value_name = "X", default_value = "")]
        name: String,
        /// What it may be used for
        #[arg(long, default_value = "write", value_parser = ["read", "write", "admin"])]
        scope: String,
        /// How long it lasts: 12h, 30d, 1y
        #[arg(long, value_name = "TIME", default_value = "90d")]
        expires: String,
    },
    /// List tokens
    #[command(visible_alias = "ls")]
    List {
        /// Whose; `*` for everybody's [default: everybody's for an administrator, else your own]
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Revoke a token
    #[command(visible_alias = "rm")]
    Revoke {
        /// Its number in the list
        id: i64,
    },
}

#[derive(Debug, Args)]
struct ContextArgs {
    /// Whose [default: your own]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The tenant it speaks for [default: the personal one]
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// What you call it
    #[arg(long, value_name = "X", default_value = "")]
    name: String,
    /// What it may be used for
    #[arg(long, default_value = "write", value_parser = ["read", "write", "admin"])]
    scope: String,
    /// The folder to write to
    #[arg(long, value_name = "DIR", required_unless_present_any = ["list", "revoke"])]
    out: Option<PathBuf>,
    /// List the certificates that were made
    #[arg(long, conflicts_with = "out")]
    list: bool,
    /// Revoke a certificate by its number in the list
    #[arg(long, value_name = "ID", conflicts_with_all = ["out", "list"])]
    revoke: Option<i64>,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    /// List tenants
    #[command(visible_alias = "ls")]
    List(Format),
    /// Make a team's tenant
    Add {
        /// Its name
        name: String,
        /// Its first owner
        #[arg(long, value_name = "USER")]
        owner: String,
    },
    /// Remove a team's tenant
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        name: String,
        /// Also stop and remove what it holds
        #[arg(long, short)]
        force: bool,
    },
    /// Add a member, or give one another role
    Member {
        /// The tenant
        name: String,
        /// The user
        user: String,
        /// What the user may do
        #[arg(long, default_value = "member", value_parser = ["owner", "member", "viewer"])]
        role: String,
    },
    /// Take a member out
    RemoveMember {
        /// The tenant
        name: String,
        /// The user
        user: String,
    },
    /// Set what all containers of a tenant together may use; what is left out has no limit
    Quota {
        /// The tenant
        name: String,
        /// CPUs: 1.5
        #[arg(long)]
        cpus: Option<f64>,
        /// Memory: 512m, 8g
        #[arg(long)]
        memory: Option<String>,
        /// Memory and swap together
        #[arg(long)]
        memory_swap: Option<String>,
        /// Processes
        #[arg(long)]
        pids: Option<u64>,
        /// Disk
        #[arg(long)]
        disk: Option<String>,
        /// Containers
        #[arg(long)]
        containers: Option<u64>,
        /// Images
        #[arg(long)]
        images: Option<u64>,
        /// Volumes
        #[arg(long)]
        volumes: Option<u64>,
        /// Networks
        #[arg(long)]
        networks: Option<u64>,
        /// Published ports
        #[arg(long)]
        ports: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
enum GrantCommand {
    /// Give a permission to a tenant: bind=/srv/data, device=/dev/dri, cap=NET_ADMIN, ports=80-443, network-host, privileged, …
    Add {
        /// The tenant
        #[arg(long, value_name = "T")]
        tenant: String,
        /// The permission
        #[arg(value_name = "KIND[=VALUE]")]
        grant: String,
        /// For how long: 12h, 30d [default: until removed]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// List grants
    #[command(visible_alias = "ls")]
    List {
        /// Of this tenant only
        #[arg(long, value_name = "T")]
        tenant: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Take a grant back
    #[command(visible_alias = "rm")]
    Remove {
        /// Its number in the list
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check the hash chain
    Verify,
    /// Show the newest records
    #[command(visible_alias = "ls")]
    List {
        /// By this person
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
        /// Of this tenant
        #[arg(long, value_name = "T")]
        tenant: Option<String>,
        /// This action, or all of a noun
        #[arg(long)]
        action: Option<String>,
        /// Only what was denied
        #[arg(long)]
        denied: bool,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Look for what nothing owns: mounts, links, cgroups, run folders
    #[arg(long)]
    orphans: bool,
    /// Print a systemd unit for this program and end
    #[arg(long)]
    unit: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Clone, Copy, Args)]
struct Format {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs what the arguments say. Called before any thread exists: `serve` starts the spawner first.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(options) => serve::run(&cli.place, *options),
        Command::Doctor(DoctorArgs { unit: true, .. }) => doctor::unit(&cli.place),
        command => runtime().and_then(|rt| rt.block_on(order(&cli.place, command))),
    };
    match done {
        Ok(code) => code,
        Err(e) => {
            eprintln!("wharf: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn order(place: &Place, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        // `main` runs it by itself, for it needs another runtime.
        Command::Serve(_) => Ok(ExitCode::FAILURE),
        Command::User(c) => orders::user(place, c).await,
        Command::Token(c) => orders::token(place, c).await,
        Command::Context(c) => orders::context(place, c).await,
        Command::Tenant(c) => orders::tenant(place, c).await,
        Command::Grant(c) => orders::grant(place, c).await,
        Command::Audit(c) => orders::audit(place, c).await,
        Command::Doctor(c) => doctor::run(place, c).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_issue_s_lines_are_understood() {
        for line in [
            "wharf serve --config f --data-root d --run-dir r --socket s --listen 127.0.0.1:0",
            "wharf serve --insecure-registry localhost:5000 --insecure-registry 10.0.0.0/8 --registry-mirror http://m",
            "wharf user add ada --admin --unix-user ada --password-stdin",
            "wharf token create --user ada --tenant t --name x --expires 30d",
            "wharf context --user ada --tenant t --out /tmp/x",
            "wharf grant add --tenant t bind=/srv --expires 30d",
            "wharf grant list",
            "wharf grant remove 3",
            "wharf doctor --orphans --json",
            "wharf audit verify",
            "wharf user list --data-root /x",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
}
