//! Looks for a text in outputs, debug sections aside.
//!
//! An output that holds the checkout's place took in where it was built. Debug information
//! holds it harmlessly (C compilers note their working directory there), so what lies in the
//! debug sections of an ELF object, also of one in an archive, does not count. Nor does
//! embedded bitcode: it holds the code's text a second time, and debug information with it.

use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;
use object::read::archive::ArchiveFile;
use object::read::elf::{ElfFile32, ElfFile64};
use object::{Object, ObjectSection};

/// Where a text occurs is remembered up to so many times; an output with more is taken to
/// hold it outside of debug sections too, which costs a rebuild at worst.
const MAX_FOUND: usize = 1 << 20;

/// How the names of sections that do not count start.
const DEBUG: &[&str] = &[".debug_", ".zdebug_", ".llvmbc"];

/// The text to look for; none looks for nothing.
#[derive(Clone)]
pub(crate) struct Marker(Option<Arc<Finder<'static>>>);

impl Marker {
    /// Looks for `text`, where it is not empty.
    pub(crate) fn new(text: &str) -> Self {
        let finder = || Arc::new(Finder::new(text.as_bytes()).into_owned());
        Self((!text.is_empty()).then(finder))
    }

    /// Whether `content` holds the text outside of debug sections.
    pub(crate) fn is_in(&self, content: &[u8]) -> bool {
        let mut search = self.search();
        search.update(content);
        search.finish(|| Ok(content.to_vec())).unwrap_or(true)
    }

    /// Starts looking through content that comes in pieces.
    pub(crate) fn search(&self) -> Search {
        Search {
            finder: self.0.clone(),
            tail: Vec::new(),
            position: 0,
            found: Vec::new(),
        }
    }
}

/// A search under way.
pub(crate) struct Search {
    finder: Option<Arc<Finder<'static>>>,
    /// The last bytes seen, one less than the text has.
    tail: Vec<u8>,
    position: u64,
    found: Vec<u64>,
}

impl Search {
    /// Looks through the next piece.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        let Some(finder) = &self.finder else {
            return;
        };
        let keep = finder.needle().len() - 1;
        let mut edge = std::mem::take(&mut self.tail);
        let edge_start = self.position - edge.len() as u64;
        edge.extend_from_slice(&piece[..piece.len().min(keep)]);
        let across = finder.find_iter(&edge).map(|at| edge_start + at as u64);
        let within = finder.find_iter(piece).map(|at| self.position + at as u64);
        let room = MAX_FOUND.saturating_sub(self.found.len());
        self.found.extend(across.chain(within).take(room));
        self.tail = if piece.len() >= keep {
            piece[piece.len() - keep..].to_vec()
        } else {
            edge[edge.len().saturating_sub(keep)..].to_vec()
        };
        self.position += piece.len() as u64;
    }

    /// Whether the text was found outside of debug sections; `content` gives all of it again.
    pub(crate) fn finish(
        self,
        content: impl FnOnce() -> std::io::Result<Vec<u8>>,
    ) -> std::io::Result<bool> {
        if self.found.is_empty() || self.found.len() >= MAX_FOUND {
            return Ok(!self.found.is_empty());
        }
        let debug = debug_ranges(&content()?);
        let in_debug = |at: &u64| debug.iter().any(|range| range.contains(at));
        Ok(!self.found.iter().all(in_debug))
    }
}

/// Where the debug sections of an object, or of an archive's objects, lie.
fn debug_ranges(content: &[u8]) -> Vec<Range<u64>> {
    let Ok(archive) = ArchiveFile::parse(content) else {
        return object_ranges(content, 0);
    };
    let mut ranges = Vec::new();
    for member in archive.members().flatten() {
        let (start, size) = member.file_range();
        let member = usize::try_from(start)
            .ok()
            .zip(usize::try_from(size).ok())
            .and_then(|(start, size)| content.get(start..start.checked_add(size)?));
        if let Some(member) = member {
            ranges.extend(object_ranges(member, start));
        }
    }
    ranges
}

fn object_ranges(content: &[u8], base: u64) -> Vec<Range<u64>> {
    if let Ok(object) = ElfFile64::<object::Endianness>::parse(content) {
        return section_ranges(&object, base);
    }
    if let Ok(object) = ElfFile32::<object::Endianness>::parse(content) {
        return section_ranges(&object, base);
    }
    Vec::new()
}

fn section_ranges<'a>(object: &impl Object<'a>, base: u64) -> Vec<Range<u64>> {
    object
        .sections()
        .filter(|section| {
            section
                .name_bytes()
                .is_ok_and(|name| DEBUG.iter().any(|debug| name.starts_with(debug.as_bytes())))
        })
        .filter_map(|section| section.file_range())
        .map(|(start, size)| base + start..base + start + size)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_across_pieces_and_each_place_once() {
        let text = b"..needle....needle.needleneedle";
        for size in 1..text.len() {
            let mut search = Marker::new("needle").search();
            for piece in text.chunks(size) {
                search.update(piece);
            }
            let mut found = search.found.clone();
            found.sort_unstable();
            assert_eq!(found, [2, 12, 19, 25], "pieces of {size}");
            assert!(search.finish(|| Ok(text.to_vec())).unwrap());
        }
    }

    #[test]
    fn nothing_is_in_anything() {
        assert!(!Marker::new("").is_in(b"needle"));
        assert!(!Marker::new("needle").is_in(b"haystack"));
    }

    #[test]
    fn compiled_code_counts_and_its_debug_sections_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("a.rs");
        std::fs::write(&source, "pub static S: &str = \"in-the-code\";").unwrap();
        let compiled = std::process::Command::new("rustc")
            .current_dir(directory.path())
            .args(["--crate-type=rlib", "-g", "a.rs"])
            .arg("--remap-path-prefix")
            .arg(format!("{}=/in-the-debug-info", directory.path().display()))
            .status()
            .unwrap();
        assert!(compiled.success());
        // The metadata holds the path too; objects alone are looked at here.
        let library = std::fs::read(directory.path().join("liba.rlib")).unwrap();
        let archive = ArchiveFile::parse(&*library).unwrap();
        let objects: Vec<&[u8]> = archive
            .members()
            .map(|member| member.unwrap())
            .filter(|member| member.name().ends_with(b".rcgu.o"))
            .map(|member| member.data(&*library).unwrap())
            .collect();
        assert!(!objects.is_empty());
        let holds = |text: &str| objects.iter().any(|one| Marker::new(text).is_in(one));
        assert!(holds("in-the-code"));
        assert!(
            Finder::new("in-the-debug-info")
                .find(&objects.concat())
                .is_some()
        );
        assert!(!holds("in-the-debug-info"));
        assert!(Marker::new("in-the-code").is_in(&library));
    }
}
