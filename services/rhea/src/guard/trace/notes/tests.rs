use vx_core::readset::ReadPlace;

use super::*;
use crate::guard::trace::changes::now_ns;

fn notes(root: &Path, layered: bool) -> Notes {
    Notes::new(Scope {
        checkout: Some(root.to_str().unwrap().to_owned()),
        toolchain: Some(vx_core::places::TOOLCHAIN.to_owned()),
        writes: if layered {
            Writes::ToLayer
        } else {
            Writes::Refused
        },
        own: vec![format!("{}/target", root.display())],
        hidden: Vec::new(),
        host: Reach::These(vec!["/usr".to_owned()]),
        given: None,
        watched: Vec::new(),
    })
}

fn kinds(notes: &mut Notes) -> Vec<(String, ReadKind)> {
    let trace = notes.take();
    let name = |place: &ReadPlace| match place {
        ReadPlace::Checkout(path) | ReadPlace::CargoHome(path) | ReadPlace::Toolchain(path) => {
            path.as_str().to_owned()
        }
        ReadPlace::Host(path) | ReadPlace::Given(path) => path.clone(),
    };
    let kinds = trace.sights.iter();
    kinds
        .map(|sight| (name(&sight.read.place), sight.read.kind))
        .collect()
}

fn expected(list: &[(&str, ReadKind)]) -> Vec<(String, ReadKind)> {
    list.iter()
        .map(|(path, kind)| ((*path).to_owned(), *kind))
        .collect()
}

#[test]
fn what_leads_out_is_noted_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::write(root.join("a"), "1").unwrap();
    let path = |name: &str| format!("{}/{name}", root.display());
    let mut notes = notes(root, false);
    notes.note_call(&path("a"), Intent::Open(libc::O_RDONLY));
    notes.note_call(&path("no"), Intent::Open(libc::O_RDONLY));
    notes.note_call(&path("target/x"), Intent::Open(libc::O_RDONLY));
    notes.note_call("/tmp-of-its-own", Intent::Look);
    notes.note_call("/usr/none", Intent::LookAtLink);
    notes.note_call(root.to_str().unwrap(), Intent::List);
    assert_eq!(
        kinds(&mut notes),
        expected(&[
            ("", ReadKind::Listing),
            ("a", ReadKind::Content),
            ("no", ReadKind::Metadata),
            ("/usr/none", ReadKind::Link),
        ])
    );
}

#[test]
fn what_the_root_does_not_show_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let mut notes = notes(directory.path(), false);
    let create = libc::O_WRONLY | libc::O_CREAT;
    let own = tempfile::tempdir_in("/tmp").unwrap();
    let in_own = |name: &str| format!("{}/{name}", own.path().display());
    for (path, intent) in [
        ("/none/read", Intent::Open(libc::O_RDONLY)),
        ("/none/looked-at", Intent::Look),
        ("/none/linked", Intent::LookAtLink),
        ("/none/run", Intent::Execute),
        ("/none/listed", Intent::List),
        // It would be the action's own, but that there is no directory.
        ("/none-to-make-in/x", Intent::Open(create)),
        ("/none-to-move-in/x", Intent::Alter),
        ("/tmp/none/x", Intent::Look),
        // Not these: shown, the kernel's, vx's, there, and its own.
        ("/usr/none", Intent::Look),
        ("/proc/none", Intent::Look),
        ("/vx/out/none", Intent::Look),
        ("/etc/passwd", Intent::Open(libc::O_RDONLY)),
        (&in_own("x"), Intent::Look),
        ("/tmp/made-now", Intent::Open(create)),
        ("/made-now", Intent::Open(create)),
        ("/made-now", Intent::Alter),
    ] {
        notes.note_call(path, intent);
    }
    assert_eq!(
        notes.take().missed,
        [
            "/none-to-make-in",
            "/none-to-move-in",
            "/none/linked",
            "/none/listed",
            "/none/looked-at",
            "/none/read",
            "/none/run",
            "/tmp/none/x",
        ]
    );
    let mut everywhere = Notes::new(Scope {
        host: Reach::Everything,
        ..notes.scope
    });
    everywhere.note_call("/none/read", Intent::Look);
    assert_eq!(everywhere.take().missed, [""; 0]);
}

