//! Every bound on what a peer can make this process hold, each with its reason.

use std::time::Duration;

/// Bounds on connections; tests lower them to reach them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message that is read, in bytes. A record of [`vx_core::service::MAX_RECORD`]
    /// and a page of [`PAGE`] plus one more item have to fit; a larger one is an attack, because
    /// everything that grows with a project is paged or streamed.
    pub message_bytes: usize,
    /// How far a stream may run ahead of its reader, in bytes. On a Unix socket 1 MiB was as
    /// fast as 4 MiB.
    pub window_bytes: usize,
    /// Streams that one connection may have open at a server. Each can hold a window and two
    /// chunks, so this times 1.5 MiB is what streams can hold.
    pub streams: usize,
    /// Streams of each direction that this process opens at once on one connection it dialled.
    /// A quarter of `streams`, because what it relays for others counts at the server too.
    pub own_streams: usize,
    /// Bytes received and not yet dealt with. A peer that keeps to its windows stays under
    /// `streams` windows and chunks; one that does not is disconnected.
    pub unread_bytes: u64,
    /// Bytes queued and not yet taken by the socket. Same sum, the other way: a peer that asks
    /// and never reads is disconnected.
    pub unwritten_bytes: u64,
    /// How long a peer may leave queued bytes untouched before it counts as one that never
    /// reads; it is looked at in these intervals, so it may take twice that.
    pub stall: Duration,
    /// Connections that a server holds at once: one a `vx` process and one a service, with
    /// plenty to spare; each costs two descriptors and some buffers.
    pub connections: usize,
    /// How long a peer has to redeem its first secret, and a server to answer a dial. Long
    /// enough for a machine under full load.
    pub handshake: Duration,
    /// How long an ended connection may take to write its last message.
    pub goodbye: Duration,
    /// How long the secret of an introduction is good: the dial that follows takes
    /// milliseconds, a loaded machine seconds.
    pub introduction: Duration,
    /// Introductions that may be open at once; each connection of each build needs one, for a
    /// moment.
    pub introductions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 9 * MIB,
            window_bytes: MIB,
            streams: 64,
            own_streams: 16,
            unread_bytes: 128 * MIB as u64,
            unwritten_bytes: 128 * MIB as u64,
            stall: Duration::from_secs(30),
            connections: 512,
            handshake: Duration::from_secs(10),
            goodbye: Duration::from_secs(1),
            introduction: Duration::from_secs(60),
            introductions: 4096,
        }
    }
}

const MIB: usize = 1024 * 1024;

/// The largest message, and the most bytes unread or unwritten, of a peer that has not redeemed
/// a secret yet: it has nothing to say but hello.
pub const UNPROVED: usize = 64 * 1024;

/// The largest piece of a stream in one message, in bytes: between 256 KiB and 1 MiB streams
/// are equally fast, and smaller pieces hold less.
pub const CHUNK: usize = 256 * 1024;

/// Pieces that wait between a stream's socket and its producer or consumer: enough to keep
/// both busy.
pub const QUEUED_PIECES: usize = 4;

/// A page of an answer whose size depends on the store: after so many bytes the caller asks
/// again.
pub const PAGE: usize = 4 * MIB;

/// The largest result that can be published, in bytes: two of them and a page fit a message.
pub const MAX_RESULT: usize = 4 * MIB;

/// Names that a server looks up at once for a page of records; most pages hold more.
pub const RECORD_NAMES_AT_ONCE: usize = 64;

/// What a message may be traversed, as a multiple of its size: reading it, and, where it is
/// relayed, measuring and copying it.
pub const TRAVERSALS: usize = 4;

/// How deep a message's structures nest; ours stay under ten.
pub const NESTING: i32 = 32;

/// Buffers around a socket's halves, in bytes: small calls coalesce, chunks go past them.
pub const SOCKET_BUFFER: usize = 64 * 1024;

/// Stores handed over on one connection that are remembered; each is a build's.
pub const HANDED_STORES: usize = 64;

/// Connections to stores met by introduction that are kept; each is a store's process.
pub const INTRODUCED_CONNECTIONS: usize = 16;

/// Ended connections whose byte counts stay readable.
pub const REMEMBERED_CONNECTIONS: usize = 64;

/// The longest text kept of an error that came from elsewhere, in bytes.
pub const ERROR_TEXT: usize = 16 * 1024;

/// How long accepting pauses after it failed (out of descriptors, most likely).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
