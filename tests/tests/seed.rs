//! The user's own Dockerfile (node, npm install, npm run build, USER node, EXPOSE 1337, npm start) from its context to an answer
//! on its port, by both doors, and what an edit makes it do again. The base image is made of the node and npm of this host; the
//! one dependency comes from a web server on loopback.

use e2e::cli::plugin;
use e2e::image::Image;
use e2e::{Docker, Server, skip, until};
use sha2::{Digest, Sha512};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

const DOCKERFILE: &str = include_str!("../example/app/Dockerfile");

/// A package as a registry has it.
fn package() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("package/package.json", "{\"name\":\"greeting\",\"version\":\"1.0.0\",\"main\":\"index.js\"}\n"),
        ("package/index.js", "module.exports = (name) => `hello ${name}`;\n"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).expect("a file");
    }
    let bytes = tar.into_inner().expect("the tar's end");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("x"), bytes).expect("a tar");
    std::process::Command::new("gzip").args(["-nc", "x"]).current_dir(folder.path()).output().expect("gzip").stdout
}

/// Serves these bytes to everybody who asks for anything; its address.
fn serve(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0u8; 4096];
            // One read has the whole of a small request.
            if stream.read(&mut head).is_ok() {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    bytes.len()
                );
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes)).ok();
            }
        }
    });
    address
}

/// The project.
fn project(folder: &Path, registry: &str, package: &[u8]) {
    let base64 = |bytes: &[u8]| {
        const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let n = three.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - three.len()));
            (0..4).for_each(|i| text.push(if i <= three.len() { SIGNS[(n >> (18 - 6 * i) & 63) as usize] as char } else { '=' }));
        }
        text
    };
    let integrity = format!("sha512-{}", base64(&Sha512::digest(package)));
    let files = [
        ("Dockerfile", DOCKERFILE.to_owned()),
        (".dockerignore", "node_modules\ndist\n".to_owned()),
        (
            "package.json",
            "{\"name\":\"seed\",\"version\":\"1.0.0\",\"private\":true,\"scripts\":{\"build\":\"node build.js\",\"start\":\"node dist/server.js\"},\"dependencies\":{\"greeting\":\"1.0.0\"}}\n".to_owned(),
        ),
        (
            "package-lock.json",
            format!("{{\"name\":\"seed\",\"version\":\"1.0.0\",\"lockfileVersion\":3,\"requires\":true,\"packages\":{{\"\":{{\"name\":\"seed\",\"version\":\"1.0.0\",\"dependencies\":{{\"greeting\":\"1.0.0\"}}}},\"node_modules/greeting\":{{\"version\":\"1.0.0\",\"resolved\":\"http://{registry}/greeting/-/greeting-1.0.0.tgz\",\"integrity\":\"{integrity}\"}}}}}}\n"),
        ),
        ("build.js", "const fs = require('fs'); fs.mkdirSync('dist'); fs.copyFileSync('server.js', 'dist/server.js');\n".to_owned()),
        ("server.js", server("world")),
    ];
    for (name, content) in files {
        std::fs::write(folder.join(name), content).expect("a file");
    }
}

fn server(name: &str) -> String {
    format!(
        "const greet = require('greeting');\nrequire('http').createServer((q, a) => a.end(`${{greet('{name}')}} from ${{process.getuid()}}\\n`)).listen(1337);\n"
    )
}

/// Which steps of a build were remembered, by their first words.
fn cached(docker: &Docker, folder: &Path, buildkit: bool) -> Vec<&'static str> {
    let place = folder.to_string_lossy().into_owned();
    let mut arguments = vec!["build", "--network=host", "-t", "app"];
    if buildkit {
        arguments.push("--progress=plain");
    }
    arguments.push(&place);
    let said = docker.run(&arguments).succeeded();
    let said = format!("{}{}", said.stdout, said.stderr);
    let steps = ["WORKDIR /opt/app", "COPY package.json", "RUN npm install", "COPY . .", "RUN npm run build"];
    let lines: Vec<&str> = said.lines().collect();
    let kept = |step: &str| match buildkit {
        true => lines.iter().position(|l| l.contains("] ") && l.contains(step)).is_some_and(|at| lines[at + 1].contains("CACHED")),
        false => {
            lines.iter().position(|l| l.starts_with("Step ") && l.contains(step)).is_some_and(|at| lines[at + 1].contains("Using cache"))
        }
    };
    steps.into_iter().filter(|step| kept(step)).collect()
}

fn answer(address: &str) -> String {
    until("the application answers", || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.rsplit("\r\n\r\n").next().filter(|body| !body.is_empty()).map(str::to_owned)
    })
}

#[test]
fn the_users_dockerfile_builds_runs_and_answers() {
    let Some(image) = Image::node() else { return skip("node and npm are not installed: the user's Dockerfile was not built") };
    let server_of_ours = Server::start();
    let classic = server_of_ours.docker();
    let archive = server_of_ours.folder().join("node.tar");
    std::fs::write(&archive, image.archive(&["node:20-alpine"])).expect("the base image");
    classic.run(&["load", "-q", "-i", &archive.to_string_lossy()]).succeeded();
    let package = package();
    let registry = serve(package.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let mut doors = vec![(false, classic.clone())];
    match plugin("docker-buildx") {
        Some(buildx) => doors.push((true, server_of_ours.docker().plugins(&[buildx]))),
        None => skip("docker-buildx is not installed: the user's Dockerfile was built by the classic door only"),
    }
    for (buildkit, docker) in doors {
        project(folder.path(), &registry, &package);
        let all = ["WORKDIR /opt/app", "COPY package.json", "RUN npm install", "COPY . .", "RUN npm run build"];
        if !buildkit {
            assert_eq!(cached(&docker, folder.path(), buildkit), [""; 0], "a first build has nothing to remember");
        }
        // Both doors share what is remembered.
        assert_eq!(cached(&docker, folder.path(), buildkit), all);
        // The published port of the document, where nobody has it yet.
        let publish = if TcpListener::bind("0.0.0.0:1337").is_ok() { "1337:1337" } else { "1337" };
        docker.run(&["run", "-d", "--name", "app", "-p", publish, "app"]).succeeded();
        let port = docker.text(&["port", "app", "1337/tcp"]);
        let port = port.lines().next().and_then(|l| l.rsplit(':').next()).expect("a port").to_owned();
        assert_eq!(answer(&format!("127.0.0.1:{port}")), "hello world from 1000\n");
        docker.run(&["rm", "-f", "app"]).succeeded();
        // A new time alone changes nothing; a source file leaves npm install alone; a package does not.
        let at = |name: &str| folder.path().join(name);
        std::fs::File::open(at("server.js")).and_then(|f| f.set_modified(std::time::SystemTime::now())).expect("a new time");
        assert_eq!(cached(&docker, folder.path(), buildkit), all);
        std::fs::write(at("server.js"), server(if buildkit { "modern" } else { "classic" })).expect("an edit");
        assert_eq!(cached(&docker, folder.path(), buildkit), all[..3]);
        let text = std::fs::read_to_string(at("package.json")).expect("package.json");
        std::fs::write(
            at("package.json"),
            text.replace("\"private\"", if buildkit { "\"a\":1,\"private\"" } else { "\"b\":1,\"private\"" }),
        )
        .expect("an edit");
        assert_eq!(cached(&docker, folder.path(), buildkit), all[..1]);
    }
}
