//! Why two runs of one action left different bytes: from the bytes alone.
//!
//! Each cause stands for something that differs between runs although the inputs do not. It is
//! found by taking that something out of both outputs: where the rest is the same, it is the
//! cause. Several may be at work at once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use vx_core::action::MAX_PROCESSES;

/// What made two runs differ. The list is closed; `docs/USER.md` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// The time of day, a date, or how long something took.
    Time,
    /// A path that differs from run to run, such as one of a temporary file.
    Path,
    /// The same parts in another order.
    Ordering,
    /// The number of a process.
    Process,
    /// The compiler's code generation, spread over threads: with one unit of it the outputs are
    /// the same.
    ParallelCodegen,
    /// None of these.
    Unknown,
}

impl Cause {
    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Path => "path",
            Self::Ordering => "ordering",
            Self::Process => "process",
            Self::ParallelCodegen => "parallel-codegen",
            Self::Unknown => "unknown",
        }
    }
}

/// Seconds since the epoch that count as a time: the years 2001 to 2096.
const SECONDS: std::ops::Range<u64> = 1_000_000_000..4_000_000_000;

/// What tells two outputs apart.
pub(crate) fn causes(one: &[u8], two: &[u8]) -> BTreeSet<Cause> {
    use Cause::{Ordering, Path, Process, Time};
    // The fewest causes that explain all of it, those that are told apart best first.
    const TRIES: &[&[Cause]] = &[
        &[],
        &[Time],
        &[Path],
        &[Process],
        &[Time, Path],
        &[Path, Process],
        &[Time, Process],
        &[Time, Path, Process],
    ];
    let both_text = is_text(one) && is_text(two);
    for (round, without) in TRIES.iter().enumerate() {
        if round == 1 && both_text && words(one) == words(two) {
            return BTreeSet::from([Ordering]);
        }
        let (one, two) = (pieces(one, without), pieces(two, without));
        if !without.is_empty() && one == two {
            return without.iter().copied().collect();
        }
        if one.len() > 1 && sorted(&one) == sorted(&two) {
            return without.iter().copied().chain([Ordering]).collect();
        }
    }
    if !both_text && differ_in_times_alone(one, two) {
        return BTreeSet::from([Time]);
    }
    BTreeSet::from([Cause::Unknown])
}

/// The words of a text, sorted.
fn words(bytes: &[u8]) -> Vec<&[u8]> {
    let mut words: Vec<&[u8]> = bytes
        .split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .collect();
    words.sort_unstable();
    words
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'))
}

fn sorted(pieces: &[Vec<u8>]) -> Vec<&Vec<u8>> {
    let mut sorted: Vec<_> = pieces.iter().collect();
    sorted.sort_unstable();
    sorted
}

/// Lines, and the texts between NUL bytes, with what stands for some causes taken out.
fn pieces(bytes: &[u8], without: &[Cause]) -> Vec<Vec<u8>> {
    bytes
        .split(|byte| matches!(byte, b'\n' | 0))
        .map(|line| plain(line, without))
        .collect()
}

fn plain(line: &[u8], without: &[Cause]) -> Vec<u8> {
    let time = without.contains(&Cause::Time);
    let dated = time && has_clock_time(line);
    let mut plain = Vec::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let starts_word = at == 0 || !line[at - 1].is_ascii_alphanumeric();
        if without.contains(&Cause::Path) && rest[0] == b'/' {
            let end = rest
                .iter()
                .position(|byte| !byte.is_ascii_graphic() || b"\"':;,()[]<>`".contains(byte));
            at += end.unwrap_or(rest.len());
            plain.extend(b"/");
            continue;
        }
        if rest[0].is_ascii_digit() {
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if time && is_date(rest) {
                plain.push(b'#');
                at += DATE;
                continue;
            }
            let out = (time && (dated || is_time(rest, length)))
                || (without.contains(&Cause::Process) && is_process(&rest[..length]));
            if out {
                plain.push(b'#');
            } else {
                plain.extend(&rest[..length]);
            }
            at += length;
            continue;
        }
        if dated && starts_word && is_calendar_word(rest) {
            plain.push(b'#');
            at += 3;
            continue;
        }
        plain.push(rest[0]);
        at += 1;
    }
    plain
}

/// Whether there is something like `12:34` in it.
fn has_clock_time(line: &[u8]) -> bool {
    line.windows(5).any(|part| {
        part[0].is_ascii_digit()
            && part[1].is_ascii_digit()
            && part[2] == b':'
            && part[3].is_ascii_digit()
            && part[4].is_ascii_digit()
    })
}

fn is_calendar_word(text: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[
        b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun", b"Jan", b"Feb", b"Mar", b"Apr",
        b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
    ];
    let ends = text.get(3).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    ends && text.get(..3).is_some_and(|word| WORDS.contains(&word))
}

/// The length of a date such as `2026-11-24`.
const DATE: usize = 10;