#[test]
fn a_trace_has_room_for_so_many_that_are_missed() {
    let directory = tempfile::tempdir().unwrap();
    let mut notes = notes(directory.path(), false);
    for number in 0..=vx_core::readset::MAX_MISSED {
        notes.note_call(&format!("/none/{number}"), Intent::Look);
    }
    let trace = notes.take();
    assert_eq!(trace.missed.len(), vx_core::readset::MAX_MISSED);
    assert!(trace.incomplete.is_some());
}

#[test]
fn what_the_action_makes_is_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::write(root.join("old"), "1").unwrap();
    let path = |name: &str| format!("{}/{name}", root.display());
    let mut notes = notes(root, true);
    let create = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
    notes.note_call(&path("new"), Intent::Open(create));
    std::fs::write(root.join("new"), "2").unwrap();
    notes.note_call(&path("new"), Intent::Open(libc::O_RDONLY));
    notes.note_call(&path("made"), Intent::Alter);
    std::fs::create_dir(root.join("made")).unwrap();
    notes.note_call(&path("made/x"), Intent::Look);
    notes.note_call(&path("old"), Intent::Alter);
    std::fs::remove_file(root.join("old")).unwrap();
    notes.note_call(&path("old"), Intent::Look);
    assert_eq!(notes.wrote(), ["new"]);
    assert_eq!(
        kinds(&mut notes),
        expected(&[
            ("", ReadKind::Metadata),
            ("made", ReadKind::Link),
            ("new", ReadKind::Metadata),
            ("old", ReadKind::Content),
            ("old", ReadKind::Link),
        ])
    );
}

#[test]
fn what_is_another_thing_the_second_time_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for place in ["one", "two"] {
        std::fs::create_dir(root.join(place)).unwrap();
        let path = root.join(place).join("a");
        std::fs::write(&path, place).unwrap();
        until_after(path.to_str().unwrap());
    }
    std::fs::create_dir(root.join("empty")).unwrap();
    let read = |notes: &mut Notes| {
        let path = format!("{}/here/a", root.display());
        notes.note_call(&path, Intent::Open(libc::O_RDONLY));
    };
    let put = |name: &str| std::fs::rename(root.join(name), root.join("here")).unwrap();
    let take = |name: &str| std::fs::rename(root.join("here"), root.join(name)).unwrap();
    put("one");
    for (other, unsteady) in [("one", false), ("two", true), ("empty", true)] {
        let mut notes = notes(root, false);
        read(&mut notes);
        take("one");
        put(other);
        read(&mut notes);
        take(other);
        put("one");
        assert_eq!(notes.take().unsteady.is_some(), unsteady, "{other}");
    }
    let mut layered = notes(root, true);
    read(&mut layered);
    std::fs::write(root.join("here/a"), "its own").unwrap();
    read(&mut layered);
    assert_eq!(layered.take().unsteady, None);
}

/// Until files that are written from now on are newer than this one.
fn until_after(path: &str) {
    let Seen::File { newest_ns } = look(path, AtFlags::empty()) else {
        panic!("{path} is a file");
    };
    while now_ns() <= newest_ns {
        std::hint::spin_loop();
    }
}

#[test]
fn what_parents_depend_on_is_noted() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    for path in ["a", "b/src", "c/src"] {
        std::fs::create_dir_all(root.join(path)).unwrap();
    }
    std::os::unix::fs::symlink("../b/src", root.join("a/src")).unwrap();
    let mut notes = notes(&root, false);
    let asked = format!("{}/a/src/../x", root.display());
    let Resolved::Path(path) = notes.straighten(asked) else {
        panic!("it is there");
    };
    notes.note_call(&path, Intent::Open(libc::O_RDONLY));
    let kinds = kinds(&mut notes);
    assert!(kinds.contains(&("a/src".to_owned(), ReadKind::Link)));
    assert!(kinds.contains(&("b/x".to_owned(), ReadKind::Metadata)));
}

