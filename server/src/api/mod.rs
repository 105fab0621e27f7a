//! Our own JSON API under `/api/v1`: the same as the pages do, for programs. Errors are `{"message": …}`, times RFC 3339,
//! sizes bytes. `/api/openapi.json` describes it.

pub mod admin;
mod admin_audit;
mod admin_credentials;
mod admin_tenants;
mod admin_users;
pub mod containers;
mod images;
pub mod log_search;
pub mod logs;
mod me;
mod networks;
mod openapi;
mod operations;
mod trash;
pub mod volume_files;
mod volumes;
mod wire;

use crate::route::{Permission, Routes};
use Permission::{Public, Read, Write};

/// The routes of our API.
pub fn routes() -> Routes {
    own_routes().merge(admin::routes())
}

/// What `/api/openapi.json` describes: everything but the administrator's part.
fn own_routes() -> Routes {
    Routes::api()
        .get("/api/openapi.json", Public, openapi::document)
        .get("/api/v1/me", Read, me::me)
        .get("/api/v1/disk", Read, me::disk)
        .get("/api/v1/containers", Read, containers::list)
        .post("/api/v1/containers", Write, containers::create)
        .get("/api/v1/containers/{name}", Read, containers::get)
        .get("/api/v1/containers/{name}/oci-spec", Read, containers::oci_spec)
        .delete("/api/v1/containers/{name}", Write, containers::remove)
        .post("/api/v1/containers/{name}/start", Write, containers::start)
        .post("/api/v1/containers/{name}/stop", Write, containers::stop)
        .post("/api/v1/containers/{name}/restart", Write, containers::restart)
        .post("/api/v1/containers/{name}/kill", Write, containers::kill)
        .post("/api/v1/containers/{name}/pause", Write, containers::pause)
        .post("/api/v1/containers/{name}/unpause", Write, containers::unpause)
        .get("/api/v1/containers/{name}/logs", Read, containers::logs)
        .get("/api/v1/containers/{name}/exec", Write, containers::exec)
        .get("/api/v1/images", Read, images::list)
        .post("/api/v1/images/pull", Write, images::pull)
        .get("/api/v1/images/{*name}", Read, images::get)
        .delete("/api/v1/images/{*name}", Write, images::remove)
        .get("/api/v1/volumes", Read, volumes::list)
        .post("/api/v1/volumes", Write, volumes::create)
        .get("/api/v1/volumes/{name}", Read, volumes::get)
        .delete("/api/v1/volumes/{name}", Write, volumes::remove)
        .get("/api/v1/volumes/{name}/files", Read, volume_files::list)
        .delete("/api/v1/volumes/{name}/files", Write, volume_files::remove)
        .post("/api/v1/volumes/{name}/folders", Write, volume_files::make_folder)
        .get("/api/v1/volumes/{name}/content", Read, volume_files::download)
        .put("/api/v1/volumes/{name}/content", Write, volume_files::send)
        .get("/api/v1/trash", Read, trash::list)
        .delete("/api/v1/trash", Write, trash::empty)
        .delete("/api/v1/trash/{id}", Write, trash::purge)
        .post("/api/v1/trash/{id}/restore", Write, trash::restore)
        .get("/api/v1/networks", Read, networks::list)
        .post("/api/v1/networks", Write, networks::create)
        .get("/api/v1/networks/explain", Read, networks::explain)
        .get("/api/v1/networks/{name}", Read, networks::get)
        .delete("/api/v1/networks/{name}", Write, networks::remove)
        .get("/api/v1/logs", Read, logs::list)
        .get("/api/v1/logs/search", Read, log_search::search)
        .get("/api/v1/logs/{id}", Read, logs::get)
        .delete("/api/v1/logs/{id}", Write, logs::remove)
        .get("/api/v1/operations", Read, operations::list)
        .get("/api/v1/operations/{id}", Read, operations::get)
        .post("/api/v1/operations/{id}/cancel", Write, operations::cancel)
        .get("/api/v1/operations/{id}/progress", Read, operations::progress)
}
