//! Ten projects as people have them, built by both doors and by the BuildKit of a dockerd beside us: the configurations and the
//! file trees must be the same, file by file (mode, owner, content, links, attributes).
//!
//! Debian's dockerd 20.10 knows Dockerfiles up to version 1.2. Where a project uses what came later, it has a second Dockerfile
//! for that dockerd which says the same in older words, so that the comparison stays one with another program's result.

use e2e::cli::plugin;
use e2e::peer::Dockerd;
use e2e::saved::Saved;
use e2e::{Docker, Server, skip};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A project to build.
#[derive(Default)]
struct Project {
    name: &'static str,
    dockerfile: &'static str,
    /// The same for a dockerd that knows less; empty: it knows all of it.
    older: &'static str,
    /// Files of the context: path, mode, content. A path that ends with a slash is a folder.
    files: Vec<(&'static str, u32, &'static str)>,
    /// Symbolic links: path, target.
    links: Vec<(&'static str, &'static str)>,
    /// Arguments of `docker build` in each door.
    arguments: Vec<&'static str>,
    /// Arguments that only clients with a session have.
    session: Vec<&'static str>,
    /// Whether the classic door has nothing for it.
    session_only: bool,
    /// Other images that it is built on: name and Dockerfile.
    before: Vec<(&'static str, &'static str)>,
}

