//! Looks for texts in outputs, debug sections aside.
//!
//! An output that holds a place took it in. Debug information holds it harmlessly (C compilers
//! note their working directory there), so what lies in the debug sections of an ELF object,
//! also of one in an archive, does not count. Nor does embedded bitcode: it holds the code's text
//! a second time, and debug information with it. Some texts only count in what rustc compiled,
//! and not in the native objects that an archive holds as well.

use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;
use object::read::archive::ArchiveFile;
use object::read::elf::{ElfFile32, ElfFile64};
use object::{Object, ObjectSection};
use vx_core::{MAX_MARKERS, Marker, MarkerScope};

/// Where a text occurs is remembered up to so many times; an output with more is taken to
/// hold it where it counts too, which costs a rebuild at worst.
const MAX_FOUND: usize = 1 << 20;

/// How the names of sections that do not count start.
const DEBUG: &[&str] = &[".debug_", ".zdebug_", ".llvmbc"];

/// How the names of the members that rustc itself puts into an archive end.
const COMPILED: &[&str] = &[".rcgu.o", "lib.rmeta"];

/// Which of an action's markers were found, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u32);

const _: () = assert!(MAX_MARKERS <= u32::BITS as usize);

impl Marks {
    /// Adds what is in `other`.
    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The markers that were found, by their indices.
    pub(crate) fn indices(self) -> impl Iterator<Item = usize> {
        (0..MAX_MARKERS).filter(move |index| self.0 >> index & 1 == 1)
    }
}

/// The texts to look for; none looks for nothing.
#[derive(Clone)]
pub(crate) struct Markers(Arc<[Needle]>);

/// One sequence of bytes that stands for a text.
struct Needle {
    finder: Finder<'static>,
    scope: MarkerScope,
    /// Which marker it is of.
    marker: usize,
}

impl Markers {
    /// Looks for `markers`, at most [`MAX_MARKERS`] of them.
    pub(crate) fn new(markers: &[Marker]) -> Self {
        let markers = markers.iter().take(MAX_MARKERS).enumerate();
        let needles = markers.flat_map(|(index, marker)| {
            let text = marker.text.as_bytes();
            let shifts = if marker.bitcode { 1..8 } else { 1..1 };
            std::iter::once(text.to_vec())
                .chain(shifts.map(|bits| shifted(text, bits)))
                .map(move |bytes| Needle {
                    finder: Finder::new(&bytes).into_owned(),
                    scope: marker.within,
                    marker: index,
                })
        });
        Self(needles.collect())
    }

    /// The texts that `content` holds where they count.
    pub(crate) fn found_in(&self, content: &[u8]) -> Marks {
        let mut search = self.search();
        search.update(content);
        search
            .finish(|| Ok(content.to_vec()))
            .unwrap_or(Marks(u32::MAX))
    }

    /// Starts looking through content that comes in pieces.
    pub(crate) fn search(&self) -> Search {
        Search {
            texts: (0..self.0.len()).map(|_| Text::default()).collect(),
            markers: self.clone(),
            position: 0,
        }
    }
}

/// The whole bytes of a text that starts so many bits into a byte.
fn shifted(text: &[u8], bits: u32) -> Vec<u8> {
    let pairs = text.windows(2);
    pairs
        .map(|pair| pair[1] << bits | pair[0] >> (8 - bits))
        .collect()
}

/// A search under way.
pub(crate) struct Search {
    markers: Markers,
    texts: Vec<Text>,
    position: u64,
}

/// What was seen of one needle.
#[derive(Default)]
struct Text {
    /// The last bytes seen, one less than the text has.
    tail: Vec<u8>,
    found: Vec<u64>,
}

