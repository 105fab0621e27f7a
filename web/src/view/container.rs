//! Pages about containers.

use super::page::{Choice, Column, Page};
use super::piece::{Badge, Fact, Field, Meter, When};
use askama::Template;

/// The list.
#[derive(Template)]
#[template(path = "containers.html")]
#[allow(missing_docs)]
pub struct ContainerList {
    pub page: Page,
    pub rows: Vec<ContainerRow>,
    /// Filters by state.
    pub chips: Vec<Choice>,
    /// Name, image, status and age, in the table's order.
    pub columns: Vec<Column>,
    /// What was searched for.
    pub query: String,
    /// The state filter that is on, kept when searching.
    pub state: String,
    /// The sort order that is on, kept when searching.
    pub sort: String,
    /// How many there are without filters.
    pub total: usize,
}

/// One row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ContainerRow {
    pub id: String,
    pub href: String,
    pub name: String,
    pub badge: Badge,
    pub image: String,
    pub image_href: String,
    pub ports: Vec<PortLink>,
    /// `Up 3 h`, `Exited 2 min ago`.
    pub status: When,
    pub created: When,
    pub up: bool,
    pub paused: bool,
}

/// A published port.
#[derive(Debug, Clone)]
pub struct PortLink {
    /// Address to open; empty for what no browser opens (UDP).
    pub href: String,
    /// `8080 → 80`.
    pub text: String,
}

/// Name, state and actions over every page of one container.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ContainerHead {
    pub href: String,
    pub name: String,
    pub id: String,
    pub badge: Badge,
    pub image: String,
    /// `Up 3 h`.
    pub status: String,
    /// overview, logs, shell, inspect.
    pub tab: &'static str,
    pub up: bool,
    pub paused: bool,
}

impl ContainerHead {
    /// `aria-current` for a tab.
    pub fn current(&self, tab: &str) -> &'static str {
        if self.tab == tab { "page" } else { "" }
    }
}

/// What it is and how it does.
#[derive(Template)]
#[template(path = "container.html")]
#[allow(missing_docs)]
pub struct ContainerOverview {
    pub page: Page,
    pub head: ContainerHead,
    /// Why it could not start, or what else a person should know; empty: nothing.
    pub trouble: String,
    pub facts: Vec<Fact>,
    pub process: Vec<Fact>,
    pub limits: Vec<Fact>,
    pub usage: Vec<Meter>,
    pub ports: Vec<PortLink>,
    pub exposed: Vec<String>,
    pub networks: Vec<NetworkRow>,
    pub mounts: Vec<MountRow>,
    pub env: Vec<EnvRow>,
    /// Whether secrets are shown.
    pub revealed: bool,
    pub labels: Vec<(String, String)>,
    pub health: Vec<ProbeRow>,
    pub processes: Option<Processes>,
}

/// A network it is in.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NetworkRow {
    pub href: String,
    pub name: String,
    pub address: String,
    pub mac: String,
    pub aliases: String,
}

/// A mount.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct MountRow {
    pub target: String,
    pub kind: String,
    pub source: String,
    pub source_href: String,
    pub mode: &'static str,
}

/// An environment variable.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct EnvRow {
    pub name: String,
    pub value: String,
    pub masked: bool,
}

/// One health probe.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ProbeRow {
    pub when: When,
    pub badge: Badge,
    pub output: String,
}

/// The process table.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Processes {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Its log.
#[derive(Template)]
#[template(path = "container_logs.html")]
#[allow(missing_docs)]
pub struct ContainerLogs {
    pub page: Page,
    pub head: ContainerHead,
    pub lines: Vec<LogRow>,
    /// Where the live lines come from.
    pub socket: String,
    /// Time of the last line shown; live lines come after it.
    pub cursor: String,
    /// How many lines were asked for.
    pub tail: usize,
    /// 100, 500, 2000.
    pub tails: Vec<Choice>,
    pub query: String,
    /// Logs of earlier containers of this name: address, words.
    pub earlier: Vec<(String, String)>,
    /// Said where the log would be when it cannot be read; empty: it can.
    pub unreadable: String,
}

/// One line of a log.
#[derive(Debug, Clone)]
pub struct LogRow {
    /// RFC 3339 with nanoseconds.
    pub exact: String,
    /// `14:02:11.123`.
    pub time: String,
    /// Standard error.
    pub error: bool,
    /// Whether it is the one that was looked for.
    pub marked: bool,
    /// Made by `ansi::Converter`: escaped there.
    pub html: String,
}

