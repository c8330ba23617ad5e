//! Which network addresses an action tries to reach.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;

use super::memory;

/// Where names are asked for; without a network that is this machine's own, where nobody answers.
const NAME_SERVICE: u16 = 53;

/// What a call names by an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// Something that needs a network.
    Network(SocketAddr),
    /// A socket in a file system.
    Path(Vec<u8>),
}

/// What the `sockaddr` of a call names, which the caller keeps at `at`; `None` for what is on this
/// machine and has no path.
///
/// # Errors
/// When it can't be read from here.
pub(super) fn named(pid: i32, at: u64, length: u64) -> Result<Option<Named>, Errno> {
    let mut bytes = [0_u8; size_of::<libc::sockaddr_un>()];
    // The kernel takes the lower half, as an `int`.
    let length = usize::try_from(length & u64::from(u32::MAX)).unwrap_or(0);
    let length = length.min(bytes.len());
    let bytes = &mut bytes[..length];
    if !memory::fill(pid, at, bytes)? {
        return Ok(None);
    }
    if let Some(path) = path(bytes) {
        return Ok(Some(Named::Path(path)));
    }
    let needs_network = |address: &SocketAddr| {
        let local = address.ip().is_loopback() || address.ip().is_unspecified();
        !local || address.port() == NAME_SERVICE
    };
    Ok(parse(bytes).filter(needs_network).map(Named::Network))
}

/// Where the address is that a `msghdr` at `at` names, and its length; `None` where it names none.
///
/// # Errors
/// When it can't be read from here.
pub(super) fn of_message(pid: i32, at: u64) -> Result<Option<(u64, u64)>, Errno> {
    let mut head = [0_u8; 12];
    if !memory::fill(pid, at, &mut head)? {
        return Ok(None);
    }
    let (name, length) = head.split_at(8);
    let name = u64::from_ne_bytes(name.try_into().unwrap_or_default());
    let length = u32::from_ne_bytes(length.try_into().unwrap_or_default());
    Ok((name != 0).then_some((name, u64::from(length))))
}

/// The path of a `sockaddr_un`; `None` for an abstract name, which is its namespace's alone.
fn path(bytes: &[u8]) -> Option<Vec<u8>> {
    let (family, path) = bytes.split_first_chunk::<2>()?;
    if i32::from(u16::from_ne_bytes(*family)) != libc::AF_UNIX {
        return None;
    }
    let end = path.iter().position(|byte| *byte == 0);
    let path = &path[..end.unwrap_or(path.len())];
    (!path.is_empty()).then(|| path.to_vec())
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

    fn named_of(bytes: &[u8]) -> Option<Named> {
        let pid = i32::try_from(std::process::id()).unwrap();
        named(pid, bytes.as_ptr() as u64, bytes.len() as u64).unwrap()
    }

    fn reached_of(bytes: &[u8]) -> Option<String> {
        match named_of(bytes)? {
            Named::Network(address) => Some(address.to_string()),
            Named::Path(path) => panic!("{path:?}"),
        }
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
        let socket = [&local[..], b"/run/socket\0"].concat();
        assert_eq!(
            named_of(&socket),
            Some(Named::Path(b"/run/socket".to_vec()))
        );
        assert_eq!(named_of(&[&local[..], b"\0abstract"].concat()), None);
    }
}
