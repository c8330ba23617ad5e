//! Which network addresses an action tries to reach.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;

use super::memory;

/// Where names are asked for; without a network that is this machine's own, where nobody answers.
const NAME_SERVICE: u16 = 53;

/// The address of a `connect` that needs a network, with its port; `None` for one on this machine
/// and for sockets that are no network's. `at` is where the caller keeps the `sockaddr`.
pub(super) fn reached(pid: i32, at: u64, length: u64) -> Result<Option<SocketAddr>, Errno> {
    let mut bytes = [0_u8; size_of::<libc::sockaddr_in6>()];
    let length = usize::try_from(length).unwrap_or(0).min(bytes.len());
    let Some(bytes) = bytes.get_mut(..length) else {
        return Ok(None);
    };
    if !memory::fill(pid, at, bytes)? {
        return Ok(None);
    }
    let needs_network = |address: &SocketAddr| {
        let local = address.ip().is_loopback() || address.ip().is_unspecified();
        !local || address.port() == NAME_SERVICE
    };
    Ok(parse(bytes).filter(needs_network))
}

/// An internet address of a `sockaddr` (`sockaddr_in`, `sockaddr_in6`).
fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::from((Ipv4Addr::from(address), port)))
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Some(SocketAddr::from((Ipv6Addr::from(address), port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached_of(bytes: &[u8]) -> Option<String> {
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = reached(pid, bytes.as_ptr() as u64, bytes.len() as u64);
        found.unwrap().map(|address| address.to_string())
    }

    fn internet(address: [u8; 4], port: u16) -> Vec<u8> {
        let family = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes();
        [&family[..], &port.to_be_bytes(), &address, &[0; 8]].concat()
    }

    #[test]
    fn only_what_needs_a_network_counts() {
        let far = internet([192, 0, 2, 7], 443);
        assert_eq!(reached_of(&far).as_deref(), Some("192.0.2.7:443"));
        assert_eq!(reached_of(&internet([127, 0, 0, 1], 8080)), None);
        let names = internet([127, 0, 0, 1], 53);
        assert_eq!(reached_of(&names).as_deref(), Some("127.0.0.1:53"));
        assert_eq!(reached_of(&far[..3]), None);
        let family = u16::try_from(libc::AF_INET6).unwrap().to_ne_bytes();
        let mut six = [
            &family[..],
            &443_u16.to_be_bytes(),
            &[0; 4],
            &[0; 16],
            &[0; 4],
        ]
        .concat();
        six[8..12].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(reached_of(&six).as_deref(), Some("[2001:db8::]:443"));
        let local = u16::try_from(libc::AF_UNIX).unwrap().to_ne_bytes();
        assert_eq!(reached_of(&[&local[..], b"/run/socket\0"].concat()), None);
    }
}
