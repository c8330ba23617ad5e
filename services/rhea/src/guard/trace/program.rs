//! What the kernel itself opens to run a program: the interpreter of a script, or the dynamic
//! loader of an executable.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// As much of a script's first line as the kernel reads.
const FIRST_LINE: usize = 256;

/// The interpreter that running the file at `path` brings in. `None` for what needs none, or
/// can't be read.
pub(super) fn interpreter(path: &str) -> Option<String> {
    // A FIFO is never waited for, not even one that comes to be there just now.
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = [0_u8; FIRST_LINE];
    let count = file.read_at(&mut head, 0).ok()?;
    let head = &head[..count];
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let text = std::str::from_utf8(line).ok()?.trim_start();
        return text.split([' ', '\t']).next().map(str::to_owned);
    }
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    loader(&file, head)
}

/// The dynamic loader of a 64-bit little-endian ELF file, by its program headers (System V
/// ABI, chapter 5).
fn loader(file: &File, head: &[u8]) -> Option<String> {
    const INTERPRETER: u32 = 3;
    const MOST_HEADERS: u16 = 64;
    let offset = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?);
    let size = u16::from_le_bytes(head.get(54..56)?.try_into().ok()?);
    let count = u16::from_le_bytes(head.get(56..58)?.try_into().ok()?);
    if size < 56 || count > MOST_HEADERS {
        return None;
    }
    let mut headers = vec![0_u8; usize::from(size) * usize::from(count)];
    file.read_exact_at(&mut headers, offset).ok()?;
    let header = headers
        .chunks_exact(usize::from(size))
        .find(|header| header[..4] == INTERPRETER.to_le_bytes())?;
    let at = u64::from_le_bytes(header.get(8..16)?.try_into().ok()?);
    let length = u64::from_le_bytes(header.get(32..40)?.try_into().ok()?);
    let mut name = vec![0_u8; usize::try_from(length.min(4096)).ok()?];
    file.read_exact_at(&mut name, at).ok()?;
    let end = name.iter().position(|byte| *byte == 0)?;
    String::from_utf8(name[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_programs_name_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("s");
        std::fs::write(&script, "#! /usr/bin/env -S perl\n").unwrap();
        assert_eq!(
            interpreter(script.to_str().unwrap()).as_deref(),
            Some("/usr/bin/env")
        );
        let loader = interpreter("/proc/self/exe").unwrap();
        assert!(loader.contains("/ld-"), "{loader}");
        std::fs::write(&script, "text").unwrap();
        assert_eq!(interpreter(script.to_str().unwrap()), None);
    }
}