fn projects() -> Vec<Project> {
    vec![
        Project {
            name: "compiled",
            dockerfile: "ARG BASE=busybox\nARG VERSION=0.0\nFROM $BASE AS deps\nWORKDIR /src\nCOPY go.mod ./\nRUN --mount=type=cache,target=/root/.cache,id=go echo fetched > /root/.cache/f && cp go.mod deps.lock\n\nFROM deps AS build\nARG VERSION\nENV OUT=/out/bin\nCOPY . .\nRUN mkdir -p $OUT && printf '#!/bin/sh\\necho %s\\n' \"$VERSION\" > $OUT/app && chmod 4755 $OUT/app\n\nFROM busybox AS test\nRUN false\n\nFROM scratch\nCOPY --from=build /out/bin/app /app\nCOPY --from=0 /src/deps.lock /etc/deps.lock\nCOPY --from=busybox /etc/passwd /etc/passwd\nUSER web:web\nEXPOSE 8080/tcp 9090/udp\nLABEL org.opencontainers.image.version=\"1.0\" multi='a b' more=\"x y\"\nENTRYPOINT [\"/app\"]\nCMD [\"--serve\"]\n",
            files: vec![("go.mod", 0o644, "module x\n"), ("main.go", 0o600, "package main\n"), ("cmd/run.sh", 0o755, "#!/bin/sh\n")],
            arguments: vec!["--build-arg", "VERSION=1.2.3"],
            ..Project::default()
        },
        Project {
            name: "interpreted",
            dockerfile: "FROM busybox\nWORKDIR /app\nCOPY package*.json ./\nRUN --mount=type=bind,target=/ctx --mount=type=bind,source=src,target=/only,rw test -f /ctx/README.md && touch /only/new && ls /ctx > listed && ls -a /ctx/src >> listed\nCOPY . .\nRUN rm package-lock.json && mkdir -p dist && cp src/index.js dist/ && chown -R web:web dist\nUSER web\nRUN id -un > /tmp/who\nWORKDIR sub/deep\nWORKDIR ../other\nVOLUME [\"/data\", \"/more\"]\nVOLUME /third\nEXPOSE 1337\nENV NODE_ENV=production PATH=/app/bin:$PATH\nCMD npm start\n",
            files: vec![
                ("package.json", 0o644, "{}\n"),
                ("package-lock.json", 0o644, "{\"l\":1}\n"),
                ("src/index.js", 0o644, "1\n"),
                ("src/deep/a.test.js", 0o644, "2\n"),
                ("src/deep/b.js", 0o664, "3\n"),
                ("node_modules/x/y.js", 0o644, "no\n"),
                ("README.md", 0o644, "keep\n"),
                ("NOTES.md", 0o644, "drop\n"),
                ("docs/a.md", 0o644, "kept: the pattern is the root's\n"),
                (".env", 0o600, "secret\n"),
                ("logs/", 0o770, ""),
                (".dockerignore", 0o644, "# what is not wanted\nnode_modules\n*.md\n!README.md\n**/*.test.js\n.env*\n"),
            ],
            ..Project::default()
        },
        Project {
            name: "secrets",
            dockerfile: "FROM busybox AS a\nRUN --mount=type=secret,id=token cat /run/secrets/token > /a && stat -c '%a %u %g' /run/secrets/token > /as\nRUN --mount=type=secret,id=token,target=/etc/t,mode=0444,uid=1000,gid=2000 stat -c '%a %u %g' /etc/t > /b; cat /etc/t >> /b\nRUN --mount=type=secret,id=missing test ! -e /run/secrets/missing && echo none > /c\nFROM busybox\nCOPY --from=a /a /as /b /c /got/\nRUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x && mount | grep -c ' /scratch ' > /scratched\n",
            session: vec!["--secret", "id=token,src=token.txt"],
            session_only: true,
            files: vec![("token.txt", 0o600, "hunter2\n"), (".dockerignore", 0o644, "token.txt\n")],
            ..Project::default()
        },
        Project {
            name: "agent",
            dockerfile: "FROM busybox\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && echo \"$SSH_AUTH_SOCK\" > /sock && stat -c '%a %u' \"$SSH_AUTH_SOCK\" >> /sock\nRUN --mount=type=ssh,mode=0666,uid=1000,gid=2000 stat -c '%a %u %g' \"$SSH_AUTH_SOCK\" > /sock2\nRUN test -z \"$SSH_AUTH_SOCK\"\n",
            session: vec!["--ssh", "default=agent.sock"],
            session_only: true,
            ..Project::default()
        },
        Project {
            name: "documents",
            dockerfile: "FROM busybox\nARG WHO=world\nCOPY <<EOF /plain\nhello ${WHO}\n\\$kept\nEOF\nCOPY <<'EOF' /quoted\nhello ${WHO}\nEOF\nCOPY --chmod=0750 --chown=web:logs <<-one <<two /dir/\n\tindented\n\tone\nsecond\ntwo\nRUN --network=none <<EOF\nset -e\necho one > /run1\necho two >> /run1\nEOF\nRUN <<EOF cat > /run2\npiped $WHO\nEOF\nRUN <<-\"X\"\n#!/bin/sh\necho script $0 > /dev/null\necho $WHO > /run3\nX\n",
            older: "FROM busybox\nARG WHO=world\nCOPY plain /plain\nCOPY quoted /quoted\nCOPY --chmod=0750 --chown=web:logs dir/one dir/two /dir/\nRUN set -e; echo one > /run1; echo two >> /run1\nRUN echo \"piped $WHO\" > /run2\nRUN echo $WHO > /run3\n",
            files: vec![
                ("plain", 0o644, "hello world\n$kept\n"),
                ("quoted", 0o644, "hello ${WHO}\n"),
                ("dir/one", 0o644, "indented\n"),
                ("dir/two", 0o644, "second\n"),
            ],
            ..Project::default()
        },
        Project {
            name: "arguments",
            dockerfile: "ARG TAG=latest\nARG FLAVOUR=${TAG:+tagged}\nFROM busybox:${TAG} AS base\nARG FLAVOUR\nARG TARGETARCH\nARG EMPTY=\nARG QUOTED=\"a b\"\nENV A=1 B=\"two words\" C=three\\ words D='$A' E=\"$A\"\nENV F=${UNSET:-fallback} G=${A:+set} H=${EMPTY:-empty} I=$A$B\nENV OLD the rest of it\nLABEL flavour=$FLAVOUR arch=$TARGETARCH quoted=$QUOTED\nRUN echo \"$FLAVOUR $QUOTED $TARGETARCH $A $B $C $D $E $F $G $H $OLD\" > /said\nARG PORT=80\nEXPOSE $PORT/tcp 90\nARG DIR=/srv\nWORKDIR ${DIR}/${A}\nUSER ${WHO:-web}\nFROM base\nARG FLAVOUR=own\nARG GIVEN\nRUN echo \"$FLAVOUR $GIVEN $QUOTED $HTTP_PROXY\" > /tmp/second\nSTOPSIGNAL ${SIG:-SIGUSR1}\n",
            arguments: vec!["--build-arg", "GIVEN=here", "--build-arg", "HTTP_PROXY=http://127.0.0.1:9", "--label", "built=by"],
            ..Project::default()
        },
        Project {
            name: "archives",
            dockerfile: "FROM busybox\nADD plain.tar /plain/\nADD packed.tgz /packed/\nADD packed.tgz plain.tar notes.txt /several/\nADD --chown=1000:2000 plain.tar /owned/\nCOPY packed.tgz /copied.tgz\nADD tree /tree\nCOPY tree/* /flat/\nCOPY tree/link /followed\nCOPY tree/dirlink /dirfollowed\nCOPY notes.txt tree/exec /into/new/\nCOPY --chown=web notes.txt /home/web/sub/notes\nCOPY tree/s?id tree/[a-e]mpty /pattern/\nCOPY [\"with space.txt\", \"/with space/\"]\n",
            older: "FROM busybox\nADD plain.tar /plain/\nADD packed.tgz /packed/\nADD packed.tgz plain.tar notes.txt /several/\nADD plain.tar /owned/\nRUN chown -hR 1000:2000 /owned\nCOPY packed.tgz /copied.tgz\nADD tree /tree\nCOPY tree/* /flat/\nCOPY tree/link /followed\nCOPY tree/dirlink /dirfollowed\nCOPY notes.txt tree/exec /into/new/\nCOPY --chown=web notes.txt /home/web/sub/notes\nCOPY tree/s?id tree/[a-e]mpty /pattern/\nCOPY [\"with space.txt\", \"/with space/\"]\n",
            files: vec![
                ("notes.txt", 0o640, "notes\n"),
                ("with space.txt", 0o644, "space\n"),
                ("tree/exec", 0o755, "x\n"),
                ("tree/suid", 0o6755, "s\n"),
                ("tree/empty/", 0o700, ""),
                ("tree/sticky/", 0o1777, ""),
                ("tree/sub/a", 0o444, "a\n"),
            ],
            links: vec![("tree/link", "exec"), ("tree/dirlink", "sub"), ("tree/sub/dangling", "nowhere"), ("tree/sub/up", "../exec")],
            ..Project::default()
        },
        Project {
            name: "copies",
            dockerfile: "FROM busybox AS from\nRUN mkdir -p /o/in /o/skip && echo 1 > /o/in/one && echo 2 > /o/two && ln -s two /o/lnk && chown -R web:web /o/in && chmod 700 /o/in && echo s > /o/skip/s.log && mkdir -m 750 /etc/app && echo base > /etc/app/base\nFROM from\nCOPY --link --chown=5:6 a/ /linked/\nCOPY --chmod=640 a/x.txt /mode/x\nCOPY --chmod=u=rwX,go=rX a /tree\nCOPY --parents a/./b/y.txt a/x.txt /parents/\nCOPY --exclude=*.log --exclude=b a /excluded/\nCOPY --from=from --chown=web:logs /o /o2\nCOPY --from=from /o/lnk /o/in /o3/\nCOPY --link --from=from /o/two /o4/two\nCOPY a/x.txt /etc/app/\nCOPY a /etc/app\n",
            older: "FROM busybox AS from\nRUN mkdir -p /o/in /o/skip && echo 1 > /o/in/one && echo 2 > /o/two && ln -s two /o/lnk && chown -R web:web /o/in && chmod 700 /o/in && echo s > /o/skip/s.log && mkdir -m 750 /etc/app && echo base > /etc/app/base\nFROM from\nCOPY --chown=5:6 a/ /linked/\nCOPY --chmod=640 a/x.txt /mode/x\nCOPY a /tree\nRUN chmod 755 /tree /tree/b /tree/run.sh && chmod 644 /tree/x.txt /tree/n.log /tree/b/y.txt\nCOPY a/b/y.txt /parents/b/y.txt\nCOPY a/x.txt /parents/a/x.txt\nCOPY a/x.txt /excluded/x.txt\nCOPY a/run.sh /excluded/run.sh\nCOPY --from=from --chown=web:logs /o /o2\nCOPY --from=from /o/lnk /o/in /o3/\nCOPY --from=from /o/two /o4/two\nCOPY a/x.txt /etc/app/\nCOPY a /etc/app\n",
            files: vec![("a/x.txt", 0o600, "x\n"), ("a/run.sh", 0o700, "r\n"), ("a/b/y.txt", 0o644, "y\n"), ("a/n.log", 0o644, "l\n")],
            ..Project::default()
        },
        Project {
            name: "inherited",
            dockerfile: "FROM parent\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo $0 > /tmp/shell\nHEALTHCHECK --interval=30s --timeout=3s --start-period=1m --retries=5 CMD wget -q localhost || exit 1\nSTOPSIGNAL SIGQUIT\nENTRYPOINT exec top -b\n",
            before: vec![(
                "parent",
                "FROM busybox\nENV FROM_PARENT=yes\nCMD [\"sleep\", \"1\"]\nHEALTHCHECK NONE\nVOLUME /keep\nRUN mkdir -p /keep && echo kept > /keep/f\nONBUILD ARG MODE=fast\nONBUILD COPY app /app\nONBUILD RUN echo $MODE > /mode\nONBUILD USER nobody\n",
            )],
            files: vec![("app/a", 0o644, "a\n")],
            ..Project::default()
        },
        Project {
            name: "changes",
            dockerfile: "FROM busybox AS old\nRUN mkdir -p /d/keep /d/gone /x/y && echo 1 > /d/keep/1 && echo 2 > /d/gone/2 && echo f > /f && echo h > /h1 && ln /h1 /h2 && mkfifo /fifo && ln -s /x /lnk\nFROM old\nRUN rm -r /d/gone && rm /f && mkdir /f && echo now > /f/folder && rm -r /x && echo file > /x\nRUN rm -r /d && mkdir -m 711 /d && echo new > /d/new\nRUN chmod 600 /h1 && chown web /h2 && mv /f /moved\nRUN echo $((1+1)) > /etc/hosts && echo r > /etc/resolv.conf; echo done > /done\nRUN mkdir -p /proc/x /sys/y /dev/z 2>/dev/null; mkdir -p /run/lock && touch /tmp/t && rm /tmp/t\nCOPY --from=old /d /d\nCOPY --from=old /lnk /through\n",
            ..Project::default()
        },
    ]
}

