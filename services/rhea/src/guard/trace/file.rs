//! The file that a guard leaves a trace in.
//!
//! It starts with a mark and the trace's length, and ends with the trace: whatever else is in it
//! was not written by a guard, or not to its end, and nobody knows then what an action read.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use vx_core::readset::Trace;

/// What a trace starts with.
const MARK: [u8; 8] = *b"vxtrace1";

/// The mark and the length.
const HEAD: usize = MARK.len() + size_of::<u64>();

/// The largest trace that is read, in bytes: several times what the bounds of one allow.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Writes a trace, wherever the file stands.
pub(crate) fn write(trace: &Trace, to: &OwnedFd) -> Result<()> {
    let body = postcard::to_stdvec(trace).map_err(Error::other)?;
    let mut bytes = MARK.to_vec();
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    File::from(to.try_clone()?).write_all_at(&bytes, 0)
}

/// Reads a trace.
///
/// # Errors
/// When the file holds anything but one whole trace.
pub(crate) fn read(from: &OwnedFd) -> Result<Trace> {
    let file = File::from(from.try_clone()?);
    let size = file.metadata()?.len();
    if size > LARGEST {
        return Err(Error::other("it is larger than any trace"));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    let (head, body) = bytes
        .split_at_checked(HEAD)
        .ok_or_else(|| Error::other("it is cut off"))?;
    let (mark, length) = head.split_at(MARK.len());
    if mark != MARK || length != (body.len() as u64).to_le_bytes() {
        return Err(Error::other("it is not what a guard writes"));
    }
    match postcard::take_from_bytes(body) {
        Ok((trace, [])) => Ok(trace),
        Ok(_) => Err(Error::other("something follows it")),
        Err(error) => Err(Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};

    use super::*;

    fn file() -> OwnedFd {
        memfd_create("trace", MemfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn a_trace_is_written_to_the_start_and_read_whole() {
        let to = file();
        seek(&to, SeekFrom::Start(4096)).unwrap();
        let trace = Trace {
            unsteady: Some("a".to_owned()),
            ..Trace::default()
        };
        write(&trace, &to).unwrap();
        assert_eq!(read(&to).unwrap(), trace);
    }

    #[test]
    fn anything_beside_a_trace_is_a_fault() {
        assert!(read(&file()).is_err(), "nothing");
        for (at, bytes) in [(0, &[0_u8][..]), (9, &[77]), (10_000, &[1])] {
            let to = file();
            write(&Trace::default(), &to).unwrap();
            let file = File::from(to.try_clone().unwrap());
            file.write_all_at(bytes, at).unwrap();
            assert!(read(&to).is_err(), "at {at}");
        }
        let to = file();
        write(&Trace::default(), &to).unwrap();
        seek(&to, SeekFrom::End(0)).unwrap();
        File::from(to.try_clone().unwrap()).write_all(b"0").unwrap();
        assert!(read(&to).is_err(), "trailing");
    }
}
