//! The description of our API, made from the handlers' own annotations.

use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wharf",
        description = "Containers, images, volumes, networks and operations of one tenant. Authenticate with `Authorization: Bearer`, a client certificate, the Unix socket, or a browser session. `X-Wharf-Tenant` chooses another of one's tenants.",
        license(name = "Apache-2.0")
    ),
    paths(
        super::me::me,
        super::me::disk,
        super::containers::list,
        super::containers::create,
        super::containers::get,
        super::containers::oci_spec,
        super::containers::remove,
        super::containers::start,
        super::containers::stop,
        super::containers::restart,
        super::containers::kill,
        super::containers::pause,
        super::containers::unpause,
        super::containers::logs,
        super::containers::exec,
        super::images::list,
        super::images::pull,
        super::images::get,
        super::images::remove,
        super::volumes::list,
        super::volumes::create,
        super::volumes::get,
        super::volumes::remove,
        super::volume_files::list,
        super::volume_files::remove,
        super::volume_files::make_folder,
        super::volume_files::download,
        super::volume_files::send,
        super::trash::list,
        super::trash::empty,
        super::trash::purge,
        super::trash::restore,
        super::networks::list,
        super::networks::create,
        super::networks::explain,
        super::networks::get,
        super::networks::remove,
        super::logs::list,
        super::logs::get,
        super::log_search::search,
        super::logs::remove,
        super::operations::list,
        super::operations::get,
        super::operations::cancel,
        super::operations::progress,
    )
)]
struct Document;

/// `GET /api/openapi.json`
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_names_every_route_and_no_other() {
        let described: BTreeSet<(String, String)> = serde_json::to_value(Document::openapi()).unwrap()["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|m| (m.to_uppercase(), path.clone())).collect::<Vec<_>>())
            .collect();
        let routes: BTreeSet<(String, String)> = super::super::own_routes()
            .list()
            .into_iter()
            .filter(|r| r.path != "/api/openapi.json")
            .map(|r| (r.method.to_string(), r.path.replace("{*", "{")))
            .collect();
        assert_eq!(described, routes);
    }
}