fn is_date(text: &[u8]) -> bool {
    text.get(..DATE).is_some_and(|date| {
        date.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    })
}

/// Whether digits are seconds, milli-, micro- or nanoseconds since the epoch, or a number of a
/// unit of time.
fn is_time(text: &[u8], length: usize) -> bool {
    let (digits, after) = text.split_at(length);
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    if matches!(length, 10 | 13 | 16 | 19)
        && number(&digits[..10]).is_some_and(|seconds| SECONDS.contains(&seconds))
    {
        return true;
    }
    let after = after.strip_prefix(b" ").unwrap_or(after);
    let word = after
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    const UNITS: &[&[u8]] = &[b"s", b"ms", b"us", b"ns", b"sec", b"secs", b"seconds"];
    UNITS.contains(&&after[..word])
}

fn is_process(digits: &[u8]) -> bool {
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    digits.first() != Some(&b'0') && number.is_some_and(|number| number <= MAX_PROCESSES)
}

/// Whether all that differs are four- or eight-byte words that hold seconds since the epoch.
fn differ_in_times_alone(one: &[u8], two: &[u8]) -> bool {
    if one.len() != two.len() {
        return false;
    }
    let mut at = 0;
    let mut found = false;
    while at < one.len() {
        if one[at] == two[at] {
            at += 1;
            continue;
        }
        // A word that holds this byte, wherever it starts.
        let word = (at.saturating_sub(3)..=at).find(|&start| {
            [one, two].iter().all(|bytes| {
                bytes.get(start..start + 4).is_some_and(|word| {
                    let word: [u8; 4] = word.try_into().expect("four bytes were asked for");
                    // Text looks like times, too.
                    if word.iter().all(u8::is_ascii_graphic) {
                        return false;
                    }
                    let recent = |seconds: u32| SECONDS.contains(&u64::from(seconds));
                    recent(u32::from_le_bytes(word)) || recent(u32::from_be_bytes(word))
                })
            }) && close(&one[start..start + 4], &two[start..start + 4])
        });
        let Some(start) = word else { return false };
        found = true;
        at = start + 4;
    }
    found
}

/// Whether two words, read as seconds, lie within ten years: the action ran in between.
fn close(one: &[u8], two: &[u8]) -> bool {
    const APART: u32 = 10 * 366 * 24 * 3600;
    let word = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).expect("four bytes were asked for");
    let (one, two) = (word(one), word(two));
    u32::from_le_bytes(one).abs_diff(u32::from_le_bytes(two)) < APART
        || u32::from_be_bytes(one).abs_diff(u32::from_be_bytes(two)) < APART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(one: impl AsRef<[u8]>, two: impl AsRef<[u8]>, expected: &[Cause]) {
        let expected: BTreeSet<_> = expected.iter().copied().collect();
        assert_eq!(causes(one.as_ref(), two.as_ref()), expected);
    }

    #[test]
    fn times() {
        is("built at 1764000000", "built at 1764000999", &[Cause::Time]);
        is(
            "const T: u128 = 1764000000123;",
            "const T: u128 = 1764000001123;",
            &[Cause::Time],
        );
        is(
            "On Tue Nov 24 09:50:01 UTC 2026\nx",
            "On Wed Nov 25 10:02:59 UTC 2026\nx",
            &[Cause::Time],
        );
        is("took 12 ms", "took 7 ms", &[Cause::Time]);
        is("2026-11-24", "2026-11-25", &[Cause::Time]);
        let stamped =
            |seconds: u32| [b"\x1f\x8b\x08\0".as_slice(), &seconds.to_le_bytes(), b"abc"].concat();
        is(
            stamped(1_764_000_000),
            stamped(1_764_000_700),
            &[Cause::Time],
        );
    }

    #[test]
    fn paths_and_processes() {
        is(
            "see /tmp/cc1a2b.o here",
            "see /tmp/ccQQx.o here",
            &[Cause::Path],
        );
        is("conftest.212 made", "conftest.77 made", &[Cause::Process]);
        is(
            "pid 31 wrote /tmp/ab at 10:00:01",
            "pid 12 wrote /tmp/xy at 10:00:09",
            &[Cause::Time, Cause::Path],
        );
    }

    #[test]
    fn order() {
        is("a\nb\nc", "c\na\nb", &[Cause::Ordering]);
        is("[1, 22, 333]", "[333, 1, 22]", &[Cause::Ordering]);
        is(b"one\0two\0", b"two\0one\0", &[Cause::Ordering]);
    }

    #[test]
    fn what_no_cause_explains() {
        is("id 8c2f0a", "id 11d9be", &[Cause::Unknown]);
        is("n 918273645546", "n 111111111111", &[Cause::Unknown]);
        is([1, 2, 3], [1, 2], &[Cause::Unknown]);
        is(vec![0xff; 64], vec![0xfe; 64], &[Cause::Unknown]);
    }
}
