//! The on-disk format of the `local` log driver, shared by the writer (the shim) and the reader (`engine::log`).
//!
//! A container's log folder holds `container.log` (being written) and `container.log.1`, `container.log.2`, … (older).
//! A file is a run of chunks: a 16-byte header, the bytes as they came from one `read(2)`, and a 4-byte trailer that
//! repeats the length, so that a reader can walk backwards from the end. A chunk is not a line: lines may span chunks
//! and a chunk usually holds many. A chunk cut short by a crash is cut off when the file is opened for writing again;
//! a reader treats an incomplete last chunk as not there yet.

#![allow(dead_code)] // The shim writes and the engine reads: each uses its half.

/// The file being written; `.1`, `.2`, … are appended for older ones.
pub const FILE: &str = "container.log";
/// Bytes before a chunk's data.
pub const HEADER: usize = 16;
/// Bytes after a chunk's data: its length again, u32 LE.
pub const TRAILER: usize = 4;
/// The most data one chunk holds.
pub const CHUNK_MAX: usize = 64 * 1024;
/// Last two bytes of a header, LE: "WL".
pub const MAGIC: u16 = 0x4C57;
/// Rotation starts when the file would grow beyond this many bytes.
pub const MAX_SIZE: u64 = 20 * 1024 * 1024;
/// Files kept, the one being written included.
pub const MAX_FILES: u32 = 5;
/// Chunk stream number of standard output (and of a terminal).
pub const STDOUT: u8 = 1;
/// Chunk stream number of standard error.
pub const STDERR: u8 = 2;
/// `json-file`: a line longer than this is written in pieces, as dockerd does.
pub const JSON_LINE_MAX: usize = 16 * 1024;

/// A chunk's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When the bytes were read from the container: nanoseconds since the epoch (CLOCK_REALTIME).
    pub time_ns: u64,
    /// Bytes of data that follow, at most [`CHUNK_MAX`].
    pub length: u32,
    /// [`STDOUT`] or [`STDERR`].
    pub stream: u8,
    /// Always 0 for now.
    pub flags: u8,
}

impl Header {
    /// The 16 bytes as they stand in the file.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.time_ns.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12] = self.stream;
        bytes[13] = self.flags;
        bytes[14..].copy_from_slice(&MAGIC.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` when the bytes cannot be one (wrong magic, stream or length).
    pub fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let mut time = [0; 8];
        time.copy_from_slice(&bytes[..8]);
        let mut length = [0; 4];
        length.copy_from_slice(&bytes[8..12]);
        let length = u32::from_le_bytes(length);
        let header = Self { time_ns: u64::from_le_bytes(time), length, stream: bytes[12], flags: bytes[13] };
        let valid = bytes[14..] == MAGIC.to_le_bytes() && matches!(header.stream, STDOUT | STDERR) && length as usize <= CHUNK_MAX;
        valid.then_some(header)
    }

    /// Bytes of the whole chunk: header, data, trailer.
    pub fn chunk_len(&self) -> usize {
        HEADER + self.length as usize + TRAILER
    }
}