impl Search {
    /// Looks through the next piece.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        for (needle, text) in self.markers.0.iter().zip(&mut self.texts) {
            text.update(&needle.finder, self.position, piece);
        }
        self.position += piece.len() as u64;
    }

    /// The texts that were found where they count; `content` gives all of it again.
    pub(crate) fn finish(
        self,
        content: impl FnOnce() -> std::io::Result<Vec<u8>>,
    ) -> std::io::Result<Marks> {
        if self.texts.iter().all(|text| text.found.is_empty()) {
            return Ok(Marks::default());
        }
        let parts = Parts::of(&content()?);
        let mut marks = Marks::default();
        for (text, needle) in self.texts.iter().zip(self.markers.0.iter()) {
            let counts = |at: &u64| parts.count(*at, needle.scope);
            if text.found.len() >= MAX_FOUND || text.found.iter().any(counts) {
                marks.0 |= 1 << needle.marker;
            }
        }
        Ok(marks)
    }
}

impl Text {
    fn update(&mut self, finder: &Finder<'_>, position: u64, piece: &[u8]) {
        let Some(keep) = finder.needle().len().checked_sub(1) else {
            return;
        };
        let mut edge = std::mem::take(&mut self.tail);
        let edge_start = position - edge.len() as u64;
        edge.extend_from_slice(&piece[..piece.len().min(keep)]);
        let across = finder.find_iter(&edge).map(|at| edge_start + at as u64);
        let within = finder.find_iter(piece).map(|at| position + at as u64);
        let room = MAX_FOUND.saturating_sub(self.found.len());
        self.found.extend(across.chain(within).take(room));
        self.tail = if piece.len() >= keep {
            piece[piece.len() - keep..].to_vec()
        } else {
            edge[edge.len().saturating_sub(keep)..].to_vec()
        };
    }
}

/// What an object, or an archive of objects, is made of.
#[derive(Default)]
struct Parts {
    /// Where debug sections lie.
    debug: Vec<Range<u64>>,
    /// Where the members of an archive lie that rustc compiled; `None` for what is no archive.
    compiled: Option<Vec<Range<u64>>>,
}

impl Parts {
    fn of(content: &[u8]) -> Self {
        let Ok(archive) = ArchiveFile::parse(content) else {
            return Self {
                debug: object_ranges(content, 0),
                compiled: None,
            };
        };
        let mut parts = Self::default();
        let mut compiled = Vec::new();
        for member in archive.members().flatten() {
            let (start, size) = member.file_range();
            let name = member.name();
            if COMPILED.iter().any(|end| name.ends_with(end.as_bytes())) {
                compiled.push(start..start.saturating_add(size));
            }
            let member = usize::try_from(start)
                .ok()
                .zip(usize::try_from(size).ok())
                .and_then(|(start, size)| content.get(start..start.checked_add(size)?));
            if let Some(member) = member {
                parts.debug.extend(object_ranges(member, start));
            }
        }
        parts.compiled = Some(compiled);
        parts
    }

