//! Listening, accepting and dialling, alike for Unix sockets and TCP.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use vx_core::Holder;

use crate::directory::{DirectoryError, Reachable, SocketLock, ensure_private};
use crate::endpoint::{Endpoint, EndpointError};

/// Why a service can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The endpoint can't be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The socket's directory can't be used.
    #[error("can't listen on {endpoint}: {source}")]
    Directory {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: DirectoryError,
    },
    /// Another process listens there.
    #[error("another process is already running on {endpoint}")]
    AlreadyRunning {
        /// Where.
        endpoint: Endpoint,
    },
    /// The system refused.
    #[error("can't listen on {endpoint}: {source}")]
    Io {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
}

/// Why nobody was reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The endpoint can't be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Nothing listens there.
    #[error("nothing listens on {endpoint}: {source}")]
    Absent {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// The one who listens belongs to someone else.
    #[error("{endpoint} belongs to a process of user {theirs}, and you are {mine}")]
    Foreign {
        /// Where.
        endpoint: Endpoint,
        /// Whose it is.
        theirs: u32,
        /// Who asks.
        mine: u32,
    },
    /// The one who listens sees other files.
    #[error(
        "{endpoint} belongs to a process that sees other files: it is in another mount or PID \
         namespace (a container), or has another root\n\
         what it would build is not what is here\n\
         run `vx stop` where that process was started, or set VX_HOME to another directory here"
    )]
    OtherFiles {
        /// Where.
        endpoint: Endpoint,
    },
    /// The system refused.
    #[error("can't connect to {endpoint}: {source}")]
    Io {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
}

/// A connection before anything was said on it; made on one thread and used on another.
pub(crate) enum Stream {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

pub(crate) type ReadHalf = Box<dyn AsyncRead + Unpin>;
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Unpin>;

impl Stream {
    /// The halves, registered with the current runtime.
    pub(crate) fn split(self) -> io::Result<(ReadHalf, WriteHalf)> {
        Ok(match self {
            Self::Unix(stream) => {
                let (read, write) = UnixStream::from_std(stream)?.into_split();
                (Box::new(read), Box::new(write))
            }
            Self::Tcp(stream) => {
                let (read, write) = TcpStream::from_std(stream)?.into_split();
                (Box::new(read), Box::new(write))
            }
        })
    }

    /// Connects.
    pub(crate) async fn dial(endpoint: &Endpoint) -> Result<Self, DialError> {
        let fault = |source: io::Error| {
            let endpoint = endpoint.clone();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    DialError::Absent { endpoint, source }
                }
                _ => DialError::Io { endpoint, source },
            }
        };
        match endpoint {
            Endpoint::Unix(path) => {
                let reachable = Reachable::new(path).map_err(fault)?;
                let stream = UnixStream::connect(reachable.path()).await.map_err(fault)?;
                let theirs = peer_uid(&stream).map_err(fault)?;
                let mine = rustix::process::geteuid().as_raw();
                if theirs != mine {
                    return Err(DialError::Foreign {
                        endpoint: endpoint.clone(),
                        theirs,
                        mine,
                    });
                }
                match World::of(&stream).map_err(fault)? {
                    World::Same => {}
                    // It is just leaving.
                    World::Unknown => return Err(fault(io::ErrorKind::ConnectionRefused.into())),
                    World::Other => {
                        return Err(DialError::OtherFiles {
                            endpoint: endpoint.clone(),
                        });
                    }
                }
                Ok(Self::Unix(stream.into_std().map_err(fault)?))
            }
            Endpoint::Tcp { port: 0, .. } => Err(EndpointError::AnyPort {
                endpoint: endpoint.clone(),
            }
            .into()),
            Endpoint::Tcp { host, port } => {
                let addresses = resolve(host, *port).await.map_err(fault)?;
                endpoint.check_loopback(&addresses)?;
                let stream = TcpStream::connect(&addresses[..]).await.map_err(fault)?;
                stream.set_nodelay(true).map_err(fault)?;
                Ok(Self::Tcp(stream.into_std().map_err(fault)?))
            }
        }
    }
}

fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(stream.peer_cred()?.uid())
}

/// Which files a peer sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum World {
    /// Those that this process sees: it has the same mounts below the same root, and is in the same PID
    /// namespace.
    Same,
    /// Others. Actions are in namespaces of their own, whatever user they have.
    Other,
    /// It can't be looked at, or has ended.
    Unknown,
}

impl World {
    fn of(stream: &UnixStream) -> io::Result<Self> {
        let Some(pid) = stream.peer_cred()?.pid().filter(|pid| *pid > 0) else {
            return Ok(Self::Other);
        };
        let pid = pid.to_string();
        // Something may be mounted between the two looks.
        let first = Self::compare(&pid);
        Ok(match first {
            Self::Other => Self::compare(&pid),
            _ => first,
        })
    }

    fn compare(pid: &str) -> Self {
        let of = |process: &str| depth(process).zip(view(process));
        match (of("self"), of(pid)) {
            (Some(own), Some(theirs)) if own == theirs => Self::Same,
            (Some(_), Some(_)) => Self::Other,
            _ => Self::Unknown,
        }
    }
}

/// Which files a process sees: the mounts below its root (see proc_pid_mountinfo(5)), each of which has a
/// number that is one machine's. That may be read of processes in other user namespaces too.
fn view(process: &str) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{process}/mountinfo")).ok()
}

/// How many PID namespaces a process is in, from the one that `/proc` shows inwards (`NSpid`, see
/// proc(5)). Whoever it is, that may be read.
fn depth(process: &str) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let mut lines = status.lines();
    let numbers = lines.find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(numbers.split_whitespace().count())
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(addresses)
}

/// What [`Listener::accept`] found.
pub(crate) enum Accepted {
    Peer(Stream, Holder),
    /// A process of another user; its connection is closed.
    Foreign {
        uid: u32,
    },
    /// A process in namespaces of its own, or with another root: an action, or one of a container's.
    Enclosed,
}

enum Socket {
    Unix {
        listener: UnixListener,
        /// Goes last, after the socket was removed.
        lock: Arc<SocketLock>,
    },
    Tcp(TcpListener),
}

/// Where a service listens. Dropping it removes the socket.
pub(crate) struct Listener {
    socket: Socket,
    endpoint: Endpoint,
}

impl Listener {
    pub(crate) async fn bind(endpoint: &Endpoint) -> Result<Self, ListenError> {
        let fault = |source| ListenError::Io {
            endpoint: endpoint.clone(),
            source,
        };
        match endpoint {
            Endpoint::Unix(path) => {
                ensure_private(path.parent().unwrap_or(Path::new("/"))).map_err(|source| {
                    ListenError::Directory {
                        endpoint: endpoint.clone(),
                        source,
                    }
                })?;
                let lock = SocketLock::take(path).map_err(fault)?.ok_or_else(|| {
                    ListenError::AlreadyRunning {
                        endpoint: endpoint.clone(),
                    }
                })?;
                remove_socket(path).map_err(fault)?;
                let reachable = Reachable::new(path).map_err(fault)?;
                let listener = UnixListener::bind(reachable.path()).map_err(fault)?;
                Ok(Self {
                    socket: Socket::Unix {
                        listener,
                        lock: Arc::new(lock),
                    },
                    endpoint: endpoint.clone(),
                })
            }
            Endpoint::Tcp { host, port } => {
                let addresses = resolve(host, *port).await.map_err(fault)?;
                endpoint.check_loopback(&addresses)?;
                let listener = TcpListener::bind(&addresses[..]).await.map_err(|source| {
                    if source.kind() == io::ErrorKind::AddrInUse {
                        ListenError::AlreadyRunning {
                            endpoint: endpoint.clone(),
                        }
                    } else {
                        fault(source)
                    }
                })?;
                let bound = listener.local_addr().map_err(fault)?.port();
                Ok(Self {
                    socket: Socket::Tcp(listener),
                    endpoint: endpoint.with_port(bound),
                })
            }
        }
    }