#[test]
fn links_the_action_made_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let inside = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    std::fs::write(root.join("a"), "1").unwrap();
    let link = inside.path().join("link");
    std::os::unix::fs::symlink(&root, &link).unwrap();
    let mut notes = notes(&root, false);
    notes.links_to(root.to_str().unwrap().as_bytes());
    let through = link.join("a");
    notes.note_call(through.to_str().unwrap(), Intent::Open(libc::O_RDONLY));
    assert!(kinds(&mut notes).contains(&("a".to_owned(), ReadKind::Content)));
}

#[test]
fn a_change_that_failed_makes_nothing_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    let path = |name: &str| format!("{}/{name}", root.display());
    std::fs::create_dir(root.join("real")).unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    std::fs::write(root.join("real/a"), "1").unwrap();
    until_after(&path("real/a"));
    let mut notes = notes(&root, true);
    notes.note_call(&path("link"), Intent::Open(libc::O_WRONLY));
    notes.note_call(&path("link/a"), Intent::Open(libc::O_RDONLY));
    assert!(kinds(&mut notes).contains(&("link/a".to_owned(), ReadKind::Content)));
}

#[test]
fn what_was_moved_into_an_own_directory_is_none_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    let path = |name: &str| format!("{}/{name}", root.display());
    std::fs::create_dir(root.join("old")).unwrap();
    std::fs::write(root.join("old/a"), "1").unwrap();
    until_after(&path("old/a"));
    let mut notes = notes(&root, true);
    notes.note_call(&path("new"), Intent::Alter);
    std::fs::rename(root.join("old"), root.join("new")).unwrap();
    notes.note_call(&path("new/a"), Intent::Open(libc::O_RDONLY));
    assert!(kinds(&mut notes).contains(&("new/a".to_owned(), ReadKind::Content)));
}

#[test]
fn links_on_the_way_to_a_file_are_noted() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    std::fs::create_dir(root.join("real")).unwrap();
    std::fs::write(root.join("real/a"), "1").unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    std::os::unix::fs::symlink("link/a", root.join("first")).unwrap();
    let mut notes = notes(&root, false);
    notes.caller = i32::try_from(std::process::id()).unwrap();
    let first = format!("{}/first", root.display());
    let found = notes.resolve(None, &first, true);
    assert_eq!(found, Ok(Resolved::Path(first)));
    assert_eq!(
        kinds(&mut notes),
        expected(&[
            ("first", ReadKind::Link),
            ("link", ReadKind::Link),
            ("real", ReadKind::Link),
        ])
    );
}

#[test]
fn what_is_mounted_is_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    let mut notes = notes(&root, false);
    notes.note_call(root.to_str().unwrap(), Intent::LookAtLink);
    notes.note_call("/usr", Intent::LookAtLink);
    assert_eq!(
        kinds(&mut notes),
        expected(&[("", ReadKind::Metadata), ("/usr", ReadKind::Metadata)])
    );
}

#[test]
fn what_leads_to_what_is_shown_depends_on_its_being_there() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    let mut notes = notes(&root, false);
    notes.scope.host = Reach::These(vec!["/usr".to_owned(), "/opt/a".to_owned()]);
    notes.note_call("/opt", Intent::List);
    notes.note_call("/srv", Intent::List);
    assert_eq!(
        kinds(&mut notes),
        expected(&[("/opt/a", ReadKind::Metadata)])
    );
}

#[test]
fn what_lets_a_change_or_a_look_fail_is_noted() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    std::fs::create_dir(root.join("some")).unwrap();
    std::fs::write(root.join("file"), "1").unwrap();
    let path = |name: &str| format!("{}/{name}", root.display());
    let mut notes = notes(&root, true);
    notes.note_call(
        &path("none/x"),
        Intent::Open(libc::O_WRONLY | libc::O_CREAT),
    );
    notes.note_call(&path("file/x"), Intent::Look);
    notes.note_emptied(&path("some"));
    notes.note_call(&path("some"), Intent::Alter);
    let kinds = kinds(&mut notes);
    for one in [
        ("none", ReadKind::Metadata),
        ("file", ReadKind::Metadata),
        ("some", ReadKind::Listing),
    ] {
        assert!(
            kinds.contains(&(one.0.to_owned(), one.1)),
            "{one:?}: {kinds:?}"
        );
    }
}