    /// Whether what is at a position counts.
    fn count(&self, at: u64, scope: MarkerScope) -> bool {
        let lies_in = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&at));
        let native = || self.compiled.as_ref().is_some_and(|own| !lies_in(own));
        !(lies_in(&self.debug) || scope == MarkerScope::Compiled && native())
    }
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

    fn markers(texts: &[(&str, MarkerScope)]) -> Markers {
        let markers: Vec<Marker> = texts
            .iter()
            .map(|(text, within)| Marker {
                text: (*text).to_owned(),
                within: *within,
                bitcode: false,
            })
            .collect();
        Markers::new(&markers)
    }

    fn holds(text: &str, content: &[u8]) -> bool {
        markers(&[(text, MarkerScope::Everything)]).found_in(content) != Marks::default()
    }

    #[test]
    fn finds_across_pieces_and_each_place_once() {
        let text = b"..needle....needle.needleneedle";
        for size in 1..text.len() {
            let mut search = markers(&[
                ("hay", MarkerScope::Everything),
                ("needle", MarkerScope::Everything),
            ])
            .search();
            for piece in text.chunks(size) {
                search.update(piece);
            }
            let mut found = search.texts[1].found.clone();
            found.sort_unstable();
            assert_eq!(found, [2, 12, 19, 25], "pieces of {size}");
            let marks = search.finish(|| Ok(text.to_vec())).unwrap();
            assert_eq!(marks.indices().collect::<Vec<_>>(), [1]);
        }
    }

    #[test]
    fn nothing_is_in_anything() {
        assert!(!holds("", b"needle"));
        assert!(!holds("needle", b"haystack"));
    }

    #[test]
    fn compiled_code_counts_and_its_debug_sections_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let library = compile(
            directory.path(),
            "pub static S: &str = \"in-the-code\";",
            &[
                "--remap-path-prefix",
                &format!("{}=/in-the-debug-info", directory.path().display()),
            ],
        );
        // The metadata holds the path too; objects alone are looked at here.
        let archive = ArchiveFile::parse(&*library).unwrap();
        let objects: Vec<&[u8]> = archive
            .members()
            .map(|member| member.unwrap())
            .filter(|member| member.name().ends_with(b".rcgu.o"))
            .map(|member| member.data(&*library).unwrap())
            .collect();
        assert!(!objects.is_empty());
        let holds_one = |text: &str| objects.iter().any(|one| holds(text, one));
        assert!(holds_one("in-the-code"));
        assert!(
            Finder::new("in-the-debug-info")
                .find(&objects.concat())
                .is_some()
        );
        assert!(!holds_one("in-the-debug-info"));
        assert!(holds("in-the-code", &library));
    }

    #[test]
    fn what_a_library_bundles_counts_only_where_everything_does() {
        let directory = tempfile::tempdir().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let status = std::process::Command::new(program)
                .current_dir(directory.path())
                .args(arguments)
                .status();
            assert!(status.unwrap().success());
        };
        let native = "const char *native(void) { return \"in-the-native-code\"; }";
        std::fs::write(directory.path().join("n.c"), native).unwrap();
        run("cc", &["-c", "n.c"]);
        run("ar", &["crs", "libn.a", "n.o"]);
        let library = compile(
            directory.path(),
            "pub const S: &str = \"in-the-metadata\"; pub fn f() -> &'static str { \"in-the-code\" }",
            &["-L.", "-lstatic=n"],
        );
        let of = |scope| {
            let texts = ["in-the-native-code", "in-the-metadata", "in-the-code"];
            let found = markers(&texts.map(|text| (text, scope))).found_in(&library);
            found.indices().collect::<Vec<_>>()
        };
        assert_eq!(of(MarkerScope::Everything), [0, 1, 2]);
        assert_eq!(of(MarkerScope::Compiled), [1, 2]);
    }

    #[test]
    fn bitcode_is_looked_through_bit_by_bit() {
        let directory = tempfile::tempdir().unwrap();
        let of = |source: &str| {
            let library = compile(directory.path(), source, &["-Clinker-plugin-lto", "-O"]);
            let marker = |bitcode| Marker {
                text: "in-the-bitcode-alone".to_owned(),
                within: MarkerScope::Compiled,
                bitcode,
            };
            [false, true].map(|bitcode| Markers::new(&[marker(bitcode)]).found_in(&library))
        };
        // Where the text starts is up to what comes before it.
        for before in [
            "",
            "pub static N: u8 = 7;",
            "pub fn g(n: u32) -> u32 { n / 3 }",
        ] {
            let source = format!(
                "{before} pub fn f() -> std::io::Result<String> {{\
                 std::fs::read_to_string(\"/in-the-bitcode-alone/words\") }}"
            );
            assert_eq!(of(&source)[1], Marks(1), "{before}");
            let other = source.replace("alone", "no");
            assert_eq!(of(&other), [Marks(0); 2], "{before}");
        }
    }

    /// Compiles a library and reads it.
    fn compile(directory: &std::path::Path, source: &str, arguments: &[&str]) -> Vec<u8> {
        std::fs::write(directory.join("a.rs"), source).unwrap();
        let compiled = std::process::Command::new("rustc")
            .current_dir(directory)
            .args(["--crate-type=rlib", "-g", "a.rs"])
            .args(arguments)
            .status()
            .unwrap();
        assert!(compiled.success());
        std::fs::read(directory.join("liba.rlib")).unwrap()
    }
}