    /// The lock beside a socket; whoever holds it keeps others from listening there.
    pub(crate) fn lock(&self) -> Option<Arc<SocketLock>> {
        match &self.socket {
            Socket::Unix { lock, .. } => Some(lock.clone()),
            Socket::Tcp(_) => None,
        }
    }

    /// Where it listens, with the port that was found.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let uid = peer_uid(&stream)?;
                if uid != rustix::process::geteuid().as_raw() {
                    return Ok(Accepted::Foreign { uid });
                }
                if World::of(&stream)? != World::Same {
                    return Ok(Accepted::Enclosed);
                }
                Ok(Accepted::Peer(
                    Stream::Unix(stream.into_std()?),
                    Holder::Local { uid },
                ))
            }
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Peer(
                    Stream::Tcp(stream.into_std()?),
                    Holder::Remote,
                ))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The lock is still held, so the socket is this listener's or was removed by someone.
        if let (Socket::Unix { .. }, Endpoint::Unix(path)) = (&self.socket, &self.endpoint)
            && let Err(error) = remove_socket(path)
        {
            tracing::warn!(endpoint = %self.endpoint, %error, "the socket stays behind");
        }
    }
}

/// Removes a socket that its lock's holder may replace; anything else at that path stays, and
/// is an error.
fn remove_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something that is not a socket is in its place",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: impl Into<std::path::PathBuf>) -> Endpoint {
        Endpoint::unix(path).unwrap()
    }

    async fn meets(endpoint: &Endpoint) {
        let listener = Listener::bind(endpoint).await.unwrap();
        let (dialled, accepted) =
            tokio::join!(Stream::dial(listener.endpoint()), listener.accept());
        dialled.unwrap();
        assert!(matches!(accepted.unwrap(), Accepted::Peer(..)));
    }

    #[tokio::test]
    async fn unix_sockets_of_any_length_and_tcp_meet() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("p");
        meets(&unix(private.join("short.sock"))).await;
        let long = private.join("d".repeat(120)).join("e".repeat(120));
        meets(&unix(long.join("cass.sock"))).await;
        meets(&"127.0.0.1:0".parse().unwrap()).await;
        meets(&"tcp://localhost:0".parse().unwrap()).await;
    }

    #[tokio::test]
    async fn beyond_loopback_is_refused_both_ways() {
        let wide: Endpoint = "tcp://0.0.0.0:0".parse().unwrap();
        let error = Listener::bind(&wide).await.err().unwrap();
        assert!(
            matches!(error, ListenError::Endpoint(EndpointError::Beyond { .. })),
            "{error}"
        );
        let far: Endpoint = "192.0.2.1:9".parse().unwrap();
        let error = Stream::dial(&far).await.err().unwrap();
        assert!(
            matches!(error, DialError::Endpoint(EndpointError::Beyond { .. })),
            "{error}"
        );
        let any: Endpoint = "127.0.0.1:0".parse().unwrap();
        let error = Stream::dial(&any).await.err().unwrap();
        assert!(
            matches!(error, DialError::Endpoint(EndpointError::AnyPort { .. })),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_loser_of_two_learns_and_a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = unix(dir.path().join("p/s.sock"));
        let first = Listener::bind(&endpoint).await.unwrap();
        let error = Listener::bind(&endpoint).await.err().unwrap();
        assert!(
            matches!(error, ListenError::AlreadyRunning { .. }),
            "{error}"
        );
        drop(first);
        assert!(!dir.path().join("p/s.sock").exists());
        assert!(matches!(
            Stream::dial(&endpoint).await.err().unwrap(),
            DialError::Absent { .. }
        ));
        // As a killed process leaves it: bound, and no longer listened on.
        drop(std::os::unix::net::UnixListener::bind(dir.path().join("p/s.sock")).unwrap());
        assert!(matches!(
            Stream::dial(&endpoint).await.err().unwrap(),
            DialError::Absent { .. }
        ));
        meets(&endpoint).await;
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert!(Listener::bind(&unix(&path)).await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }
}
