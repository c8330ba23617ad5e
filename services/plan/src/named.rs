//! Programs and files that the user's settings name, beside those of the build itself.

use vx_core::places::{self, below};

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

/// Options that only a link heeds.
const LINKING: &[&str] = &[
    "link-arg",
    "link-args",
    "linker",
    "linker-flavor",
    "pre-link-arg",
    "pre-link-args",
];

/// Programs and files outside of the toolchain that a unit's action is told of: absolute paths,
/// of linkers, wrappers, and what flags name.
pub fn named_paths(plan: &Plan, unit: usize) -> Vec<&str> {
    let this = &plan.units[unit];
    let linker = plan.platform(this).linker.as_ref();
    let tools = plan
        .compiler
        .others()
        .chain(linker.filter(|_| may_link(this)));
    let tools = tools.map(String::as_str);
    let named = reading(flags(this), may_link(this)).flat_map(absolute_paths);
    // The checkout as a whole is no file that a package asks for.
    let in_checkout =
        |path: &&str| below(path, places::CHECKOUT).is_some_and(|rest| !rest.is_empty());
    let variables = paths_of_variables(plan).filter(in_checkout);
    let paths = tools.filter(|tool| tool.starts_with('/')).chain(named);
    paths.chain(variables).collect()
}

/// Files and directories of the host that `[env]` of the configuration names by absolute paths, and
/// that are not at one of vx's places: what it was told is there, each action looks for there.
pub fn named_by_variables(plan: &Plan) -> impl Iterator<Item = &str> {
    paths_of_variables(plan).filter(|path| {
        let mut shown = places::HOST.iter().chain([&places::ROOT]);
        !shown.any(|shown| below(path, shown).is_some())
    })
}

/// The absolute paths in the values of `[env]`: alone, in lists, or after options.
fn paths_of_variables(plan: &Plan) -> impl Iterator<Item = &str> {
    let values = plan.env.iter().map(|(_, value)| value.as_str());
    let words = values.flat_map(|value| value.split([':', ';']));
    // What follows a scheme is an address.
    let words = words.filter(|word| !word.starts_with("//"));
    words.flat_map(absolute_paths)
}

/// Whether flags have a unit's compiler read files, which it does not tell of.
pub fn flags_read_files(plan: &Plan, unit: usize) -> bool {
    const WITHOUT_A_SLASH: [&str; 4] = ["-L", "-l", "--extern", "@"];
    let this = &plan.units[unit];
    reading(flags(this), may_link(this)).any(|flag| {
        flag.contains('/')
            || WITHOUT_A_SLASH.iter().any(|start| flag.starts_with(start))
            || flag.contains("profile-use=")
            || flag.contains("profile-sample-use=")
    })
}

/// Build scripts try compilers out, with flags that they are told.
fn may_link(unit: &Unit) -> bool {
    unit.mode == Mode::RunBuildScript || unit.links()
}

/// The user's own flags.
fn flags(unit: &Unit) -> impl Iterator<Item = &str> {
    let flags = unit.rustflags.iter().chain(&unit.profile.rustflags);
    flags.map(String::as_str)
}

/// Those that may have something read. An option and its value can be one word or two.
fn reading<'p>(flags: impl Iterator<Item = &'p str>, links: bool) -> impl Iterator<Item = &'p str> {
    let mut before = "";
    flags.filter(move |flag| {
        let alone = flag.starts_with("--") && !flag.contains('=');
        let option = if before.is_empty() { *flag } else { before };
        before = if alone { *flag } else { "" };
        let option = option.trim_start_matches("--");
        let option = option.strip_prefix("-C").unwrap_or(option);
        let option = option.strip_prefix("-Z").unwrap_or(option).trim_start();
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        !READ_NOTHING.contains(&name) && (links || !LINKING.contains(&name))
    })
}

/// The absolute paths in a flag: alone, or after what an option puts before them, such as `-L`,
/// `-Clink-arg=-Wl,-T,` or `native=`. Not those that nothing can be shown at.
fn absolute_paths(flag: &str) -> impl Iterator<Item = &str> {
    let glued = |start: &str| {
        let letter = start.strip_prefix('-').unwrap_or_default().as_bytes();
        start == "@" || matches!(letter, [letter] if letter.is_ascii_alphabetic())
    };
    let words = flag.split(['=', ',', ' ']);
    words.filter_map(move |word| {
        let (start, path) = word.split_at(word.find('/')?);
        let path = path.trim_end_matches('/');
        let straight = !path.split('/').any(|part| matches!(part, "." | ".."));
        // Every action has these in its own way: nothing can be shown in their stead.
        let mut taken = places::KERNEL.iter().chain([&"/etc"]);
        let taken = taken.any(|taken| below(path, taken).is_some());
        let named = (start.is_empty() || glued(start)) && !path.is_empty();
        (named && straight && !taken).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_flags_are_found() {
        for (flag, paths) in [
            ("-Cprofile-use=/a/b.profdata", &["/a/b.profdata"] as &[_]),
            ("profile-use=/a/b.profdata", &["/a/b.profdata"]),
            ("-Lnative=/a/lib/", &["/a/lib"]),
            ("-L/a/b@3/lib", &["/a/b@3/lib"]),
            ("/a/lib", &["/a/lib"]),
            ("-Clink-arg=-T/a/link.x", &["/a/link.x"]),
            ("-Clink-arg=-Wl,-rpath,/a/lib,-T,/b/x", &["/a/lib", "/b/x"]),
            ("link-args=-s /a/x.o", &["/a/x.o"]),
            ("@/a/more", &["/a/more"]),
            ("serde=/a/libserde.rlib", &["/a/libserde.rlib"]),
            ("-Clink-arg=-Ltools/lib", &[]),
            ("-Ctarget-cpu=native", &[]),
            ("-L/", &[]),
            ("-L/a/b/../lib", &[]),
            ("-Clink-arg=-Wl,-Map=/dev/null", &[]),
        ] {
            let found: Vec<&str> = absolute_paths(flag).collect();
            assert_eq!(found, paths, "{flag}");
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
        let found: Vec<&str> = reading(flags.into_iter(), true).collect();
        assert_eq!(found, ["-C", "-C", "profile-use=/a", "-L", "/c"]);
    }

    #[test]
    fn what_does_not_link_reads_nothing_for_it() {
        let flags = ["-C", "link-arg=-T/a", "-Clinker=/b", "-Lnative=/c"];
        let found: Vec<&str> = reading(flags.into_iter(), false).collect();
        assert_eq!(found, ["-C", "-Lnative=/c"]);
        let found: Vec<&str> = reading(flags.into_iter(), true).collect();
        assert_eq!(found, flags);
    }
}
