//! Programs and files that the user's settings name, beside those of the build itself.

use crate::model::{Mode, Plan, Unit};

/// Options that take paths and read nothing there: where the results' paths are to lead, where
/// the programs or the compiler are to write, and conditions.
const READ_NOTHING: &[&str] = &[
    "cfg",
    "check-cfg",
    "incremental",
    "profile-generate",
    "remap-cwd-prefix",
    "remap-path-prefix",
    "self-profile",
];

/// Programs and files outside of the toolchain that a unit's action is told of: absolute paths,
/// of linkers, wrappers, and what flags name.
pub fn named_paths(plan: &Plan, unit: usize) -> Vec<&str> {
    let this = &plan.units[unit];
    let linker = plan.platform(this).linker.as_ref();
    let links = this.mode == Mode::RunBuildScript || this.links();
    let tools = plan.compiler.others().chain(linker.filter(|_| links));
    let tools = tools.map(String::as_str);
    let named = reading(flags(this)).filter_map(absolute_path);
    let paths = tools.filter(|tool| tool.starts_with('/')).chain(named);
    paths.collect()
}

/// Whether flags have a unit's compiler read files, which it does not tell of.
pub fn flags_read_files(plan: &Plan, unit: usize) -> bool {
    const WITHOUT_A_SLASH: [&str; 4] = ["-L", "-l", "--extern", "@"];
    reading(flags(&plan.units[unit])).any(|flag| {
        flag.contains('/')
            || WITHOUT_A_SLASH.iter().any(|start| flag.starts_with(start))
            || flag.contains("profile-use=")
            || flag.contains("profile-sample-use=")
    })
}

/// The user's own flags.
fn flags(unit: &Unit) -> impl Iterator<Item = &str> {
    let flags = unit.rustflags.iter().chain(&unit.profile.rustflags);
    flags.map(String::as_str)
}

/// Those that may have something read. An option and its value can be one word or two.
fn reading<'p>(flags: impl Iterator<Item = &'p str>) -> impl Iterator<Item = &'p str> {
    let mut before = "";
    flags.filter(move |flag| {
        let alone = flag.starts_with("--") && !flag.contains('=');
        let option = if before.is_empty() { *flag } else { before };
        before = if alone { *flag } else { "" };
        let option = option.trim_start_matches("--");
        let option = option.strip_prefix("-C").unwrap_or(option);
        let option = option.strip_prefix("-Z").unwrap_or(option).trim_start();
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        !READ_NOTHING.contains(&name)
    })
}

/// The absolute path in a flag: alone, or after what an option puts before it, such as `-L`,
/// `-Clink-arg=-Wl,-T,` or `native=`.
fn absolute_path(flag: &str) -> Option<&str> {
    let words = flag.split(['=', ',', ' ', '@']);
    let glued = |start: &str| {
        let letter = start.strip_prefix('-').unwrap_or_default().as_bytes();
        matches!(letter, [letter] if letter.is_ascii_alphabetic())
    };
    let mut paths = words.filter_map(|word| {
        let (start, path) = word.split_at(word.find('/')?);
        let path = path.trim_end_matches('/');
        ((start.is_empty() || glued(start)) && !path.is_empty()).then_some(path)
    });
    paths.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_flags_are_found() {
        for (flag, path) in [
            ("-Cprofile-use=/a/b.profdata", Some("/a/b.profdata")),
            ("profile-use=/a/b.profdata", Some("/a/b.profdata")),
            ("-Lnative=/a/lib/", Some("/a/lib")),
            ("-L/a/lib", Some("/a/lib")),
            ("/a/lib", Some("/a/lib")),
            ("-Clink-arg=-T/a/link.x", Some("/a/link.x")),
            ("-Clink-arg=-Wl,-rpath,/a/lib", Some("/a/lib")),
            ("link-args=-s /a/x.o", Some("/a/x.o")),
            ("@/a/more", Some("/a/more")),
            ("serde=/a/libserde.rlib", Some("/a/libserde.rlib")),
            ("-Clink-arg=-Ltools/lib", None),
            ("-Ctarget-cpu=native", None),
            ("-L/", None),
        ] {
            assert_eq!(absolute_path(flag), path, "{flag}");
        }
    }

    #[test]
    fn what_reads_nothing_names_nothing() {
        let flags = [
            "--remap-path-prefix=/a=/b",
            "--remap-path-prefix",
            "/a=/b",
            "-Cprofile-generate=/a",
            "-C",
            "profile-generate=/a",
            "--cfg",
            "root=\"/a\"",
            "-C",
            "profile-use=/a",
            "-L",
            "/c",
        ];
        let reading: Vec<&str> = reading(flags.into_iter()).collect();
        assert_eq!(reading, ["-C", "-C", "profile-use=/a", "-L", "/c"]);
    }
}
