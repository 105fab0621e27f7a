//! Docker's Engine API over the engine. Docker's wire quirks stop here.
//!
//! A request's JSON and query become the engine's words (`wire`, `ask`, `filters`), one engine call is made, and its view
//! becomes Docker's JSON again. `hijack` takes connections over for attached streams, `error` is the one place where an
//! error's kind becomes a status, `absent` answers for what is not built yet. Versions are taken off the path before routing.

mod absent;
mod archive;
mod ask;
mod build;
pub mod buildkit;
mod containers;
mod detach;
pub mod error;
mod events;
mod fields;
mod filters;
mod hijack;
mod images;
mod logs;
mod networks;
mod reply;
mod streams;
mod system;
mod volumes;
mod wire;

pub use archive::upload;
pub use reply::{archive, stamp};
pub use wire::status::{span, status};

use crate::route::Permission::{Public, Read, Write};
use crate::route::Routes;

/// The routes of Docker's API, without the `/v1.NN` prefix, which is taken off before routing.
pub fn routes() -> Routes {
    system().merge(containers()).merge(images()).merge(networks_and_volumes()).merge(namesakes()).merge(buildkit()).merge(absent())
}

fn system() -> Routes {
    Routes::docker()
        .get("/_ping", Public, system::ping)
        .get("/version", Read, system::version)
        .get("/info", Read, system::info)
        .get("/events", Read, events::events)
        .get("/system/df", Read, system::df)
        .post("/auth", Write, images::login)
}

fn containers() -> Routes {
    Routes::docker()
        .get("/containers/json", Read, containers::list)
        .post("/containers/create", Write, containers::create)
        .post("/containers/prune", Write, containers::prune)
        .get("/containers/{id}/json", Read, containers::inspect)
        .post("/containers/{id}/start", Write, containers::start)
        .post("/containers/{id}/stop", Write, containers::stop)
        .post("/containers/{id}/restart", Write, containers::restart)
        .post("/containers/{id}/kill", Write, containers::kill)
        .post("/containers/{id}/pause", Write, containers::pause)
        .post("/containers/{id}/unpause", Write, containers::unpause)
        .post("/containers/{id}/rename", Write, containers::rename)
        .post("/containers/{id}/update", Write, containers::update)
        .post("/containers/{id}/resize", Write, containers::resize)
        .post("/containers/{id}/wait", Read, containers::wait)
        .get("/containers/{id}/top", Read, containers::top)
        .get("/containers/{id}/changes", Read, containers::changes)
        .get("/containers/{id}/stats", Read, containers::stats)
        .delete("/containers/{id}", Write, containers::remove)
        .post("/containers/{id}/attach", Write, streams::attach)
        .get("/containers/{id}/attach/ws", Write, streams::attach_ws)
        .get("/containers/{id}/logs", Read, streams::logs)
        .post("/containers/{id}/exec", Write, streams::exec_create)
        .post("/exec/{id}/start", Write, streams::exec_start)
        .post("/exec/{id}/resize", Write, streams::exec_resize)
        .get("/exec/{id}/json", Read, streams::exec_inspect)
        .head("/containers/{id}/archive", Read, archive::stat)
        .get("/containers/{id}/archive", Read, archive::get)
        .put("/containers/{id}/archive", Write, archive::put)
        .get("/containers/{id}/export", Read, archive::export)
        .post("/commit", Write, containers::commit)
}

fn images() -> Routes {
    Routes::docker()
        .get("/images/json", Read, images::list)
        .post("/images/create", Write, images::create)
        .get("/images/get", Read, images::save)
        .post("/images/load", Write, images::load)
        .post("/images/prune", Write, images::prune)
        .get("/images/search", Read, absent::search)
        .get("/images/{*name}", Read, images::get)
        .post("/images/{*name}", Write, images::post)
        .delete("/images/{*name}", Write, images::remove)
        .get("/distribution/{*name}", Write, images::distribution)
}

fn networks_and_volumes() -> Routes {
    Routes::docker()
        .get("/networks", Read, networks::list)
        // docker-py has always sent the slash.
        .get("/networks/", Read, networks::list)
        .post("/networks/create", Write, networks::create)
        .post("/networks/prune", Write, networks::prune)
        .get("/networks/{id}", Read, networks::inspect)
        .delete("/networks/{id}", Write, networks::remove)
        .post("/networks/{id}/connect", Write, networks::connect)
        .post("/networks/{id}/disconnect", Write, networks::disconnect)
        .get("/volumes", Read, volumes::list)
        .post("/volumes/create", Write, volumes::create)
        .post("/volumes/prune", Write, volumes::prune)
        .get("/volumes/{name}", Read, volumes::inspect)
        .put("/volumes/{name}", Write, absent::cluster_volume)
        .delete("/volumes/{name}", Write, volumes::remove)
}

