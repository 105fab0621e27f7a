//! Every page with made-up content. `say` is applied to each text that comes from people or containers: the preview leaves it
//! as it is, the test makes it hostile.

use web::Template;
use web::view::account::*;
use web::view::admin::*;
use web::view::container::*;
use web::view::door::*;
use web::view::home::*;
use web::view::image::*;
use web::view::log::*;
use web::view::message::*;
use web::view::network::*;
use web::view::operation::*;
use web::view::page::{Choice, Column};
use web::view::search::*;
use web::view::trash::*;
use web::view::volume::*;
use web::view::*;

type Say<'a> = &'a dyn Fn(&str) -> String;

fn page(theme: &'static str, title: &str, section: &'static str, say: Say) -> Page {
    Page {
        title: say(title),
        section,
        person: Some(Person { name: say("anna"), tenant: say("anna"), tenants: vec![], admin: true }),
        theme,
        csrf: say("token"),
        flash: None,
        running: 1,
        here: say("/ui/x"),
        base: "/ui/t/anna".into(),
    }
}

fn when(text: &str, say: Say) -> When {
    When { exact: "2026-11-24T08:33:34Z".into(), text: say(text) }
}

fn container(id: &str, name: &str, image: &str, badge: Badge, status: &str, ports: &[&str], say: Say) -> ContainerRow {
    let up = status.starts_with("Up");
    ContainerRow {
        id: say(id),
        href: format!("/ui/t/anna/containers/{}", web::view::piece::segment(&say(name))),
        name: say(name),
        badge,
        image: say(image),
        image_href: "/ui/t/anna/images/x".into(),
        ports: ports
            .iter()
            .map(|p| PortLink { href: if p.contains("udp") { String::new() } else { "http://host:8080".into() }, text: say(p) })
            .collect(),
        status: when(status, say),
        created: when("3 days ago", say),
        up,
        paused: false,
    }
}

fn containers(say: Say) -> Vec<ContainerRow> {
    let c = |id, name, image, state: &str, code, health: &str, status, ports: &[&str]| {
        container(id, name, image, Badge::container(&say(state), code, code == 137, health), status, ports, say)
    };
    vec![
        c("8f3a1c2b7d90", "shop-web", "nginx:1.29-alpine", "running", 0, "healthy", "Up 3 days", &["8080 → 80", "8443 → 443"]),
        c("1b7de09c4a11", "shop-app", "registry.example/shop/app:2.14.0", "running", 0, "unhealthy", "Up 2 h", &["1337 → 1337"]),
        c("77aa10b2c3d4", "shop-db", "postgres:17", "running", 0, "starting", "Up 12 s", &["127.0.0.1:5432 → 5432"]),
        c("e01f22c9b8a7", "resolver", "coredns/coredns:1.12", "running", 0, "", "Up 6 weeks", &["5353 → 53/udp"]),
        c("9a8b7c6d5e4f", "nightly-report", "python:3.13-slim", "exited", 0, "", "Exited 5 h ago", &[]),
        c("4c5d6e7f8091", "thumbnailer", "ghcr.io/anna/thumbs:main", "exited", 137, "", "Exited 21 min ago", &[]),
        c("2233445566aa", "migrate", "registry.example/shop/app:2.14.0", "exited", 2, "", "Exited 2 h ago", &[]),
        c("bb00cc11dd22", "scratch", "alpine:3.22", "created", 0, "", "Never started", &[]),
    ]
}

fn head(tab: &'static str, say: Say) -> ContainerHead {
    ContainerHead {
        href: "/ui/t/anna/containers/shop-web".into(),
        name: say("shop-web"),
        id: say("8f3a1c2b7d90"),
        badge: Badge::container("running", 0, false, "healthy"),
        image: say("nginx:1.29-alpine"),
        status: say("Up 3 days"),
        tab,
        up: true,
        paused: false,
    }
}

