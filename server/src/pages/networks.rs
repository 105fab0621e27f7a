//! Networks: list, one, make, remove.

use super::form::Filled;
use super::frame::{OrPage, Visit, capital, status};
use super::words;
use axum::extract::Path;
use axum::response::Response;
use engine::container::EndpointSpec;
use engine::container::request::ContainerFilter;
use engine::network::{IpamPool, Network, NetworkSpec};
use engine::{Filters, Kind};
use web::view::message::Confirm;
use web::view::network::{MemberRow, NetworkDetail, NetworkList, NetworkListRow, NetworkNew};
use web::view::piece::segment;
use web::view::{Fact, Field, Value};

fn subnets(network: &Network) -> String {
    network.spec.ipam.iter().map(|p| p.subnet.as_str()).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(", ")
}

/// `GET /ui/networks`
pub async fn list(visit: Visit) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let (networks, unsupported) = match app.engine.networks(&who, &Filters::new()).await {
        Ok(networks) => (networks, String::new()),
        Err(e) if e.kind() == Kind::Unsupported => (Vec::new(), capital(&e.to_string())),
        Err(e) => return Err(frame.wrong(&e)),
    };
    let row = |n: Network| NetworkListRow {
        href: format!("{}/networks/{}", frame.base, segment(&n.spec.name)),
        driver: n.spec.driver.clone(),
        subnets: subnets(&n),
        containers: n.containers.len(),
        internal: n.spec.internal,
        predefined: n.predefined,
        created: words::ago(n.created),
        name: n.spec.name,
    };
    let rows = networks.into_iter().map(row).collect();
    Ok(frame.show(&NetworkList { page: frame.page("Networks", "networks"), rows, unsupported }))
}

/// `GET /ui/networks/{name}`
pub async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let network = app.engine.network(&who, &name).await.or_page(&frame)?;
    let modes = network.predefined && network.spec.driver != "bridge";
    let mut others = Vec::new();
    if !modes {
        for c in app.engine.containers(&who, &ContainerFilter { all: true, ..Default::default() }).await.or_page(&frame)? {
            if !c.networks.contains_key(&network.spec.name) {
                others.push((c.name.clone(), c.name));
            }
        }
    }
    let connect = (!others.is_empty()).then(|| Field::select("container", "Connect a container", others));
    let yes = |on: bool| Value::Text(if on { "yes".into() } else { "no".into() });
    let mut facts = vec![
        Fact::new("Id", Value::Copy(network.id.as_str().to_owned())),
        Fact::new("Driver", Value::Text(network.spec.driver.clone())),
        Fact::new("Made", Value::When(words::ago(network.created))),
        Fact::new("Internal", yes(network.spec.internal)),
    ];
    for pool in &network.spec.ipam {
        facts.push(Fact::new("Subnet", Value::Code(pool.subnet.clone())));
        if !pool.gateway.is_empty() {
            facts.push(Fact::new("Gateway", Value::Code(pool.gateway.clone())));
        }
        if !pool.ip_range.is_empty() {
            facts.push(Fact::new("Range", Value::Code(pool.ip_range.clone())));
        }
    }
    facts.extend(network.spec.options.iter().map(|(k, v)| Fact::new(format!("Option {k}"), Value::Code(v.clone()))));
    let member = |m: &engine::network::NetworkMember| MemberRow {
        href: format!("{}/containers/{}", frame.base, segment(&m.name)),
        name: m.name.clone(),
        address: [m.ipv4.map(|(ip, _)| ip.to_string()), m.ipv6.map(|(ip, _)| ip.to_string())]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", "),
        mac: m.mac_address.clone(),
    };
    let view = NetworkDetail {
        page: frame.page(network.spec.name.clone(), "networks"),
        href: format!("{}/networks/{}", frame.base, segment(&network.spec.name)),
        name: network.spec.name.clone(),
        predefined: network.predefined,
        facts,
        connect,
        members: network.containers.values().map(member).collect(),
        labels: network.spec.labels.into_iter().collect(),
    };
    Ok(frame.show(&view))
}

fn new(visit: &Visit, form: &Filled, error: String) -> NetworkNew {
    NetworkNew {
        page: visit.frame.page("New network", "networks"),
        name: Field::new("name", "Name")
            .mono()
            .required()
            .focus()
            .example("shop")
            .hint("Containers in it find each other by their names.")
            .with(form.get("name")),
        subnet: Field::new("subnet", "Subnet").mono().example("a free one").with(form.get("subnet")),
        gateway: Field::new("gateway", "Gateway").mono().example("the first address").with(form.get("gateway")),
        internal: Field::check("internal", "Internal").hint("No way out: its containers reach each other only.").with(form.get("internal")),
        error,
    }
}

/// `GET /ui/networks/new`
pub async fn form(visit: Visit) -> Response {
    visit.frame.show(&new(&visit, &Filled::default(), String::new()))
}

/// `POST /ui/networks/new`
pub async fn create(visit: Visit, form: Filled) -> Response {
    let pool = IpamPool { subnet: form.get("subnet").to_owned(), gateway: form.get("gateway").to_owned(), ..IpamPool::default() };
    let spec = NetworkSpec {
        name: form.get("name").to_owned(),
        driver: "bridge".into(),
        internal: form.has("internal"),
        attachable: true,
        ipam: if pool == IpamPool::default() { vec![] } else { vec![pool] },
        ..NetworkSpec::default()
    };
    let name = spec.name.clone();
    match visit.app.engine.create_network(&visit.who, spec).await {
        Ok((_, warning)) => {
            visit.frame.went(&format!("/networks/{}", segment(&name)), format!("Made {name}. {warning}").trim_end().to_owned())
        }
        Err(e) => visit.frame.show_with(status(&e), &new(&visit, &form, capital(&e.to_string()))),
    }
}

/// `GET /ui/networks/{name}/remove`
pub async fn ask_remove(visit: Visit, Path(name): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let network = app.engine.network(&who, &name).await.or_page(&frame)?;
    let href = format!("{}/networks/{}", frame.base, segment(&network.spec.name));
    let inside: Vec<&str> = network.containers.values().map(|m| m.name.as_str()).collect();
    let view = Confirm {
        page: frame.page(format!("Remove {}?", network.spec.name), "networks"),
        action: format!("{href}/remove"),
        text: "This network will be removed.".into(),
        objects: vec![network.spec.name.clone()],
        consequences: if inside.is_empty() {
            vec![]
        } else {
            vec![format!("Running in it: {}. Stop or disconnect them first.", inside.join(", "))]
        },
        checks: vec![],
        hidden: vec![],
        button: "Remove".into(),
        back: href,
    };
    Ok(frame.show(&view))
}

/// `POST /ui/networks/{name}/remove`
pub async fn remove(visit: Visit, Path(name): Path<String>, _form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    app.engine.remove_network(&who, &name).await.or_page(&frame)?;
    Ok(frame.went("/networks", format!("Removed {name}.")))
}

/// `POST /ui/networks/{name}/connect`
pub async fn connect(visit: Visit, Path(name): Path<String>, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let container = form.get("container");
    app.engine.connect(&who, &name, container, EndpointSpec::default()).await.or_page(&frame)?;
    Ok(frame.went(&format!("/networks/{}", segment(&name)), format!("Connected {container}.")))
}

/// `POST /ui/networks/{name}/disconnect`
pub async fn disconnect(visit: Visit, Path(name): Path<String>, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let container = form.get("container");
    app.engine.disconnect(&who, &name, container, false).await.or_page(&frame)?;
    Ok(frame.went(&format!("/networks/{}", segment(&name)), format!("Disconnected {container}.")))
}
