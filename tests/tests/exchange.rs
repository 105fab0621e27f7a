//! What we push and save is taken by other programs, and theirs by us, with equal digests: skopeo, umoci, podman, a dockerd.
//! Each that is not installed is named.

use e2e::peer::{Dockerd, podman};
use e2e::registry::Registry;
use e2e::{Output, Server, program, skip};
use std::process::Command;

/// The digest that a registry gives a manifest, as skopeo reads it.
fn inspected(reference: &str) -> Option<String> {
    let mut command = Command::new(program("skopeo")?);
    command.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{reference}")]);
    Some(Output::of(&mut command).succeeded().text().to_owned())
}

#[test]
fn others_read_what_we_push_and_save() {
    let Some(registry) = Registry::start() else { return skip("docker-registry is not installed: nothing was exchanged by it") };
    let server = Server::start();
    let docker = server.load_busybox();
    let file =
        b"FROM busybox\nRUN echo one > /one && ln -s one /two && mkdir -m 1777 /sticky\nUSER web\nLABEL a=b\nCMD [\"cat\", \"/one\"]\n";
    docker.with_input(&["build", "-t", "own", "-"], file).succeeded();
    let ours = format!("{}/team/own:1", registry.address);
    docker.run(&["tag", "own", &ours]).succeeded();
    docker.run(&["push", &ours]).succeeded();
    let digest = docker.inspect(&ours, "{{index .RepoDigests 0}}");
    let digest = digest.rsplit('@').next().unwrap_or_default().to_owned();
    let id = docker.inspect(&ours, "{{.Id}}");
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    docker.run(&["save", "-o", &at("saved.tar"), "own"]).succeeded();

    match program("skopeo") {
        None => skip("skopeo is not installed: what we push and save was not read by it"),
        Some(skopeo) => {
            assert_eq!(inspected(&ours).as_deref(), Some(digest.as_str()));
            let copy = |from: &str, to: &str| {
                let mut command = Command::new(&skopeo);
                command.args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
                Output::of(&mut command).succeeded()
            };
            copy(&format!("docker://{ours}"), &format!("oci:{}:own", at("pulled")));
            // Both layouts of one archive: dockerd's and OCI's.
            copy(&format!("docker-archive:{}", at("saved.tar")), &format!("oci:{}:own", at("from-docker")));
            copy(&format!("oci-archive:{}", at("saved.tar")), &format!("oci:{}:own", at("from-oci")));
            // And back, as somebody else's image.
            let theirs = format!("{}/team/theirs:1", registry.address);
            copy(&format!("oci:{}:own", at("pulled")), &format!("docker://{theirs}"));
            docker.run(&["pull", "-q", &theirs]).succeeded();
            assert_eq!(docker.inspect(&theirs, "{{.Id}}"), id, "the image that came back is another one");
            copy(&format!("oci:{}:own", at("pulled")), &format!("oci-archive:{}:own:2", at("theirs.tar")));
            docker.run(&["load", "-q", "-i", &at("theirs.tar")]).succeeded();
            match program("umoci") {
                None => skip("umoci is not installed: it did not unpack what we pushed"),
                Some(umoci) => {
                    let mut command = Command::new(umoci);
                    Output::of(command.args(["unpack", "--image", &format!("{}:own", at("pulled")), &at("bundle")])).succeeded();
                    assert_eq!(std::fs::read_to_string(folder.path().join("bundle/rootfs/one")).expect("the file"), "one\n");
                }
            }
        }
    }
    match podman(folder.path()) {
        None => skip("podman and crun are not installed: what we push was not pulled by podman"),
        Some(call) => {
            // It lives in a network namespace of its own, so the image comes as an archive.
            let mut command = Command::new(&call[0]);
            let loaded = Output::of(command.args(&call[1..]).args(["load", "-i", &at("saved.tar")])).succeeded();
            assert!(loaded.stdout.contains("own"), "{}", loaded.stdout);
            let mut command = Command::new(&call[0]);
            let seen = Output::of(command.args(&call[1..]).args(["image", "inspect", "--format", "{{.Id}}", "own"])).succeeded();
            assert_eq!(format!("sha256:{}", seen.text().trim_start_matches("sha256:")), id);
        }
    }
    match Dockerd::start() {
        Err(why) => skip(&format!("no dockerd to load what we save: {why}")),
        Ok(peer) => {
            let theirs = e2e::Docker::new(&format!("unix://{}", peer.socket().display()), &server.folder().join("peer"));
            theirs.run(&["load", "-q", "-i", &at("saved.tar")]).succeeded();
            assert_eq!(theirs.inspect("own", "{{.Id}}"), id);
            theirs.run(&["save", "-o", &at("again.tar"), "own"]).succeeded();
            docker.run(&["rmi", "-f", "own", &ours]).succeeded();
            docker.run(&["load", "-q", "-i", &at("again.tar")]).succeeded();
            assert_eq!(docker.inspect("own", "{{.Id}}"), id);
        }
    }
    // Pulled back by ourselves.
    docker.run(&["rmi", "-f", &id]);
    docker.run(&["pull", "-q", &ours]).succeeded();
    assert_eq!(docker.inspect(&ours, "{{.Id}}"), id);
    let back = docker.inspect(&ours, "{{index .RepoDigests 0}}");
    assert!(back.ends_with(&digest), "{back} is not {digest}");
}
