//! Docker's Engine API over the engine. Docker's wire quirks stop here.
//!
//! A request's JSON and query become the engine's words (`wire`, `ask`, `filters`), one engine call is made, and its view
//! becomes Docker's JSON again. `hijack` takes connections over for attached streams, `error` is the one place where an
//! error's kind becomes a status, `absent` answers for what is not built yet. Versions are taken off the path before routing.

mod absent;
mod archive;
mod ask;
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

pub use reply::stamp;
pub use wire::status::{span, status};

use crate::route::Permission::{Public, Read, Write};
use crate::route::Routes;

/// The routes of Docker's API, without the `/v1.NN` prefix, which is taken off before routing.
pub fn routes() -> Routes {
    system().merge(containers()).merge(images()).merge(networks_and_volumes()).merge(absent())
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
        .get("/distribution/{*name}", Read, absent::distribution)
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

fn absent() -> Routes {
    let mut routes = Routes::docker()
        .post("/build", Write, absent::build)
        .post("/build/prune", Write, absent::build_prune)
        .post("/build/cancel", Write, absent::build_cancel)
        .post("/grpc", Write, absent::buildkit)
        .post("/session", Write, absent::buildkit)
        .get("/containers/{id}/checkpoints", Read, absent::checkpoints)
        .post("/containers/{id}/checkpoints", Write, absent::checkpoints)
        .delete("/containers/{id}/checkpoints/{checkpoint}", Write, absent::checkpoints)
        .get("/plugins", Read, absent::plugins)
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