/// Objects called what an action on their kind is called: the action's route would hide them.
fn namesakes() -> Routes {
    let mut routes = Routes::docker();
    for action in ["json", "create", "prune"] {
        routes = routes.delete(&format!("/containers/{action}"), Write, containers::remove);
    }
    for action in ["json", "create", "get", "load", "prune", "search"] {
        routes = routes.delete(&format!("/images/{action}"), Write, images::remove);
    }
    for action in ["create", "prune"] {
        routes = routes
            .get(&format!("/networks/{action}"), Read, networks::inspect)
            .delete(&format!("/networks/{action}"), Write, networks::remove)
            .get(&format!("/volumes/{action}"), Read, volumes::inspect)
            .put(&format!("/volumes/{action}"), Write, absent::cluster_volume)
            .delete(&format!("/volumes/{action}"), Write, volumes::remove);
    }
    routes
}

fn buildkit() -> Routes {
    let mut routes = Routes::docker().post("/grpc", Write, buildkit::grpc).post("/session", Write, buildkit::session);
    for service in buildkit::SERVICES {
        routes = routes.post(&format!("/{service}/{{method}}"), Write, buildkit::call);
    }
    routes
}

fn absent() -> Routes {
    let mut routes = Routes::docker()
        .post("/build", Write, build::build)
        .post("/build/prune", Write, build::prune)
        .post("/build/cancel", Write, build::cancel)
        .get("/containers/{id}/checkpoints", Read, absent::checkpoints)
        .post("/containers/{id}/checkpoints", Write, absent::checkpoints)
        .delete("/containers/{id}/checkpoints/{checkpoint}", Write, absent::checkpoints)
        .get("/plugins", Read, absent::plugins)
        .get("/plugins/privileges", Read, absent::plugin_install)
        .post("/plugins/pull", Write, absent::plugin_install)
        .post("/plugins/create", Write, absent::plugin_install)
        .get("/plugins/{*rest}", Read, absent::plugin)
        .post("/plugins/{*rest}", Write, absent::plugin)
        .delete("/plugins/{*rest}", Write, absent::plugin)
        .get("/swarm", Read, absent::swarm)
        .post("/swarm/init", Write, absent::swarm_start)
        .post("/swarm/join", Write, absent::swarm_start)
        .post("/swarm/leave", Write, absent::swarm_leave)
        .post("/swarm/update", Write, absent::swarm)
        .get("/swarm/unlockkey", Read, absent::swarm)
        .post("/swarm/unlock", Write, absent::swarm);
    for noun in ["nodes", "services", "tasks", "secrets", "configs"] {
        let (all, one) = (format!("/{noun}"), format!("/{noun}/{{id}}"));
        routes = routes.get(&all, Read, absent::swarm).get(&one, Read, absent::swarm);
        if noun != "tasks" {
            routes = routes.delete(&one, Write, absent::swarm).post(&format!("{one}/update"), Write, absent::swarm);
        }
        if matches!(noun, "services" | "secrets" | "configs") {
            routes = routes.post(&format!("{all}/create"), Write, absent::swarm);
        }
        if matches!(noun, "services" | "tasks") {
            routes = routes.get(&format!("{one}/logs"), Read, absent::swarm);
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::{MethodFilter, on};
    use http::{Method, Request};
    use tower::ServiceExt;

    /// A router that answers with the table's row instead of doing anything.
    fn table() -> Router {
        let mut router = Router::new();
        for route in routes().list() {
            let row = format!("{} {}", route.method, route.path);
            let filter = MethodFilter::try_from(route.method).unwrap();
            router = router.route(&route.path, on(filter, move || std::future::ready(row)));
        }
        router.fallback(|| std::future::ready("none")).method_not_allowed_fallback(|| std::future::ready("none"))
    }

    async fn row(method: Method, path: &str) -> String {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = table().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// Every operation of Docker's API up to 1.56, and those it serves without telling.
    const OPERATIONS: &str = "
        GET /_ping|HEAD /_ping|GET /version|GET /info|GET /events|GET /system/df|POST /auth
        GET /containers/json|POST /containers/create|GET /containers/x/json|GET /containers/x/top|GET /containers/x/logs
        GET /containers/x/changes|GET /containers/x/export|GET /containers/x/stats|POST /containers/x/resize
        POST /containers/x/start|POST /containers/x/stop|POST /containers/x/restart|POST /containers/x/kill
        POST /containers/x/update|POST /containers/x/rename|POST /containers/x/pause|POST /containers/x/unpause
        POST /containers/x/attach|GET /containers/x/attach/ws|POST /containers/x/wait|DELETE /containers/x
        HEAD /containers/x/archive|GET /containers/x/archive|PUT /containers/x/archive|POST /containers/prune
        POST /containers/x/exec|POST /exec/x/start|POST /exec/x/resize|GET /exec/x/json|POST /commit
        GET /containers/x/checkpoints|POST /containers/x/checkpoints|DELETE /containers/x/checkpoints/c
        GET /images/json|POST /build|POST /build/prune|POST /build/cancel|POST /images/create|GET /images/x/json
        GET /images/x/history|POST /images/x/push|POST /images/x/tag|DELETE /images/x|GET /images/search|POST /images/prune
        GET /images/x/get|GET /images/get|POST /images/load|GET /images/x/attestations|GET /distribution/x/json
        GET /networks|GET /networks/|GET /networks/x|DELETE /networks/x|POST /networks/create|POST /networks/x/connect
        POST /networks/x/disconnect|POST /networks/prune
        GET /volumes|POST /volumes/create|GET /volumes/x|PUT /volumes/x|DELETE /volumes/x|POST /volumes/prune
        GET /plugins|GET /plugins/privileges|POST /plugins/pull|GET /plugins/x/json|DELETE /plugins/x|POST /plugins/x/enable
        POST /plugins/x/disable|POST /plugins/x/upgrade|POST /plugins/create|POST /plugins/x/push|POST /plugins/x/set
        GET /nodes|GET /nodes/x|DELETE /nodes/x|POST /nodes/x/update
        GET /swarm|POST /swarm/init|POST /swarm/join|POST /swarm/leave|POST /swarm/update|GET /swarm/unlockkey|POST /swarm/unlock
        GET /services|POST /services/create|GET /services/x|DELETE /services/x|POST /services/x/update|GET /services/x/logs
        GET /tasks|GET /tasks/x|GET /tasks/x/logs
        GET /secrets|POST /secrets/create|GET /secrets/x|DELETE /secrets/x|POST /secrets/x/update
        GET /configs|POST /configs/create|GET /configs/x|DELETE /configs/x|POST /configs/x/update
        POST /session|POST /grpc";

    #[tokio::test]
    async fn every_operation_of_docker_has_a_route() {
        let mut missing = Vec::new();
        for operation in OPERATIONS.split(['|', '\n']).map(str::trim).filter(|o| !o.is_empty()) {
            let (method, path) = operation.split_once(' ').unwrap();
            let row = row(method.parse().unwrap(), path).await;
            // A HEAD answer has no body to tell its row by.
            if row == "none" && method != "HEAD" {
                missing.push(operation);
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[tokio::test]
    async fn names_with_slashes_and_names_like_actions_reach_their_handler() {
        for (method, path, expected) in [
            (Method::GET, "/images/localhost:5000/a/b:1/json", "GET /images/{*name}"),
            (Method::GET, "/images/json", "GET /images/json"),
            (Method::GET, "/images/json/json", "GET /images/{*name}"),
            (Method::POST, "/images/host/create/push", "POST /images/{*name}"),
            (Method::DELETE, "/images/a/b", "DELETE /images/{*name}"),
            (Method::DELETE, "/images/json", "DELETE /images/json"),
            (Method::GET, "/containers/json/json", "GET /containers/{id}/json"),
            (Method::GET, "/networks/prune", "GET /networks/prune"),
            (Method::PATCH, "/containers/json", "none"),
            (Method::GET, "/nosuch", "none"),
        ] {
            assert_eq!(row(method.clone(), path).await, expected, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn an_object_may_be_called_what_an_action_is_called() {
        use axum::routing::get;
        let name = |ask::Name(name): ask::Name| std::future::ready(name);
        let router = Router::new().route("/networks/{id}", get(name)).route("/networks/create", get(name));
        for (path, expected) in [("/networks/a%20b", "a b"), ("/networks/create", "create")] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), expected);
        }
    }

    #[test]
    fn only_the_ping_is_public_and_what_changes_things_needs_the_write_scope() {
        for route in routes().list() {
            let expected = match (route.path.as_str(), route.method.as_str()) {
                ("/_ping", _) => Public,
                // Waiting changes nothing, though Docker posts it. A WebSocket begins with GET, and may type.
                ("/containers/{id}/wait", _) => Read,
                ("/containers/{id}/attach/ws", _) => Write,
                // Makes the server speak to a registry of the asker's choice, as a pull does.
                ("/distribution/{*name}", _) => Write,
                (_, "GET" | "HEAD") => Read,
                _ => Write,
            };
            assert_eq!(route.permission, expected, "{} {}", route.method, route.path);
        }
    }
}
