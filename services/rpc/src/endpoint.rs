//! Where a service listens: `unix:/path`, the absolute path alone, `tcp://host:port` or
//! `host:port`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// A service's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A Unix socket by its absolute path.
    Unix(PathBuf),
    /// A TCP port of this host.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port; 0 asks for any free one where one listens.
        port: u16,
    },
}

/// Text that names no endpoint, or one that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It has no known form.
    #[error(
        "{text:?} is not an endpoint: {reason}; use unix:/absolute/path, /absolute/path, tcp://host:port or host:port"
    )]
    Form {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Its host is not this one.
    #[error(
        "{endpoint} is not a loopback address: vx does not encrypt its connections yet, so it \
         neither listens nor connects beyond this host; use 127.0.0.1, [::1], localhost or a Unix socket"
    )]
    Beyond {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// Port 0 can only be listened on.
    #[error(
        "{endpoint} can't be connected to: port 0 is only for listening, where it means any free port"
    )]
    AnyPort {
        /// The endpoint.
        endpoint: Endpoint,
    },
}

impl Endpoint {
    /// The Unix socket at `path`.
    ///
    /// # Errors
    /// When the path is not absolute.
    pub fn unix(path: impl Into<PathBuf>) -> Result<Self, EndpointError> {
        let path = path.into();
        if path.is_absolute() && path.file_name().is_some() {
            Ok(Self::Unix(path))
        } else {
            Err(EndpointError::Form {
                text: format!("unix:{}", path.display()),
                reason: "a socket's path is absolute and names a file",
            })
        }
    }

    /// An endpoint of the same kind on the port that was found free.
    pub(crate) fn with_port(&self, bound: u16) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(path.clone()),
            Self::Tcp { host, .. } => Self::Tcp {
                host: host.clone(),
                port: bound,
            },
        }
    }

    /// Refuses addresses that are not of this host.
    pub(crate) fn check_loopback(&self, addresses: &[SocketAddr]) -> Result<(), EndpointError> {
        let local = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
            }
        };
        if addresses.iter().all(local) {
            Ok(())
        } else {
            Err(EndpointError::Beyond {
                endpoint: self.clone(),
            })
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = |reason| EndpointError::Form {
            text: text.to_owned(),
            reason,
        };
        if text.is_empty() {
            return Err(fault("it is empty"));
        }
        if text.contains(['\0', '\n']) {
            return Err(fault("it holds a control character"));
        }
        let path = match text.strip_prefix("unix:") {
            None if text.starts_with('/') => Some(text),
            path => path,
        };
        if let Some(path) = path {
            return if path.is_empty() {
                Err(fault("the path is missing"))
            } else if !path.starts_with('/') {
                Err(fault("a socket's path is absolute"))
            } else if path.ends_with('/') {
                Err(fault("a socket's path names a file"))
            } else {
                Self::unix(path)
            };
        }
        let address = match text.split_once("://") {
            Some(("tcp", address)) => address,
            Some(_) => return Err(fault("its scheme is unknown")),
            None => text,
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest
                    .split_once(']')
                    .ok_or_else(|| fault("a bracket is not closed"))?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(fault("brackets hold an IPv6 address"));
                }
                (host, tail.strip_prefix(':'))
            }
            None => match address.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let port = port.ok_or_else(|| fault("the port is missing"))?;
        if host.is_empty() {
            return Err(fault("the host is missing"));
        }
        if host.contains([' ', '/', '@', '?', '#'])
            || (host.contains(':') && !address.starts_with('['))
        {
            return Err(fault("the host is malformed"));
        }
        if port.is_empty() {
            return Err(fault("the port is missing"));
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(fault("the port is not a number"));
        }
        let port = port.parse().map_err(|_| fault("the port is over 65535"))?;
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn tcp(text: &str, host: &str, port: u16) {
        let endpoint: Endpoint = text.parse().unwrap();
        assert_eq!(
            endpoint,
            Endpoint::Tcp {
                host: host.to_owned(),
                port
            }
        );
        assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
    }

    #[test]
    fn reads_every_form() {
        let unix: Endpoint = "unix:/run/vx/cass.sock".parse().unwrap();
        assert_eq!(unix, Endpoint::Unix("/run/vx/cass.sock".into()));
        assert_eq!(unix.to_string(), "unix:/run/vx/cass.sock");
        assert_eq!("/run/vx/cass.sock".parse(), Ok(unix));
        tcp("tcp://127.0.0.1:7000", "127.0.0.1", 7000);
        tcp("localhost:7000", "localhost", 7000);
        tcp("tcp://[::1]:7000", "::1", 7000);
        tcp("[::1]:0", "::1", 0);
    }

    #[test]
    fn refuses_all_else_and_names_the_forms() {
        for bad in [
            "",
            "unix:",
            "unix:relative.sock",
            "unix:/run/",
            "unix:/",
            "/run/",
            "/",
            "host",
            "host:",
            "host:http",
            "host:+80",
            "host:65536",
            ":80",
            "tcp://",
            "tcp://host",
            "tcp://host:80/path",
            "tcp://user@host:80",
            "http://host:80",
            "unix://run/x:1@",
            "::1:80",
            "[::1:80",
            "[host]:80",
            "[::1]80",
            "a\0b:80",
        ] {
            match bad.parse::<Endpoint>() {
                // `unix:` followed by `//` is an absolute path.
                Ok(Endpoint::Unix(path)) => assert_eq!(bad, format!("unix:{}", path.display())),
                Ok(other) => panic!("{bad:?} was read as {other:?}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("unix:/absolute/path"), "{text}");
                    assert!(text.contains("tcp://host:port or host:port"), "{text}");
                }
            }
        }
        assert!(Endpoint::unix("relative").is_err());
        assert!(Endpoint::unix("/").is_err());
    }

    #[test]
    fn only_loopback_addresses_pass() {
        let endpoint: Endpoint = "example:1".parse().unwrap();
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for good in [
            "127.0.0.1:1",
            "127.8.8.8:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(endpoint.check_loopback(&[address(good)]).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let mixed = [address("127.0.0.1:1"), address(bad)];
            let error = endpoint.check_loopback(&mixed).unwrap_err();
            assert!(error.to_string().contains("does not encrypt"), "{error}");
        }
    }
}
