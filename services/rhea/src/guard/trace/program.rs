//! What the kernel itself opens to run a program: the interpreter of a script, or the dynamic
//! loader of an executable.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// As much of a script's first line as the kernel reads.
const FIRST_LINE: usize = 256;

/// The interpreter that running the file at `path` brings in; `None` for what needs none, or does
/// not run.
///
/// # Errors
/// When that can't be told: the kernel might run it all the same.
pub(super) fn interpreter(path: &str) -> Result<Option<String>, String> {
    // A FIFO is never waited for, not even one that comes to be there just now.
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG)
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unknown(path, &error)),
    };
    let found = file.metadata().map_err(|error| unknown(path, &error))?;
    if !found.is_file() {
        return Ok(None);
    }
    let mut head = [0_u8; FIRST_LINE];
    let count = file
        .read_at(&mut head, 0)
        .map_err(|error| unknown(path, &error))?;
    let head = &head[..count];
    if let Some(line) = head.strip_prefix(b"#!") {
        return of_script(line)
            .map(|name| String::from_utf8(name.to_vec()))
            .transpose()
            .map_err(|_| format!("the interpreter of {path} is not plain UTF-8"));
    }
    match head {
        [0x7f, b'E', b'L', b'F', class, order, ..] => match (class, order) {
            (2, 1) => loader(&file, head)
                .map_err(|error| unknown(path, &error))
                .and_then(|name| {
                    let text = name.map(String::from_utf8).transpose();
                    text.map_err(|_| format!("the loader of {path} is not plain UTF-8"))
                }),
            // Of another processor, or of this one's older mode, whose calls are refused: but its
            // loader is the kernel's to open.
            _ => Err(format!("{path} is a program of another kind")),
        },
        _ => Ok(None),
    }
}

fn unknown(path: &str, error: &std::io::Error) -> String {
    format!("what runs {path} is not known: {error}")
}

/// The interpreter that a script's first line names, as the kernel takes it: from the first byte
/// that is no blank to the next one that is, or the line's end.
fn of_script(line: &[u8]) -> Option<&[u8]> {
    let line = line.split(|byte| matches!(byte, b'\n' | 0)).next()?;
    let start = line.iter().position(|byte| !is_blank(byte))?;
    line[start..].split(is_blank).next()
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The dynamic loader of a 64-bit little-endian ELF file, by its program headers (System V
/// ABI, chapter 5).
fn loader(file: &File, head: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    const INTERPRETER: u32 = 3;
    /// As many as the kernel takes: a page's worth of headers is its limit, 64 KiB at most.
    const MOST_BYTES: usize = 65_536;
    const HEADER: usize = 56;
    let number = |at: std::ops::Range<usize>| {
        let bytes = head.get(at)?;
        let mut whole = [0_u8; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        Some(u64::from_le_bytes(whole))
    };
    let (Some(offset), Some(size), Some(count)) = (number(32..40), number(54..56), number(56..58))
    else {
        return Ok(None);
    };
    // The kernel runs no others.
    let bytes = HEADER.saturating_mul(usize::try_from(count).unwrap_or(usize::MAX));
    if size != HEADER as u64 || bytes == 0 || bytes > MOST_BYTES {
        return Ok(None);
    }
    let mut headers = vec![0_u8; bytes];
    file.read_exact_at(&mut headers, offset)?;
    let header = headers
        .chunks_exact(HEADER)
        .find(|header| header[..4] == INTERPRETER.to_le_bytes());
    let Some(header) = header else {
        return Ok(None);
    };
    let word = |at: usize| {
        let mut bytes = [0_u8; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let mut name = vec![0_u8; usize::try_from(word(32).min(4096)).unwrap_or(0)];
    file.read_exact_at(&mut name, word(8))?;
    name.truncate(
        name.iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len()),
    );
    Ok(Some(name))
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
            interpreter(script.to_str().unwrap()).unwrap().as_deref(),
            Some("/usr/bin/env")
        );
        let loader = interpreter("/proc/self/exe").unwrap().unwrap();
        assert!(loader.contains("/ld-"), "{loader}");
        std::fs::write(&script, "text").unwrap();
        assert_eq!(interpreter(script.to_str().unwrap()), Ok(None));
        assert_eq!(of_script(b"/a/b\0c\n"), Some(&b"/a/b"[..]));
        assert_eq!(of_script(b" \t/a \xff\n"), Some(&b"/a"[..]));
        assert_eq!(of_script(b"  \n/a"), None);
        std::fs::write(&script, b"#!/a\xff\n").unwrap();
        assert!(interpreter(script.to_str().unwrap()).is_err());
        std::fs::write(&script, b"\x7fELF\x01\x01").unwrap();
        assert!(interpreter(script.to_str().unwrap()).is_err());
    }
}