/// Writes the context.
fn context(project: &Project) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |path: &str| folder.path().join(path);
    for (path, mode, content) in &project.files {
        if path.ends_with('/') {
            std::fs::create_dir_all(at(path)).expect("a folder");
        } else {
            std::fs::create_dir_all(at(path).parent().expect("a parent")).expect("a folder");
            std::fs::write(at(path), content).expect("a file");
        }
        std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(*mode)).expect("a mode");
    }
    for (path, target) in &project.links {
        std::os::unix::fs::symlink(target, at(path)).expect("a link");
    }
    if project.name == "archives" {
        archives(folder.path());
    }
    std::fs::write(at("Dockerfile"), project.dockerfile).expect("a Dockerfile");
    if !project.older.is_empty() {
        std::fs::write(at("Dockerfile.older"), project.older).expect("a Dockerfile");
    }
    folder
}

/// A tar with owners, a sticky folder, a hard link, and an attribute; the same compressed.
fn archives(folder: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    let entry = |kind, mode, (uid, gid), size: usize| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(size as u64);
        header.set_mtime(1_700_000_000);
        header
    };
    tar.append_data(&mut entry(tar::EntryType::Directory, 0o2770, (7, 8), 0), "d/", std::io::empty()).expect("a folder");
    let attribute: [(&str, &[u8]); 1] = [("SCHILY.xattr.user.note", b"kept")];
    tar.append_pax_extensions(attribute).expect("an attribute");
    tar.append_data(&mut entry(tar::EntryType::Regular, 0o604, (9, 10), 2), "d/f", &b"f\n"[..]).expect("a file");
    tar.append_link(&mut entry(tar::EntryType::Link, 0o604, (9, 10), 0), "d/g", "d/f").expect("a link");
    tar.append_link(&mut entry(tar::EntryType::Symlink, 0o777, (11, 12), 0), "s", "d/f").expect("a link");
    let bytes = tar.into_inner().expect("the tar's end");
    std::fs::write(folder.join("plain.tar"), bytes).expect("a tar");
    let packed = std::process::Command::new("gzip").args(["-c", "plain.tar"]).current_dir(folder).output().expect("gzip");
    std::fs::write(folder.join("packed.tgz"), packed.stdout).expect("a compressed tar");
    // cap_net_bind_service=ep, as the kernel keeps it (capabilities(7), revision 2).
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(folder.join("tree/exec"), "security.capability", &capability, rustix::fs::XattrFlags::empty())
        .expect("a capability");
}