fn operations(say: Say) -> Vec<OperationRow> {
    let row = |id: &str, title: &str, badge, percent, running, error: &str| OperationRow {
        href: format!("/ui/t/anna/operations/{id}"),
        id: id.into(),
        title: say(title),
        badge,
        percent,
        owner: say("anna"),
        started: when("12 s ago", say),
        took: say("12 s"),
        running,
        error: say(error),
    };
    vec![
        row("7", "Pull node:20-alpine", Badge::new("running", "◐", Tone::Live), Some(62), true, ""),
        row("6", "Pull postgres:17", Badge::new("done", "✓", Tone::Ok), None, false, ""),
        row("5", "Pull ghcr.io/anna/private:1", Badge::new("failed", "✕", Tone::Err), None, false, "the registry refused: denied"),
    ]
}

fn columns(names: &[&'static str]) -> Vec<Column> {
    names
        .iter()
        .enumerate()
        .map(|(i, text)| Column { href: "?sort=x".into(), text, sort: if i == 0 { "ascending" } else { "none" } })
        .collect()
}

fn choice(text: &str, count: &str, chosen: bool) -> Choice {
    Choice { href: "?state=x".into(), text: text.into(), count: count.into(), chosen }
}

/// Name and HTML of every page.
pub fn pages(theme: &'static str, say: Say) -> Result<Vec<(&'static str, String)>, web::view::RenderError> {
    let page = |title: &str, section| page(theme, title, section, say);
    let labels = vec![(say("com.docker.compose.project"), say("shop")), (say("com.docker.compose.service"), say("web"))];
    let mut out = Vec::new();
    out.push((
        "home",
        Home {
            page: page("Home", "home"),
            figures: [("4", "running"), ("4", "not running"), ("7", "images"), ("3", "volumes"), ("2", "networks")]
                .map(|(number, text)| Figure { href: "/".into(), number: number.into(), text: text.into() })
                .into(),
            attention: vec![
                Attention {
                    href: "/x".into(),
                    name: say("shop-app"),
                    badge: Badge::container("running", 0, false, "unhealthy"),
                    why: say("health check failed 3 times: connection refused"),
                },
                Attention {
                    href: "/x".into(),
                    name: say("thumbnailer"),
                    badge: Badge::container("exited", 137, true, ""),
                    why: say("killed at its memory limit of 256 MiB, 21 min ago"),
                },
            ],
            containers: containers(say).into_iter().take(5).collect(),
            operations: operations(say),
            quota: vec![
                Meter { label: "Memory".into(), text: "1.4 GiB of 4 GiB".into(), percent: Some(35) },
                Meter { label: "CPU".into(), text: "1.5 of 2".into(), percent: Some(75) },
                Meter { label: "Disk".into(), text: "18.6 GB of 20 GB".into(), percent: Some(93) },
                Meter { label: "Processes".into(), text: "112, no limit".into(), percent: None },
            ],
            host: vec![
                Fact::new("Kernel", Value::Text(say("6.18.0"))),
                Fact::new("CPUs", Value::Text("2".into())),
                Fact::new("Memory", Value::Text("24 GiB".into())),
                Fact::new("Control groups", Value::Text("v2".into())),
            ],
            events: ["started", "pulled", "was killed at its memory limit"]
                .map(|text| Happened { when: when("2 min ago", say), text: text.into(), object: say("shop-web"), href: "/x".into() })
                .into(),
        }
        .render()?,
    ));
    out.push((
        "containers",
        ContainerList {
            page: Page { flash: Some(Flash { tone: Tone::Ok, text: say("Stopped 3 containers.") }), ..page("Containers", "containers") },
            rows: containers(say),
            chips: vec![
                choice("All", "8", true),
                choice("Running", "4", false),
                choice("Failed", "2", false),
                choice("Exited", "1", false),
                choice("Created", "1", false),
            ],
            columns: columns(&["Name", "State", "Image", "Status"]),
            query: say(""),
            state: say("running"),
            sort: say("name"),
            total: 8,
        }
        .render()?,
    ));
    out.push((
        "containers-empty",
        ContainerList {
            page: page("Containers", "containers"),
            rows: vec![],
            chips: vec![],
            columns: vec![],
            query: String::new(),
            state: String::new(),
            sort: String::new(),
            total: 0,
        }
        .render()?,
    ));
    let mut form = ContainerForm::new(vec![("bridge".into(), "bridge".into()), (say("shop"), say("shop"))]);
    form.image.value = say("nginx:1.29-alpine");
    form.ports.value = say("80:80");
    form.ports.wrong(say("port 80 needs a grant: ports from 1024 up are free, or ask an administrator for host-port=80"));
    out.push((
        "container-new",
        ContainerNew {
            page: page("New container", "containers"),
            form,
            images: vec![say("nginx:1.29-alpine")],
            sizes: [
                ("s", "Small", "256 MiB, 0.5 CPU"),
                ("m", "Medium", "1 GiB, 1 CPU"),
                ("l", "Large", "4 GiB, 2 CPU"),
                ("", "Other", "as written below"),
            ]
            .map(|(v, n, w)| (v.into(), n.into(), w.into(), v == "m"))
            .into(),
            error: String::new(),
        }
        .render()?,
    ));
    out.push((
        "container",
        ContainerOverview {
            page: page("shop-web", "containers"),
            head: head("overview", say),
            trouble: say(""),
            facts: vec![
                Fact::new("Id", Value::Copy(say("8f3a1c2b7d90e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80912"))),
                Fact::new("Image", Value::Link("/x".into(), say("nginx:1.29-alpine"))),
                Fact::new("Made", Value::When(when("3 days ago by anna", say))),
                Fact::new("Restarts", Value::Text("unless stopped; restarted 2 times".into())),
            ],
            process: vec![
                Fact::new("Command", Value::Code(say("/docker-entrypoint.sh nginx -g 'daemon off;'"))),
                Fact::new("User", Value::Code(say("nginx"))),
                Fact::new("Working folder", Value::Code(say("/"))),
                Fact::new("On the host", Value::Text("process 41207, uids from 1879113728".into())),
            ],
            limits: vec![
                Fact::new("Memory", Value::Text("512 MiB".into())),
                Fact::new("CPUs", Value::Text("1".into())),
                Fact::new("Processes", Value::Nothing("the tenant's")),
                Fact::new("Capabilities", Value::Tags(vec![say("-NET_RAW")])),
            ],
            usage: vec![
                Meter { label: "Memory".into(), text: "41.2 MiB of 512 MiB".into(), percent: Some(8) },
                Meter { label: "CPU".into(), text: "2.1 % of 1 CPU".into(), percent: Some(2) },
                Meter { label: "Network".into(), text: "12.4 MB in, 311 MB out".into(), percent: None },
            ],
            ports: vec![
                PortLink { href: "http://h:8080".into(), text: say("8080 → 80") },
                PortLink { href: String::new(), text: say("5353 → 53/udp") },
            ],
            exposed: vec![],
            networks: vec![NetworkRow {
                href: "/x".into(),
                name: say("shop"),
                address: say("10.88.3.2"),
                mac: say("02:42:0a:58:03:02"),
                aliases: say("web"),
            }],
            mounts: vec![
                MountRow {
                    target: say("/usr/share/nginx/html"),
                    kind: "volume".into(),
                    source: say("shop-assets"),
                    source_href: "/x".into(),
                    mode: "read, write",
                },
                MountRow {
                    target: say("/etc/nginx/nginx.conf"),
                    kind: "folder".into(),
                    source: say("/home/anna/shop/nginx.conf"),
                    source_href: String::new(),
                    mode: "read only",
                },
            ],
            env: vec![
                EnvRow { name: say("NGINX_VERSION"), value: say("1.29.3"), masked: false },
                EnvRow { name: say("DATABASE_PASSWORD"), value: String::new(), masked: true },
            ],
            revealed: false,
            labels: labels.clone(),
            health: vec![ProbeRow {
                when: when("12 s ago", say),
                badge: Badge::new("healthy", "✓", Tone::Ok),
                output: say("HTTP/1.1 200 OK"),
            }],
            processes: Some(Processes {
                titles: ["UID", "PID", "STIME", "CMD"].map(String::from).into(),
                rows: vec![
                    ["101", "41207", "08:12", "nginx: master process nginx -g daemon off;"].map(say).into(),
                    ["101", "41230", "08:12", "nginx: worker process"].map(say).into(),
                ],
            }),
        }
        .render()?,
    ));
    let mut ansi = web::ansi::Converter::default();
    let lines = [
        (false, "\x1b[32m/docker-entrypoint.sh\x1b[0m: Configuration complete; ready for start up"),
        (true, "2026/11/24 08:12:31 [notice] 1#1: nginx/1.29.3"),
        (
            false,
            "10.88.3.1 - - [24/Nov/2026:08:33:02 +0000] \"GET / HTTP/1.1\" 200 615 \"-\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36\"",
        ),
        (true, "\x1b[1;31merror\x1b[0m connect() failed (111: \x1b[33mConnection refused\x1b[0m) while connecting to upstream"),
        (false, "\x1b[36mdebug\x1b[0m \x1b[2mretrying in 2 s\x1b[0m \x1b[44;97m upstream \x1b[0m"),
    ];
    out.push((
        "container-logs",
        ContainerLogs {
            page: page("Logs", "containers"),
            head: head("logs", say),
            lines: (0..6)
                .flat_map(|_| lines)
                .map(|(error, line)| LogRow {
                    exact: "2026-11-24T08:33:34.123456789Z".into(),
                    time: "08:33:34.123".into(),
                    error,
                    marked: false,
                    html: ansi.line(say(line).as_bytes()),
                })
                .collect(),
            socket: "/ui/t/anna/ws/logs/shop-web".into(),
            cursor: say("2026-11-24T08:33:34Z"),
            tail: 500,
            tails: vec![choice("100", "", false), choice("500", "", true), choice("2000", "", false)],
            query: say(""),
            earlier: vec![("/ui/t/anna/logs/x".into(), say("generation 1, 3 days ago"))],
            unreadable: say(""),
        }
        .render()?,
    ));
    out.push((
        "container-shell",
        ContainerShell {
            page: page("Shell", "containers"),
            head: head("shell", say),
            user: Field::new("user", "User").mono().example("as the container").with(say("")),
            command: Field::new("command", "Command").mono().required().with(say("sh")),
            folder: Field::new("folder", "Working folder").mono().example("/"),
            ticket: "/x".into(),
            socket: "/x".into(),
        }
        .render()?,
    ));
    let text = format!("{{\n  \"Name\": \"{}\",\n  \"Pid\": 41207,\n  \"Tty\": false\n}}", say("shop-web").replace('"', "\\\""));
    out.push((
        "container-inspect",
        ContainerInspect { page: page("Inspect", "containers"), head: head("inspect", say), html: web::json::highlight(&text), text }
            .render()?,
    ));
    out.push((
        "confirm",
        Confirm {
            page: page("Remove shop-web?", "containers"),
            action: "/x".into(),
            text: say("The container is removed, with everything it wrote outside its volumes."),
            objects: vec![say("shop-web")],
            consequences: vec![say("It is running. Its processes are killed.")],
            checks: vec![Field::check("volumes", "Also remove its anonymous volumes").hint("Named volumes always stay.")],
            hidden: vec![("c".into(), say("8f3a"))],
            button: "Remove".into(),
            back: say("/ui/t/anna/containers"),
        }
        .render()?,
    ));
    out.push((
        "images",
        ImageList {
            page: page("Images", "images"),
            rows: [
                ("nginx:1.29-alpine", "52.5 MB", 1),
                ("postgres:17", "438 MB", 1),
                ("registry.example/shop/app:2.14.0", "1.21 GB", 2),
                ("", "7.82 MB", 0),
            ]
            .map(|(name, size, used_by)| ImageRow {
                href: "/x".into(),
                id: say("a1b2c3d4e5f6"),
                names: if name.is_empty() { vec![] } else { vec![say(name), say("x:latest")] },
                platform: say("linux/amd64"),
                size: size.into(),
                created: when("3 weeks ago", say),
                used_by,
            })
            .into(),
            columns: columns(&["Name", "Size", "Made"]),
            query: say(""),
            sort: say(""),
            total: 4,
            summary: say("1.7 GB in 4 images"),
        }
        .render()?,
    ));
    out.push((
        "image",
        ImageDetail {
            page: page("Image", "images"),
            name: say("nginx:1.29-alpine"),
            href: "/x".into(),
            run: "/x".into(),
            names: vec![say("nginx:1.29-alpine")],
            facts: vec![
                Fact::new("Id", Value::Copy(say("sha256:a1b2c3d4"))),
                Fact::new("Names", Value::Tags(vec![say("nginx:1.29-alpine"), say("nginx:latest")])),
                Fact::new("Size", Value::Text("52.5 MB in 8 layers".into())),
            ],
            config: vec![
                Fact::new("Command", Value::Code(say("nginx -g 'daemon off;'"))),
                Fact::new("Ports", Value::Tags(vec![say("80/tcp")])),
            ],
            env: vec![say("PATH=/usr/bin")],
            history: vec![
                HistoryRow {
                    step: say("ADD alpine-minirootfs-3.22.2-x86_64.tar.gz / # buildkit"),
                    size: "7.82 MB".into(),
                    when: when("2 months ago", say),
                },
                HistoryRow { step: say("CMD [\"/bin/sh\"]"), size: String::new(), when: when("2 months ago", say) },
            ],
            used_by: vec![("/x".into(), say("shop-web"))],
        }
        .render()?,
    ));
    out.push((
        "image-pull",
        ImagePull {
            page: page("Pull", "images"),
            image: Field::new("image", "Image")
                .required()
                .mono()
                .focus()
                .example("postgres:17")
                .with(say(""))
                .hint("From Docker Hub, or with a registry's name in front: ghcr.io/owner/app:1."),
            platform: Field::new("platform", "Platform").mono().example("linux/amd64"),
            username: Field::new("username", "User name at the registry").with(say("anna")),
            password: Field::password("password", "Password or token", "off"),
        }
        .render()?,
    ));
    out.push(("operations", OperationList { page: page("Operations", "operations"), rows: operations(say) }.render()?));
    out.push((
        "operation",
        OperationDetail {
            page: page("Operation", "operations"),
            row: operations(say).remove(0),
            parts: vec![
                PartRow { id: say("c6a83fedfae6"), status: say("Pull complete"), bytes: "3.6 MB".into(), percent: None, done: true },
                PartRow {
                    id: say("4abcf2066143"),
                    status: say("Downloading"),
                    bytes: "18.1 MB of 29.2 MB".into(),
                    percent: Some(62),
                    done: false,
                },
            ],
            log: vec![say("20-alpine: Pulling from library/node")],
            next: Some(("/x".into(), say("node:20-alpine"))),
        }
        .render()?,
    ));
    out.push((
        "networks",
        NetworkList {
            page: page("Networks", "networks"),
            rows: [("bridge", true), ("shop", false)]
                .map(|(name, predefined)| NetworkListRow {
                    href: "/x".into(),
                    name: say(name),
                    driver: say("bridge"),
                    subnets: say("10.88.3.0/24"),
                    containers: 3,
                    internal: !predefined,
                    predefined,
                    created: when("3 days ago", say),
                })
                .into(),
            unsupported: String::new(),
        }
        .render()?,
    ));
    out.push((
        "network",
        NetworkDetail {
            page: page("shop", "networks"),
            name: say("shop"),
            href: "/x".into(),
            predefined: false,
            facts: vec![Fact::new("Driver", Value::Text(say("bridge")))],
            members: vec![MemberRow { href: "/x".into(), name: say("shop-web"), address: say("10.88.3.2"), mac: say("02:42:0a:58:03:02") }],
            connect: Some(Field::select("container", "Connect a container", vec![("db".into(), say("db"))])),
            labels: labels.clone(),
        }
        .render()?,
    ));
    out.push((
        "network-map",
        NetworkMap {
            page: page("Map of networks", "networks"),
            width: 824,
            height: 50,
            boxes: [("net", 2), ("box", 302), ("world", 602)]
                .map(|(kind, x)| MapBox { kind, href: "/x".into(), name: say("shop"), note: say("10.88.3.0/24"), x, y: 2, width: 220 })
                .into(),
            lines: vec![MapLine { published: true, x1: 522, y1: 20, middle: 602, x2: 602, y2: 20 }],
            rows: vec![MapRow {
                href: "/x".into(),
                container: say("shop-web"),
                network: say("shop"),
                network_href: "/x".into(),
                address: say("10.88.3.2"),
                published: say("0.0.0.0:8080→80/tcp"),
            }],
        }
        .render()?,
    ));
    out.push((
        "network-explain",
        NetworkExplain {
            page: page("Who reaches whom?", "networks"),
            from: Field::select("from", "From", vec![("@host".into(), "this host".into())]),
            to: Field::select("to", "To", vec![("web".into(), say("web"))]),
            port: Field::new("port", "Port").with(say("80")),
            proto: Field::select("proto", "Protocol", vec![("tcp".into(), "TCP".into())]),
            answers: vec![ExplainAnswer {
                question: say("db → web:80/tcp"),
                verdict: Badge::new("reached", "●", Tone::Ok),
                reasons: vec![say("Both are in the network shop.")],
                facts: vec![Fact::new("Address", Value::Code(say("10.88.3.2:80")))],
            }],
            error: say("boom"),
        }
        .render()?,
    ));
    out.push((
        "network-new",
        NetworkNew {
            page: page("New network", "networks"),
            name: Field::new("name", "Name").with(say("")),
            subnet: Field::new("subnet", "Subnet"),
            gateway: Field::new("gateway", "Gateway"),
            internal: Field::check("internal", "Internal"),
            error: say("boom"),
        }
        .render()?,
    ));
    out.push((
        "volumes",
        VolumeList {
            page: page("Volumes", "volumes"),
            rows: vec![VolumeRow {
                href: "/x".into(),
                name: say("shop-data"),
                anonymous: false,
                users: 1,
                created: when("3 days ago", say),
            }],
            unsupported: String::new(),
        }
        .render()?,
    ));
    out.push((
        "volumes-unsupported",
        VolumeList { page: page("Volumes", "volumes"), rows: vec![], unsupported: say("volumes are not supported yet") }.render()?,
    ));
    out.push((
        "volume",
        VolumeDetail {
            page: page("shop-data", "volumes"),
            name: say("shop-data"),
            href: "/x".into(),
            facts: vec![Fact::new("Driver", Value::Text(say("local")))],
            users: vec![("/x".into(), say("shop-db"), say("/var/lib/postgresql/data"))],
            labels,
        }
        .render()?,
    ));
    let log = |generation, removed: Option<When>| LogInfo {
        href: "/ui/t/anna/logs/x".into(),
        name: say("shop-web"),
        id: say("8f3a1c2b7d90"),
        full: say("8f3a1c2b7d90"),
        generation,
        container: if removed.is_some() { String::new() } else { "/ui/t/anna/containers/shop-web".into() },
        image: say("nginx:1.29-alpine"),
        from: when("3 days ago", say),
        to: when("2 min ago", say),
        size: "1.2 MB".into(),
        expires: removed.is_some().then(|| when("in 6 days", say)),
        removed,
    };
    let logs = LogList {
        page: page("Logs", "logs"),
        rows: vec![log(2, None), log(1, Some(when("3 days ago", say)))],
        retention: say("Logs of removed containers are kept for 7 days."),
    };
    out.push(("logs", logs.render()?));
    let row = LogRow {
        exact: "2026-11-24T08:33:34.123456789Z".into(),
        time: "08:33:34.123".into(),
        error: false,
        marked: true,
        html: web::ansi::Converter::default().line(say("GET / 200").as_bytes()),
    };
    let one = Log {
        page: page("Log of shop-web", "logs"),
        info: log(1, Some(when("3 days ago", say))),
        lines: vec![row.clone()],
        older: "?at=1".into(),
        newer: "?at=2".into(),
    };
    out.push(("log", one.render()?));
    let found = LogSearch {
        page: page("Search logs", "logs"),
        query: say("GET"),
        regex: false,
        ignore_case: true,
        log: say("shop-web"),
        logs: vec![say("shop-web")],
        since: say("2026-11-24T00:00:00Z"),
        until: say(""),
        stream: say(""),
        context: 2,
        oldest: false,
        asked: true,
        hits: vec![LogHit { href: "/ui/t/anna/logs/x?at=1#hit".into(), name: say("shop-web"), lines: vec![row] }],
        more: "?q=GET&cursor=1".into(),
        notes: vec![say("12 MB read.")],
        error: say(""),
    };
    out.push(("log-search", found.render()?));
    out.push((
        "volume-files",
        VolumeFiles {
            page: page("conf · files", "volumes"),
            title: say("conf"),
            volume: ("/x".into(), say("shop-data")),
            crumbs: vec![("/x".into(), say("shop-data")), ("/y".into(), say("conf"))],
            path: say("conf"),
            rows: vec![FileRow {
                name: say("nginx.conf"),
                folder: false,
                open: String::new(),
                download: "/x".into(),
                remove: "/x".into(),
                size: "1.2 kB".into(),
                mode: "0644".into(),
                owner: "0:0".into(),
                modified: when("3 days ago", say),
                target: say("elsewhere"),
            }],
            left_out: 3,
            download: "/x".into(),
            upload: "/x".into(),
            make_folder: "/x".into(),
        }
        .render()?,
    ));
    out.push((
        "trash",
        TrashList {
            page: page("Trash", "volumes"),
            summary: "1 volume, 1.2 kB".into(),
            rows: vec![TrashRow {
                href: "/x".into(),
                name: say("shop-data"),
                anonymous: false,
                size: "1.2 kB".into(),
                removed: when("3 h ago", say),
                until: when("in 21 h", say),
                by: say("anna"),
            }],
            off: false,
        }
        .render()?,
    ));
    out.push((
        "trash-one",
        TrashDetail {
            page: page("shop-data", "volumes"),
            href: "/x".into(),
            name: say("shop-data"),
            facts: vec![Fact::new("By", Value::Text(say("anna")))],
            labels: vec![(say("team"), say("web"))],
            new_name: Field::new("name", "Name").with(say("shop-data")),
            error: say("boom"),
        }
        .render()?,
    ));
    out.push((
        "volume-new",
        VolumeNew {
            page: page("New volume", "volumes"),
            name: Field::new("name", "Name").with(say("")),
            labels: Field::area("labels", "Labels", 3),
            error: say("boom"),
        }
        .render()?,
    ));
    out.push((
        "audit",
        AuditList {
            page: page("Audit", "audit"),
            rows: [("allowed", "✓", Tone::Ok, "container.start"), ("denied", "✕", Tone::Err, "container.create")]
                .map(|(word, glyph, tone, action)| AuditRow {
                    seq: "4711".into(),
                    when: when("2 min ago", say),
                    actor: say("anna"),
                    via: "session".into(),
                    tenant: say("anna"),
                    action: say(action),
                    object: say("shop-web"),
                    badge: Badge::new(word, glyph, tone),
                    detail: say(if word == "denied" { "privileged needs a grant" } else { "" }),
                    hash: say("9f86d081"),
                })
                .into(),
            actor: say(""),
            action: say(""),
            decisions: vec![choice("All", "", true), choice("Denied", "", false)],
            decision: say("x"),
            older: "/x".into(),
            newest: "/x".into(),
        }
        .render()?,
    ));
    out.push((
        "users",
        UserList {
            page: page("Users", "users"),
            rows: vec![UserRow {
                href: "/x".into(),
                name: say("anna"),
                admin: true,
                badge: Badge::new("active", "●", Tone::Ok),
                unix: say("anna (1000)"),
                tenant: say("anna"),
                created: when("3 months ago", say),
                seen: when("just now", say),
            }],
        }
        .render()?,
    ));
    out.push((
        "user",
        UserDetail {
            page: page("ben", "users"),
            name: say("ben"),
            href: "/x".into(),
            disabled: false,
            myself: false,
            badge: Badge::new("active", "●", Tone::Ok),
            facts: vec![Fact::new("Tenant", Value::Text(say("ben")))],
            grants: vec![GrantRow { id: "3".into(), what: say("host-port=80"), by: say("by anna"), expires: when("in 30 days", say) }],
            grant: Field::new("grant", "Grant").mono().with(say("")),
            expires: Field::new("expires", "For").mono(),
            error: say(""),
        }
        .render()?,
    ));
    out.push((
        "user-new",
        UserNew {
            page: page("Add a user", "users"),
            name: Field::new("name", "Name").with(say("")),
            password: Field::password("password", "Password", "new-password"),
            unix: Field::new("unix", "Unix account"),
            admin: Field::check("admin", "Administrator"),
            error: say("x"),
        }
        .render()?,
    ));
    out.push((
        "account",
        Account {
            page: page("Account", "account"),
            facts: vec![
                Fact::new("Name", Value::Text(say("anna"))),
                Fact::new("Role", Value::Text("administrator".into())),
                Fact::new("Unix account", Value::Code(say("anna (1000)"))),
            ],
            current: Field::password("current", "Current password", "current-password"),
            new: Field::password("new", "New password", "new-password"),
            again: Field::password("again", "Again", "new-password"),
            sessions: vec![
                SessionRow {
                    id: "1".into(),
                    agent: say("Firefox on Linux"),
                    address: say("192.0.2.7"),
                    since: when("2 h ago", say),
                    seen: when("just now", say),
                    this: true,
                },
                SessionRow {
                    id: "2".into(),
                    agent: say("Safari on iPhone"),
                    address: say("192.0.2.9"),
                    since: when("1 day ago", say),
                    seen: when("3 h ago", say),
                    this: false,
                },
            ],
            tokens: vec![TokenRow {
                id: "1".into(),
                name: say("ci"),
                scope: "write".into(),
                tenant: say("anna"),
                created: when("1 day ago", say),
                expires: when("in 29 days", say),
                used: when("5 min ago", say),
                badge: Badge::new("valid", "●", Tone::Ok),
            }],
            token_name: Field::new("name", "Name").required().example("ci").with(say("")),
            token_scope: Field::select("scope", "May", vec![("read".into(), "look".into()), ("write".into(), "look and change".into())]),
            token_expires: Field::new("expires", "For").with("30d"),
            fresh: Some(Fresh { name: say("ci"), secret: say("wharf_3q2f8h4k2m9x7c1v5b6n8a0s4d2f6g8h") }),
            certificates: vec![CertificateRow {
                id: "1".into(),
                name: say("anna"),
                tenant: say("anna"),
                created: when("1 day ago", say),
                expires: when("in 89 days", say),
                badge: Badge::new("valid", "●", Tone::Ok),
            }],
            socket: say("unix:///run/wharf/wharf.sock"),
            address: say("https://host:8443"),
        }
        .render()?,
    ));
    let bare = |title: &str| Page { person: None, ..page(title, "") };
    out.push((
        "login",
        Login {
            page: bare("Sign in"),
            name: Field::new("name", "Name").autocomplete("username").required().focus().with(say("")),
            password: Field::password("password", "Password", "current-password"),
            next: say("/ui/"),
            error: say("That name and password do not belong together."),
        }
        .render()?,
    ));
    out.push((
        "setup",
        Setup {
            page: bare("Set up"),
            token: Field::new("token", "One-time token").with(say("")),
            known: false,
            name: Field::new("name", "Name").autocomplete("username").required().focus().with(say("admin")),
            password: Field::password("password", "Password", "new-password").hint("At least 8 characters."),
            again: Field::password("again", "Again", "new-password"),
            error: String::new(),
        }
        .render()?,
    ));
    out.push((
        "message",
        Message {
            page: page("Not found", ""),
            code: 404,
            text: say("No such container: shop-wbe"),
            hints: vec![say("Look at the list: it may have another name.")],
            back: ("/ui/".into(), say("Home")),
        }
        .render()?,
    ));
    out.push((
        "message-bare",
        BareMessage {
            page: bare("Not found"),
            code: 404,
            text: say("No such container: shop-wbe"),
            hints: vec![say("Look at the list: it may have another name.")],
            back: ("/ui/".into(), say("Home")),
        }
        .render()?,
    ));
    out.push((
        "search",
        Search {
            page: page("Search", ""),
            query: say("shop"),
            hits: vec![
                Hit { href: "/x".into(), icon: "container", text: say("shop-web"), kind: "container" },
                Hit { href: "/x".into(), icon: "volume", text: say("shop-data"), kind: "volume" },
            ],
        }
        .render()?,
    ));
    Ok(out)
}