/// Its shell.
#[derive(Template)]
#[template(path = "container_shell.html")]
#[allow(missing_docs)]
pub struct ContainerShell {
    pub page: Page,
    pub head: ContainerHead,
    pub user: Field,
    pub command: Field,
    pub folder: Field,
    /// Where tickets come from.
    pub ticket: String,
    /// Where the terminal's bytes go.
    pub socket: String,
}

/// All we know of it, as JSON.
#[derive(Template)]
#[template(path = "container_inspect.html")]
#[allow(missing_docs)]
pub struct ContainerInspect {
    pub page: Page,
    pub head: ContainerHead,
    /// Made by `json::highlight`: escaped there.
    pub html: String,
    pub text: String,
}

/// The form that makes one.
#[derive(Template)]
#[template(path = "container_new.html")]
#[allow(missing_docs)]
pub struct ContainerNew {
    pub page: Page,
    pub form: ContainerForm,
    /// Names of images that are here.
    pub images: Vec<String>,
    /// (value, name, what it is, chosen).
    pub sizes: Vec<(String, String, String, bool)>,
    /// What is wrong with the whole; empty: nothing.
    pub error: String,
}

/// Its fields.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ContainerForm {
    pub image: Field,
    pub name: Field,
    pub command: Field,
    pub ports: Field,
    pub env: Field,
    pub mounts: Field,
    pub network: Field,
    pub restart: Field,
    pub memory: Field,
    pub cpus: Field,
    pub user: Field,
    pub folder: Field,
    pub labels: Field,
    pub tty: Field,
    pub read_only: Field,
    pub auto_remove: Field,
    pub start: Field,
}

impl ContainerForm {
    /// The empty form.
    pub fn new(networks: Vec<(String, String)>) -> Self {
        let words = |pairs: &[(&str, &str)]| pairs.iter().map(|(v, w)| ((*v).to_owned(), (*w).to_owned())).collect();
        Self {
            image: Field::new("image", "Image")
                .required()
                .mono()
                .example("nginx:alpine")
                .suggestions("images")
                .focus()
                .hint("A name with or without a tag. It is pulled if it isn't here yet."),
            name: Field::new("name", "Name").mono().example("made up if left empty"),
            command: Field::new("command", "Command")
                .mono()
                .example("the image's own")
                .hint("As you would type it in a shell: quotes work, variables don't."),
            ports: Field::area("ports", "Published ports", 3)
                .example("8080:80\n127.0.0.1:5432:5432\n53:53/udp")
                .hint("One a line: host port, container port. Ports from 1024 up need no permission."),
            env: Field::area("env", "Environment", 4).example("NODE_ENV=production\nLOG_LEVEL=info").hint("NAME=value, one a line."),
            mounts: Field::area("mounts", "Volumes", 3)
                .example("data:/var/lib/data\nconfig:/etc/app:ro")
                .hint("Volume or folder, path in the container, one a line. A volume that isn't there is made."),
            network: Field::select("network", "Network", networks),
            restart: Field::select(
                "restart",
                "When it exits",
                words(&[
                    ("no", "Leave it"),
                    ("on-failure", "Restart if it failed"),
                    ("unless-stopped", "Restart unless stopped"),
                    ("always", "Always restart"),
                ]),
            ),
            memory: Field::new("memory", "Memory").mono().example("512m").hint("Its processes are killed above it."),
            cpus: Field::new("cpus", "CPUs").mono().example("1.5"),
            user: Field::new("user", "User").mono().example("the image's own"),
            folder: Field::new("folder", "Working folder").mono().example("the image's own"),
            labels: Field::area("labels", "Labels", 2).example("team=web").hint("NAME=value, one a line."),
            tty: Field::check("tty", "Terminal").hint("For programs that want one, such as shells."),
            read_only: Field::check("read_only", "Read-only root").hint("Writes go to volumes only."),
            auto_remove: Field::check("auto_remove", "Remove when it exits"),
            start: Field::check("start", "Start it now").with("1"),
        }
    }

    /// Every field, to fill in and to check.
    pub fn fields(&mut self) -> [&mut Field; 17] {
        [
            &mut self.image,
            &mut self.name,
            &mut self.command,
            &mut self.ports,
            &mut self.env,
            &mut self.mounts,
            &mut self.network,
            &mut self.restart,
            &mut self.memory,
            &mut self.cpus,
            &mut self.user,
            &mut self.folder,
            &mut self.labels,
            &mut self.tty,
            &mut self.read_only,
            &mut self.auto_remove,
            &mut self.start,
        ]
    }
}
