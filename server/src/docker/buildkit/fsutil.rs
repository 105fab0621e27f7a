//! Folders of a client, as fsutil's packets carry them (tonistiigi/fsutil, `types/wire.proto`): one side tells what it has,
//! the other asks for contents by number.
//!
//! What comes in is made a tar and never a file: the worker that unpacks it, in the tenant's user namespace and without
//! network, is the one that every other stranger's archive goes through. Here only the conversation is bounded and its
//! paths are looked at, so that a lie is told early and with its name.

use super::grpc::{Code, Incoming, Status};
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bytes::{BufMut, BytesMut};
use engine::container::request::ArchiveStream;
use futures_util::Stream;
use std::collections::{HashMap, VecDeque};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Files, folders and links of one folder; the worker has the same bound.
const ENTRIES_MAX: usize = 1_000_000;
/// Bytes asked for and not written yet, and how many files they are of: one file that is larger is asked for alone.
const WINDOW: u64 = 8 << 20;
const WINDOW_FILES: usize = 512;
/// Room for requests on their way: more than can be open, so that asking never waits while there are answers to take.
pub const REQUESTS: usize = 2 * WINDOW_FILES;
/// Bytes of entries whose turn has not come: paths, targets, attributes, and what holds them.
const QUEUE_MAX: usize = 128 << 20;
/// Bytes of one entry's extended attributes.
const XATTRS_MAX: usize = 1 << 20;

/// Bytes of one message with content.
const PIECE: usize = 32 * 1024;

/// Go's `os.FileMode`: what is not the nine bits of permission.
mod go {
    pub const DIR: u32 = 1 << 31;
    pub const SYMLINK: u32 = 1 << 27;
    pub const DEVICE: u32 = 1 << 26;
    pub const PIPE: u32 = 1 << 25;
    pub const SOCKET: u32 = 1 << 24;
    pub const SETUID: u32 = 1 << 23;
    pub const SETGID: u32 = 1 << 22;
    pub const CHAR: u32 = 1 << 21;
    pub const STICKY: u32 = 1 << 20;
    pub const IRREGULAR: u32 = 1 << 19;
}

/// An entry whose turn has not come.
struct Waiting {
    id: u32,
    stat: Stat,
}

/// Content of a file that was asked for.
struct Content {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes that may still come: what grew meanwhile is cut to what was told, as tar does.
    rest: u64,
    ended: bool,
}