/// Builds a project and reads what came of it.
fn built(docker: &Docker, project: &Project, folder: &Path, older: bool, session: bool) -> Saved {
    for (name, file) in &project.before {
        docker.with_input(&["build", "-q", "-t", name, "-"], file.as_bytes()).succeeded();
    }
    let name = format!("project-{}", project.name);
    let file = folder.join(if older && !project.older.is_empty() { "Dockerfile.older" } else { "Dockerfile" });
    let (file, place) = (file.to_string_lossy().into_owned(), folder.to_string_lossy().into_owned());
    let mut arguments = vec!["build", "-t", &name, "-f", &file];
    arguments.extend(&project.arguments);
    if session {
        arguments.extend(&project.session);
        arguments.push("--progress=plain");
    }
    arguments.push(&place);
    let mut command = docker.command(&arguments);
    e2e::Output::of(command.current_dir(folder).stdin(std::process::Stdio::null())).succeeded();
    Saved::read(&docker.run(&["save", &name]).succeeded().bytes)
}

/// Mount points of RUNs, which BuildKit before 0.11 leaves in the layer; we take them out, as the later ones do.
const LEFT_BY_OLDER: [&str; 6] = ["ctx", "dev", "only", "run", "run/buildkit", "scratch"];

/// What differs, one line each.
fn differences(project: &Project, door: &str, ours: &Saved, theirs: &Saved) -> Vec<String> {
    let mut out = Vec::new();
    let (a, b) = (ours.runs_with(), theirs.runs_with());
    let keys: std::collections::BTreeSet<&String> = a.as_object().into_iter().chain(b.as_object()).flat_map(|m| m.keys()).collect();
    for key in keys {
        if a[key] != b[key] {
            out.push(format!("{} by {door}: {key} is {} and not {}", project.name, a[key], b[key]));
        }
    }
    let paths: BTreeMap<&String, ()> = ours.tree.keys().chain(theirs.tree.keys()).map(|path| (path, ())).collect();
    for path in paths.keys() {
        let (a, b) = (ours.tree.get(*path), theirs.tree.get(*path));
        let absent = "absent".to_owned();
        let left = a.is_none() && LEFT_BY_OLDER.contains(&path.as_str()) && b.is_some_and(|b| b.starts_with("d 0755 0:0"));
        // The older one loses attributes on the way into a layer; what ours has of them is looked at below.
        let a =
            a.map(
                |a| if b.is_some_and(|b| b.ends_with("{}")) { format!("{}{{}}", &a[..a.rfind('{').unwrap_or(a.len())]) } else { a.clone() },
            );
        let a = a.as_ref();
        if a != b && !left {
            out.push(format!("{} by {door}: /{path} is {} and not {}", project.name, a.unwrap_or(&absent), b.unwrap_or(&absent)));
        }
    }
    out
}

