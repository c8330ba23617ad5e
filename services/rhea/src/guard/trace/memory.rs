//! Reading a watched process's memory.

use rustix::io::Errno;

use crate::guard::mounts::last_errno;

/// The longest path the kernel takes, its NUL included.
pub(super) const LONGEST: usize = 4096;

/// Memory is readable or not by the page; a read never goes over more than it must.
const PAGE: u64 = 4096;

/// How much is read at first: most paths are shorter.
const FIRST: u64 = 256;

/// No program has anything below this address: the kernel keeps it free.
const LOWEST: u64 = 4096;

/// The NUL-terminated text at an address; `None` where there is none, as the call itself will
/// find.
///
/// # Errors
/// When it can't be read from here. The kernel might all the same: there is memory that only it
/// and the process itself may read.
pub(super) fn text(pid: i32, address: u64) -> Result<Option<Vec<u8>>, Errno> {
    if address < LOWEST {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(FIRST as usize);
    let mut at = address;
    while bytes.len() < LONGEST {
        let to_page_end = PAGE - at % PAGE;
        let wanted = to_page_end.min(if bytes.is_empty() { FIRST } else { PAGE });
        let old = bytes.len();
        bytes.resize(old + wanted as usize, 0);
        let count = match read(pid, at, &mut bytes[old..]) {
            Ok(count) if count > 0 => count,
            Ok(_) => return Err(Errno::FAULT),
            Err(error) => return Err(error),
        };
        bytes.truncate(old + count);
        if let Some(end) = bytes[old..].iter().position(|byte| *byte == 0) {
            bytes.truncate(old + end);
            return Ok(Some(bytes));
        }
        at += count as u64;
    }
    // Longer than any path: the call will fail by itself.
    Ok(None)
}

/// Fills `bytes` from an address; whether there can be anything at it.
///
/// # Errors
/// As for [`text`].
pub(super) fn fill(pid: i32, address: u64, bytes: &mut [u8]) -> Result<bool, Errno> {
    if address < LOWEST {
        return Ok(false);
    }
    if bytes.is_empty() || read(pid, address, bytes)? == bytes.len() {
        Ok(true)
    } else {
        Err(Errno::FAULT)
    }
}

/// The eight bytes at an address.
pub(super) fn word(pid: i32, address: u64) -> Result<Option<u64>, Errno> {
    let mut bytes = [0_u8; 8];
    let whole = fill(pid, address, &mut bytes)?;
    Ok(whole.then(|| u64::from_ne_bytes(bytes)))
}

/// Writes into a process's memory; whether all of it.
pub(super) fn write(pid: i32, address: u64, bytes: &[u8]) -> Result<bool, Errno> {
    let Ok(address) = usize::try_from(address) else {
        return Err(Errno::FAULT);
    };
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: bytes.len(),
    };
    // SAFETY: `local` describes `bytes`, which are only read; `remote` is only looked at in the
    // other process, by the kernel, which checks it.
    let count = unsafe {
        libc::process_vm_writev(
            pid,
            std::ptr::from_ref(&local),
            1,
            std::ptr::from_ref(&remote),
            1,
            0,
        )
    };
    usize::try_from(count)
        .map(|count| count == bytes.len())
        .map_err(|_| last_errno())
}

fn read(pid: i32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let Ok(address) = usize::try_from(address) else {
        return Err(Errno::FAULT);
    };
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: into.len(),
    };
    // SAFETY: `local` describes `into`; `remote` is only looked at in the other process, by
    // the kernel, which checks it.
    let count = unsafe {
        libc::process_vm_readv(
            pid,
            std::ptr::from_ref(&local),
            1,
            std::ptr::from_ref(&remote),
            1,
            0,
        )
    };
    usize::try_from(count).map_err(|_| last_errno())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn text_is_read_to_its_end_over_pages() {
        let mut long = vec![b'a'; 4000];
        long.push(0);
        let address = long.as_ptr() as u64;
        assert_eq!(text(me(), address).unwrap().unwrap(), vec![b'a'; 4000]);
        assert_eq!(text(me(), 8).unwrap(), None);
        let number = 77_u64;
        let address = std::ptr::from_ref(&number) as u64;
        assert_eq!(word(me(), address).unwrap(), Some(77));
    }

    #[test]
    fn what_is_longer_than_a_path_is_none() {
        let endless = vec![b'a'; 9000];
        assert_eq!(text(me(), endless.as_ptr() as u64).unwrap(), None);
    }
}