/// Takes a folder from a peer: packets in, requests out, a tar into `out`, entries in the order they were told.
///
/// # Errors
/// What the peer said, or what is wrong with what it sent.
pub async fn receive(
    mut packets: Incoming<Packet>,
    requests: mpsc::Sender<Packet>,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Status> {
    let mut receiving = Receiving::default();
    let mut last_path: Option<String> = None;
    let mut count = 0usize;
    let mut told = false;
    loop {
        // Everything whose turn has come is written, and as much as the window takes is asked for.
        receiving.write(out).await?;
        receiving.ask(&requests).await?;
        if told && receiving.queue.is_empty() {
            break;
        }
        let packet = packets.next().await?.ok_or_else(|| refused("the folder broke off"))?;
        match packet.r#type() {
            PacketType::PacketStat => {
                let Some(stat) = packet.stat else {
                    told = true;
                    continue;
                };
                if told {
                    return Err(refused("an entry after the last one"));
                }
                let id = u32::try_from(count).map_err(|_| refused("too many entries"))?;
                count += 1;
                if count > ENTRIES_MAX {
                    return Err(Status::new(Code::ResourceExhausted, format!("the folder has more than {ENTRIES_MAX} entries")));
                }
                let path = checked(&stat.path)?;
                if last_path.as_deref().is_some_and(|last| !comes_before(last, &path)) {
                    return Err(refused(&format!("{path:?} is out of order")));
                }
                last_path = Some(path.clone());
                let stat = Stat { path, ..stat };
                receiving.queued += weight(&stat);
                if receiving.queued > QUEUE_MAX {
                    return Err(Status::new(Code::ResourceExhausted, "the folder has too many entries with too long names"));
                }
                receiving.queue.push_back(Waiting { id, stat });
            }
            PacketType::PacketData => receiving.data(packet.id, packet.data)?,
            PacketType::PacketErr => {
                return Err(Status::new(Code::Unknown, String::from_utf8_lossy(&packet.data).into_owned()));
            }
            PacketType::PacketFin => return Err(refused("it ended before all was sent")),
            PacketType::PacketReq => return Err(refused("it asked for a file")),
        }
    }
    // Two empty blocks end a tar.
    out.write_all(&[0; 1024]).await.map_err(gone)?;
    out.flush().await.map_err(gone)?;
    send(&requests, Packet { r#type: PacketType::PacketFin as i32, ..Packet::default() }).await?;
    // The peer says goodbye too; when it does not, all is here anyway.
    while let Ok(Some(packet)) = packets.next().await {
        if packet.r#type() == PacketType::PacketFin {
            break;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Receiving {
    queue: VecDeque<Waiting>,
    contents: HashMap<u32, Content>,
    /// Bytes asked for and not written.
    window: u64,
    /// Bytes of the first file that were written; `None`: its header is not.
    written: Option<u64>,
    /// How many of the queue's first entries were asked for or need not be.
    looked_at: usize,
    /// What the queue weighs.
    queued: usize,
}

impl Receiving {
    /// Asks for contents as far as the window goes.
    async fn ask(&mut self, requests: &mpsc::Sender<Packet>) -> Result<(), Status> {
        while let Some(waiting) = self.queue.get(self.looked_at) {
            if is_file(&waiting.stat) {
                let size = size(&waiting.stat)?;
                let first = self.contents.is_empty();
                if !first && (self.window.saturating_add(size) > WINDOW || self.contents.len() >= WINDOW_FILES) {
                    return Ok(());
                }
                self.window = self.window.saturating_add(size);
                self.contents.insert(waiting.id, Content { pieces: VecDeque::new(), rest: size, ended: false });
                send(requests, Packet { r#type: PacketType::PacketReq as i32, id: waiting.id, ..Packet::default() }).await?;
            }
            self.looked_at += 1;
        }
        Ok(())
    }

    fn data(&mut self, id: u32, mut data: Vec<u8>) -> Result<(), Status> {
        let content = self.contents.get_mut(&id).filter(|c| !c.ended).ok_or_else(|| refused("content that nobody asked for"))?;
        if data.is_empty() {
            content.ended = true;
        } else if content.rest > 0 {
            data.truncate(usize::try_from(content.rest).unwrap_or(usize::MAX));
            content.rest -= data.len() as u64;
            content.pieces.push_back(data);
        }
        Ok(())
    }

    /// Writes what can be written.
    async fn write(&mut self, out: &mut (impl AsyncWrite + Unpin)) -> Result<(), Status> {
        while let Some(first) = self.queue.front() {
            if !is_file(&first.stat) {
                if let Some(header) = header(&first.stat)? {
                    out.write_all(&header).await.map_err(gone)?;
                }
            } else {
                let Some(content) = self.contents.get_mut(&first.id) else { return Ok(()) };
                let size = size(&first.stat)?;
                let mut written = match self.written {
                    Some(written) => written,
                    None => {
                        if let Some(header) = header(&first.stat)? {
                            out.write_all(&header).await.map_err(gone)?;
                        }
                        0
                    }
                };
                while let Some(piece) = content.pieces.pop_front() {
                    out.write_all(&piece).await.map_err(gone)?;
                    written += piece.len() as u64;
                }
                self.written = Some(written);
                if !content.ended {
                    return Ok(());
                }
                if written < size {
                    return Err(refused(&format!("{:?} became shorter while it was sent", first.stat.path)));
                }
                let padding = usize::try_from((512 - size % 512) % 512).unwrap_or(0);
                out.write_all(&[0; 512][..padding]).await.map_err(gone)?;
                self.contents.remove(&first.id);
                self.window = self.window.saturating_sub(size);
                self.written = None;
            }
            self.queued = self.queued.saturating_sub(self.queue.pop_front().map_or(0, |w| weight(&w.stat)));
            self.looked_at = self.looked_at.saturating_sub(1);
        }
        Ok(())
    }
}

/// Bytes an entry holds in the queue, with what lies around them.
fn weight(stat: &Stat) -> usize {
    let attributes: usize = stat.xattrs.iter().map(|(name, value)| name.len() + value.len() + 96).sum();
    size_of::<Waiting>() + stat.path.len() + stat.linkname.len() + attributes
}

fn refused(what: &str) -> Status {
    Status::new(Code::InvalidArgument, format!("the client's folder cannot be taken: {what}"))
}

fn gone(error: std::io::Error) -> Status {
    Status::new(Code::Cancelled, format!("nobody takes the folder any more: {error}"))
}

async fn send(requests: &mpsc::Sender<Packet>, packet: Packet) -> Result<(), Status> {
    requests.send(packet).await.map_err(|_| Status::new(Code::Cancelled, "the client has gone"))
}

fn is_file(stat: &Stat) -> bool {
    let special = go::DIR | go::SYMLINK | go::DEVICE | go::PIPE | go::SOCKET | go::IRREGULAR;
    stat.mode & special == 0 && stat.linkname.is_empty()
}

fn size(stat: &Stat) -> Result<u64, Status> {
    u64::try_from(stat.size).map_err(|_| refused(&format!("{:?} has a negative size", stat.path)))
}

/// A path as the packets have it: relative, without tricks.
fn checked(path: &str) -> Result<String, Status> {
    // Windows' clients send what they have.
    let path = path.trim_end_matches('/');
    let wrong = path.is_empty()
        || path.len() > 4095
        || path.contains('\0')
        || path.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > 255);
    match wrong {
        true => Err(refused(&format!("{path:?} is no path inside it"))),
        false => Ok(path.to_owned()),
    }
}

/// fsutil tells entries in the order of their paths, part by part; two of one name would be a trick.
fn comes_before(a: &str, b: &str) -> bool {
    a.split('/').cmp(b.split('/')).is_lt()
}

/// The tar header of an entry, with what does not fit into one in front. `None`: it is left out.
fn header(stat: &Stat) -> Result<Option<Vec<u8>>, Status> {
    let kind = if stat.mode & go::DIR != 0 {
        tar::EntryType::Directory
    } else if stat.mode & go::SYMLINK != 0 {
        tar::EntryType::Symlink
    } else if stat.mode & go::SOCKET != 0 {
        // As everywhere: sockets are nothing to copy.
        return Ok(None);
    } else if stat.mode & go::PIPE != 0 {
        tar::EntryType::Fifo
    } else if stat.mode & (go::DEVICE | go::CHAR | go::IRREGULAR) != 0 {
        return Err(refused(&format!("{:?} is a device, which a build cannot have", stat.path)));
    } else if !stat.linkname.is_empty() {
        tar::EntryType::Link
    } else {
        tar::EntryType::Regular
    };
    let mut mode = stat.mode & 0o777;
    for (bit, unix) in [(go::SETUID, 0o4000), (go::SETGID, 0o2000), (go::STICKY, 0o1000)] {
        if stat.mode & bit != 0 {
            mode |= unix;
        }
    }
    let path = if kind.is_dir() { format!("{}/", stat.path) } else { stat.path.clone() };
    let link = match kind {
        tar::EntryType::Link => checked(stat.linkname.trim_start_matches('/'))?,
        _ => stat.linkname.clone(),
    };
    if link.len() > 4095 || link.contains('\0') {
        return Err(refused(&format!("{:?} has an impossible target", stat.path)));
    }
    let mut out = BytesMut::new();
    let seconds = stat.mod_time.div_euclid(1_000_000_000);
    let nanoseconds = stat.mod_time.rem_euclid(1_000_000_000);
    // A PAX header: nanoseconds, long names and attributes have no place in the old one.
    let mut records = BytesMut::new();
    let time = if seconds < 0 { "0".to_owned() } else { format!("{seconds}.{nanoseconds:09}") };
    record(&mut records, "mtime", time.as_bytes());
    record(&mut records, "path", path.as_bytes());
    if !link.is_empty() {
        record(&mut records, "linkpath", link.as_bytes());
    }
    if stat.xattrs.values().map(Vec::len).sum::<usize>() > XATTRS_MAX {
        return Err(refused(&format!("{:?} has more than {XATTRS_MAX} bytes of attributes", stat.path)));
    }
    for (name, value) in &stat.xattrs {
        if name.contains(['\0', '=', '\n']) {
            return Err(refused(&format!("{:?} has an attribute {name:?}", stat.path)));
        }
        record(&mut records, &format!("SCHILY.xattr.{name}"), value);
    }
    block(&mut out, tar::EntryType::XHeader, "pax", 0o644, records.len() as u64, 0);
    out.extend_from_slice(&records);
    out.put_bytes(0, (512 - records.len() % 512) % 512);
    let size = if kind == tar::EntryType::Regular { size(stat)? } else { 0 };
    block(&mut out, kind, "x", mode, size, u64::try_from(seconds).unwrap_or(0));
    Ok(Some(out.to_vec()))
}

/// `25 path=…\n`: the number counts itself.
fn record(out: &mut BytesMut, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.put_u8(b'\n');
}

fn block(out: &mut BytesMut, kind: tar::EntryType, name: &str, mode: u32, size: u64, mtime: u64) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    // The PAX header in front has the real one.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

/// Go's `os.FileMode` of a `st_mode`.
pub fn go_mode(unix: u32) -> u32 {
    let mut mode = unix & 0o777;
    for (bit, unix_bit) in [(go::SETUID, 0o4000), (go::SETGID, 0o2000), (go::STICKY, 0o1000)] {
        if unix & unix_bit != 0 {
            mode |= bit;
        }
    }
    mode | match unix & 0o170_000 {
        0o040_000 => go::DIR,
        0o120_000 => go::SYMLINK,
        0o010_000 => go::PIPE,
        0o140_000 => go::SOCKET,
        0o020_000 => go::DEVICE | go::CHAR,
        0o060_000 => go::DEVICE,
        _ => 0,
    }
}

/// What a peer is told of an entry of a tar.
///
/// # Errors
/// For a header that is none.
fn told(header: &tar::Header, path: String, link: String, mtime_ns: Option<i64>) -> std::io::Result<Stat> {
    let kind = match header.entry_type() {
        tar::EntryType::Directory => 0o040_000,
        tar::EntryType::Symlink => 0o120_000,
        tar::EntryType::Fifo => 0o010_000,
        _ => 0,
    };
    let id = |n: u64| u32::try_from(n).unwrap_or(0);
    let seconds = i64::try_from(header.mtime()?).unwrap_or(0).saturating_mul(1_000_000_000);
    Ok(Stat {
        path,
        mode: go_mode(kind | header.mode()? & 0o7777),
        uid: id(header.uid()?),
        gid: id(header.gid()?),
        size: if kind == 0 && link.is_empty() { i64::try_from(header.size()?).unwrap_or(i64::MAX) } else { 0 },
        mod_time: mtime_ns.unwrap_or(seconds),
        linkname: link,
        ..Stat::default()
    })
}

/// The entries of a tar that our own worker makes, one by one, contents passed over.
///
/// # Errors
/// What the worker met; what `each` says.
pub async fn entries(tar: ArchiveStream, each: mpsc::Sender<Stat>) -> std::io::Result<()> {
    let bridge = tokio_util::io::SyncIoBridge::new(tar);
    let walking = tokio::task::spawn_blocking(move || {
        let mut archive = tar::Archive::new(bridge);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('/').trim_start_matches("./").to_owned();
            let path = text(&entry.path_bytes());
            if path.is_empty() || path == "." {
                continue;
            }
            let hard = entry.header().entry_type() == tar::EntryType::Link;
            let link = entry.link_name_bytes().map(|l| if hard { text(&l) } else { String::from_utf8_lossy(&l).into_owned() });
            let mtime = entry.pax_extensions()?.and_then(|all| {
                let time = all.flatten().find(|e| e.key() == Ok("mtime"))?;
                let (seconds, fraction) = time.value().ok()?.split_once('.')?;
                let nanoseconds: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
                Some(seconds.parse::<i64>().ok()?.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
            });
            let stat = told(entry.header(), path, link.unwrap_or_default(), mtime)?;
            if each.blocking_send(stat).is_err() {
                break;
            }
        }
        Ok(())
    });
    walking.await.map_err(std::io::Error::other)?
}

/// Gives a folder to a peer: its entries, then the contents that it asks for. `open` finds a file by its path.
///
/// # Errors
/// What the peer said, or what failed here.
pub async fn send_folder(
    tar: ArchiveStream,
    open: impl Fn(&str) -> engine::Result<std::fs::File> + Send + Sync,
    mut answers: Incoming<Packet>,
    packets: mpsc::Sender<Packet>,
    mut progress: impl FnMut(u64) + Send,
) -> Result<(), Status> {
    let failed = |what: String| Status::new(Code::Unknown, what);
    let (sender, mut stats) = mpsc::channel::<Stat>(256);
    let listing = tokio::spawn(entries(tar, sender));
    let mut paths = Vec::new();
    let telling = async {
        while let Some(stat) = stats.recv().await {
            paths.push(if is_file(&stat) { Some(stat.path.clone()) } else { None });
            send(&packets, Packet { r#type: PacketType::PacketStat as i32, stat: Some(stat), ..Packet::default() }).await?;
        }
        send(&packets, Packet { r#type: PacketType::PacketStat as i32, ..Packet::default() }).await
    };
    telling.await?;
    listing.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(format!("reading the image: {e}")))?;
    let mut sent = 0u64;
    loop {
        let Some(packet) = answers.next().await? else { return Err(failed("the client took no more".to_owned())) };
        match packet.r#type() {
            PacketType::PacketReq => {
                let path = usize::try_from(packet.id).ok().and_then(|id| paths.get(id)).and_then(Option::as_ref);
                let path = path.ok_or_else(|| failed(format!("the client asked for entry {}, which is no file", packet.id)))?;
                let mut file = tokio::fs::File::from_std(open(path).map_err(|e| Status::of(&e))?);
                loop {
                    let mut data = vec![0; PIECE];
                    let n = file.read(&mut data).await.map_err(|e| failed(format!("reading {path}: {e}")))?;
                    data.truncate(n);
                    sent += n as u64;
                    progress(sent);
                    send(&packets, Packet { r#type: PacketType::PacketData as i32, id: packet.id, data, ..Packet::default() }).await?;
                    if n == 0 {
                        break;
                    }
                }
            }
            PacketType::PacketFin => {
                return send(&packets, Packet { r#type: PacketType::PacketFin as i32, ..Packet::default() }).await;
            }
            PacketType::PacketErr => return Err(failed(String::from_utf8_lossy(&packet.data).into_owned())),
            PacketType::PacketStat | PacketType::PacketData => return Err(failed("the client sent files back".to_owned())),
        }
    }
}

/// Packets of a channel as a stream, for a call.
pub fn outgoing(receiver: mpsc::Receiver<Packet>) -> impl Stream<Item = Packet> + Send {
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

#[cfg(test)]
mod tests {
    use super::super::grpc::encode;
    use super::*;
    use axum::body::Body;
    use std::convert::Infallible;

    fn stat(path: &str, mode: u32, size: i64) -> Stat {
        Stat { path: path.to_owned(), mode, size, mod_time: 1_000_000_000_000_000_001, ..Stat::default() }
    }

    fn data(id: u32, data: &[u8]) -> Packet {
        Packet { r#type: PacketType::PacketData as i32, id, data: data.to_vec(), ..Packet::default() }
    }

    /// A peer that tells these entries and answers requests with these contents; what came of it.
    async fn received(entries: Vec<(Stat, &[u8])>, more: Vec<Packet>) -> Result<Vec<u8>, Status> {
        let (sender, packets) = mpsc::channel::<Packet>(16);
        let (requests, mut asked) = mpsc::channel::<Packet>(REQUESTS);
        let (stats, contents): (Vec<Stat>, Vec<Vec<u8>>) = entries.into_iter().map(|(stat, content)| (stat, content.to_vec())).unzip();
        tokio::spawn(async move {
            for stat in stats {
                let packet = Packet { r#type: PacketType::PacketStat as i32, stat: Some(stat), ..Packet::default() };
                if sender.send(packet).await.is_err() {
                    return;
                }
            }
            for packet in more {
                if sender.send(packet).await.is_err() {
                    return;
                }
            }
            sender.send(Packet::default()).await.ok();
            while let Some(request) = asked.recv().await {
                if request.r#type() == PacketType::PacketFin {
                    sender.send(request).await.ok();
                    return;
                }
                for piece in contents[request.id as usize].chunks(7) {
                    sender.send(data(request.id, piece)).await.ok();
                }
                sender.send(data(request.id, b"")).await.ok();
            }
        });
        use futures_util::StreamExt;
        let bodies = outgoing(packets).map(|p| Ok::<_, Infallible>(encode(&p)));
        let mut out = Vec::new();
        receive(Incoming::new(Body::from_stream(bodies)), requests, &mut out).await.map(|()| out)
    }

    fn file(path: &str, content: &'static [u8]) -> (Stat, &'static [u8]) {
        (stat(path, 0o644, content.len() as i64), content)
    }

    #[tokio::test]
    async fn a_folder_becomes_a_tar() {
        let long = format!("d/{}", "n".repeat(200));
        let mut xattrs = stat("d/x", 0o755 | go::SETUID, 3);
        xattrs.xattrs.insert("user.a".to_owned(), b"\0v".to_vec());
        let link = Stat { linkname: "../../etc/passwd".to_owned(), ..stat("l", go::SYMLINK | 0o777, 0) };
        let hard = Stat { linkname: "d/x".to_owned(), ..stat("z", 0o644, 3) };
        let entries = vec![
            (stat("d", go::DIR | 0o755, 0), b"".as_slice()),
            (stat(&long, 0o600, 10), b"0123456789".as_slice()),
            (xattrs, b"abc"),
            file("d.a", b""),
            (link, b""),
            (stat("p", go::PIPE | 0o600, 0), b""),
            (stat("s", go::SOCKET | 0o600, 0), b""),
            (hard, b""),
        ];
        let tar = received(entries, vec![]).await.unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let link = entry.link_name_bytes().map(|l| String::from_utf8(l.into_owned()).unwrap()).unwrap_or_default();
            let pax: Vec<_> = entry.pax_extensions().unwrap().unwrap().map(|e| e.unwrap().key().unwrap().to_owned()).collect();
            let mode = entry.header().mode().unwrap();
            let mut content = String::new();
            std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
            seen.push((path, mode, link, content, pax.contains(&"SCHILY.xattr.user.a".to_owned())));
        }
        let row = |path: &str, mode, link: &str, content: &str, x| (path.to_owned(), mode, link.to_owned(), content.to_owned(), x);
        assert_eq!(
            seen,
            [
                row("d/", 0o755, "", "", false),
                row(&long, 0o600, "", "0123456789", false),
                row("d/x", 0o4755, "", "abc", true),
                row("d.a", 0o644, "", "", false),
                row("l", 0o777, "../../etc/passwd", "", false),
                row("p", 0o600, "", "", false),
                row("z", 0o644, "d/x", "", false),
            ]
        );
    }

    #[tokio::test]
    async fn many_files_arrive_in_order_whatever_the_window() {
        let names: Vec<String> = (0..2000).map(|n| format!("f{n:05}")).collect();
        let entries = names.iter().map(|n| file(n, b"some content of a file")).collect();
        let tar = received(entries, vec![]).await.unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let seen: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(seen, names);
    }

    #[tokio::test]
    async fn sec_hostile_folders_are_refused() {
        let one = |stat: Stat| -> Vec<(Stat, &'static [u8])> { vec![(stat, b"".as_slice())] };
        let device = go::DEVICE | go::CHAR | 0o666;
        let hard = |target: &str| Stat { linkname: target.to_owned(), ..stat("h", 0o644, 0) };
        type Entries = Vec<(Stat, &'static [u8])>;
        let cases: Vec<(&str, Entries, Vec<Packet>)> = vec![
            ("parent", one(stat("../x", 0o644, 0)), vec![]),
            ("parent inside", one(stat("a/../../x", 0o644, 0)), vec![]),
            ("absolute", one(stat("/etc/passwd", 0o644, 0)), vec![]),
            ("empty", one(stat("", 0o644, 0)), vec![]),
            ("dot", one(stat(".", go::DIR, 0)), vec![]),
            ("double slash", one(stat("a//b", 0o644, 0)), vec![]),
            ("NUL", one(stat("a\0b", 0o644, 0)), vec![]),
            ("long name", one(stat(&"n".repeat(256), 0o644, 0)), vec![]),
            ("device", one(stat("null", device, 0)), vec![]),
            ("hard link out", one(hard("../../etc/shadow")), vec![]),
            ("negative size", one(stat("a", 0o644, -1)), vec![]),
            ("twice", vec![file("a", b""), file("a", b"")], vec![]),
            ("out of order", vec![file("b", b""), file("a", b"")], vec![]),
            ("shorter than told", vec![(stat("a", 0o644, 100), b"short".as_slice())], vec![]),
            ("unasked content", one(stat("d", go::DIR, 0)), vec![data(7, b"x")]),
            ("ended early", one(stat("d", go::DIR, 0)), vec![Packet { r#type: PacketType::PacketFin as i32, ..Packet::default() }]),
            ("asks us", one(stat("d", go::DIR, 0)), vec![Packet { r#type: PacketType::PacketReq as i32, ..Packet::default() }]),
        ];
        for (what, entries, more) in cases {
            assert!(received(entries, more).await.is_err(), "{what}");
        }
        let said = Packet { r#type: PacketType::PacketErr as i32, data: b"permission denied".to_vec(), ..Packet::default() };
        assert_eq!(received(vec![], vec![said]).await.unwrap_err().message, "permission denied");
    }

    #[tokio::test]
    async fn a_file_that_grew_is_cut() {
        let tar = received(vec![(stat("a", 0o644, 4), b"longer than told".as_slice()), file("b", b"next")], vec![]).await.unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let contents: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut e.unwrap(), &mut text).unwrap();
                text
            })
            .collect();
        assert_eq!(contents, ["long", "next"]);
    }

    #[test]
    fn order_is_by_parts() {
        assert!(comes_before("a", "a/b") && comes_before("a/b", "a.b") && comes_before("a", "b") && !comes_before("a.b", "a/c"));
    }
}
