//! The pages under `/ui`: thin handlers that ask the engine and fill the views of the crate `web`.
//!
//! Every view is a GET whose address can be given to a colleague; every change is a form that works without scripts and
//! answers 303. Addresses of objects begin with `/ui/t/<tenant>`.

mod account;
mod containers;
mod create;
mod door;
mod events;
mod files;
mod form;
mod frame;
mod home;
mod images;
mod kept_logs;
mod log_search;
mod logs;
mod network_map;
mod networks;
mod operations;
mod people;
mod search;
pub mod shell;
mod show;
#[cfg(test)]
mod tests;
mod trash;
mod volume_files;
mod volumes;
mod words;

pub use create::{port, tag as tag_of};
pub use frame::refused;
pub use images::begin_pull;

use crate::route::{Permission, Routes};
use Permission::{Admin, Public, Read, Write};

/// The routes of the pages.
pub fn routes() -> Routes {
    Routes::pages()
        .get("/", Public, door::root)
        .get("/ui", Public, door::root)
        .get("/ui/static/{file}", Public, files::asset)
        .post("/ui/theme", Public, door::theme)
        .get("/ui/login", Public, door::login_form)
        .post("/ui/login", Public, door::login)
        .post("/ui/logout", Read, door::logout)
        .get("/ui/setup", Public, door::setup_form)
        .post("/ui/setup", Public, door::setup)
        .get("/ui/account", Read, account::page)
        .post("/ui/account/password", Read, account::password)
        .post("/ui/account/sessions/{id}/end", Read, account::end_session)
        .post("/ui/account/tokens", Read, account::add_token)
        .post("/ui/account/tokens/{id}/revoke", Read, account::revoke_token)
        .post("/ui/account/certificates", Read, account::add_certificate)
        .post("/ui/account/certificates/{id}/revoke", Read, account::revoke_certificate)
        .get("/ui/users", Admin, people::list)
        .get("/ui/users/new", Admin, people::form)
        .post("/ui/users/new", Admin, people::add)
        .get("/ui/users/{name}", Admin, people::show)
        .post("/ui/users/{name}/disable", Admin, people::disable)
        .post("/ui/users/{name}/enable", Admin, people::enable)
        .post("/ui/users/{name}/grants", Admin, people::add_grant)
        .post("/ui/users/{name}/grants/{id}/remove", Admin, people::remove_grant)
        .get("/ui/audit", Admin, people::audit)
        .get("/ui/", Read, home::home)
        .get("/ui/search", Read, search::search)
        .get("/ui/ws/events", Read, events::events)
        .get("/ui/containers", Read, containers::list)
        .get("/ui/containers/new", Write, create::form)
        .post("/ui/containers/new", Write, create::create)
        .post("/ui/containers/bulk", Write, containers::bulk)
        .post("/ui/containers/remove", Write, containers::remove_many)
        .get("/ui/containers/{name}", Read, show::overview)
        .get("/ui/containers/{name}/logs", Read, logs::page)
        .get("/ui/containers/{name}/logs/download", Read, logs::download)
        .get("/ui/containers/{name}/logs/ws", Read, logs::follow)
        .get("/ui/containers/{name}/shell", Write, shell::page)
        .post("/ui/containers/{name}/shell/ticket", Write, shell::ticket)
        .get("/ui/containers/{name}/shell/ws", Write, shell::socket)
        .get("/ui/containers/{name}/inspect", Read, show::inspect)
        .post("/ui/containers/{name}/do", Write, containers::act)
        .get("/ui/containers/{name}/remove", Write, containers::ask_remove)
        .post("/ui/containers/{name}/remove", Write, containers::remove)
        .get("/ui/images", Read, images::list)
        .get("/ui/images/pull", Write, images::pull_form)
        .post("/ui/images/pull", Write, images::pull)
        .get("/ui/images/prune", Write, images::ask_prune)
        .post("/ui/images/prune", Write, images::prune)
        .get("/ui/images/{id}", Read, images::show)
        .post("/ui/images/{id}/tag", Write, images::tag)
        .get("/ui/images/{id}/remove", Write, images::ask_remove)
        .post("/ui/images/{id}/remove", Write, images::remove)
        .get("/ui/volumes", Read, volumes::list)
        .get("/ui/volumes/new", Write, volumes::form)
        .post("/ui/volumes/new", Write, volumes::create)
        .get("/ui/volumes/prune", Write, volumes::ask_prune)
        .post("/ui/volumes/prune", Write, volumes::prune)
        .get("/ui/volumes/{name}", Read, volumes::show)
        .get("/ui/volumes/{name}/files", Read, volume_files::list)
        .get("/ui/volumes/{name}/files/download", Read, volume_files::download)
        .post("/ui/volumes/{name}/files/folder", Write, volume_files::make_folder)
        .post("/ui/volumes/{name}/files/upload", Write, volume_files::upload)
        .get("/ui/volumes/{name}/files/remove", Write, volume_files::ask_remove)
        .post("/ui/volumes/{name}/files/remove", Write, volume_files::remove)
        .get("/ui/volumes/{name}/remove", Write, volumes::ask_remove)
        .post("/ui/volumes/{name}/remove", Write, volumes::remove)
        .get("/ui/trash", Read, trash::list)
        .get("/ui/trash/empty", Write, trash::ask_empty)
        .post("/ui/trash/empty", Write, trash::empty)
        .get("/ui/trash/{id}", Read, trash::show)
        .post("/ui/trash/{id}/restore", Write, trash::restore)
        .post("/ui/trash/{id}/remove", Write, trash::purge)
        .get("/ui/networks", Read, networks::list)
        .get("/ui/networks/new", Write, networks::form)
        .post("/ui/networks/new", Write, networks::create)
        .get("/ui/networks/map", Read, network_map::map)
        .get("/ui/networks/explain", Read, network_map::explain)
        .get("/ui/networks/{name}", Read, networks::show)
        .post("/ui/networks/{name}/connect", Write, networks::connect)
        .post("/ui/networks/{name}/disconnect", Write, networks::disconnect)
        .get("/ui/networks/{name}/remove", Write, networks::ask_remove)
        .post("/ui/networks/{name}/remove", Write, networks::remove)
        .get("/ui/logs", Read, kept_logs::list)
        .get("/ui/logs/search", Read, log_search::search)
        .get("/ui/logs/{id}", Read, kept_logs::show)
        .get("/ui/logs/{id}/download", Read, kept_logs::download)
        .get("/ui/logs/{id}/remove", Write, kept_logs::ask_remove)
        .post("/ui/logs/{id}/remove", Write, kept_logs::remove)
        .get("/ui/operations", Read, operations::list)
        .get("/ui/operations/{id}", Read, operations::show)
        .post("/ui/operations/{id}/cancel", Write, operations::cancel)
        .get("/ui/{*path}", Public, door::nothing_here)
}