#[test]
fn ten_projects_are_what_dockerds_buildkit_makes_of_them() {
    let Some(buildx) = plugin("docker-buildx") else { return skip("docker-buildx is not installed: ten projects were not built with it") };
    let server = Server::start();
    let classic = server.load_busybox();
    let modern = server.docker().plugins(std::slice::from_ref(&buildx));
    let peer = Dockerd::start();
    let theirs = match &peer {
        Ok(peer) => {
            let docker = Docker::new(&format!("unix://{}", peer.socket().display()), &server.folder().join("peer")).plugins(&[buildx]);
            server.load_busybox_for(&docker);
            Some(docker)
        }
        Err(why) => {
            skip(&format!("no dockerd to compare with, only the doors with each other: {why}"));
            None
        }
    };
    let mut wrong = Vec::new();
    for project in projects() {
        let folder = context(&project);
        // buildx forwards what is said to it there; nobody asks this agent.
        let _agent = project.session.contains(&"--ssh").then(|| UnixListener::bind(folder.path().join("agent.sock")).expect("an agent"));
        let ours = built(&modern, &project, folder.path(), false, true);
        if project.name == "archives" {
            for (path, attribute) in [
                ("plain/d/f", "user.note"),
                ("owned/d/f", "user.note"),
                ("tree/exec", "security.capability"),
                ("followed", "security.capability"),
            ] {
                assert!(ours.tree[path].contains(attribute), "{path} lost {attribute}: {}", ours.tree[path]);
            }
        }
        if !project.session_only {
            wrong.extend(differences(&project, "the classic door", &built(&classic, &project, folder.path(), false, false), &ours));
        }
        if let Some(theirs) = &theirs {
            wrong.extend(differences(&project, "BuildKit's door", &ours, &built(theirs, &project, folder.path(), true, true)));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
