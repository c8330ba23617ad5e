//! Placing: what goes where, how, and what is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests too")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use support::{Home, config, file, flip, me, noise, request};
use vx_cass::FIXED_MTIME;
use vx_core::{Digest, Holder, PlaceMode, PlaceOutcome, ServiceError, StoreService};

use PlaceMode::{Independent, SharedReadOnly};

fn empty(path: &Path) -> bool {
    std::fs::read_dir(path).unwrap().next().is_none()
}

#[tokio::test]
async fn files_get_their_mode_and_time() {
    let home = Home::new().await;
    let content = noise(1, 100_000);
    let digest = home.put(&content).await.digest;
    let target = home.target("in");
    let files = vec![
        file("lib/deps/libx.rmeta", digest, false, SharedReadOnly),
        file("lib/deps/libx.so", digest, true, SharedReadOnly),
        file("plain.txt", digest, false, Independent),
        file("bin/tool", digest, true, Independent),
    ];
    let placed = home.store.place(request(&target, files)).await.unwrap();
    let outcome = PlaceOutcome::Placed {
        linked: 100_000,
        copied: 300_000,
    };
    assert_eq!(placed, outcome);
    for (path, mode, links) in [
        ("lib/deps/libx.rmeta", 0o444, 2),
        ("lib/deps/libx.so", 0o555, 1),
        ("plain.txt", 0o644, 1),
        ("bin/tool", 0o755, 1),
    ] {
        let path = target.join(path);
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, mode, "{path:?}");
        assert_eq!(meta.nlink(), links, "{path:?}");
        assert_eq!(meta.mtime(), FIXED_MTIME, "{path:?}");
        assert!(std::fs::read(&path).unwrap() == content);
    }
    for directory in ["lib", "lib/deps", "bin"] {
        let meta = std::fs::metadata(target.join(directory)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o755);
        assert_eq!(meta.mtime(), FIXED_MTIME);
    }
    let status = home.cass.status().await.unwrap();
    assert_eq!((status.linked, status.copied), (100_000, 300_000));
}

#[tokio::test]
async fn many_files_at_once() {
    let home = Home::new().await;
    let mut files = Vec::new();
    for n in 0..200_u8 {
        let digest = home.put(&noise(n, 1000)).await.digest;
        let path = format!("d{}/f{n}", n % 7);
        files.push(file(&path, digest, false, Independent));
        files.push(file(&format!("l{n}"), digest, false, SharedReadOnly));
    }
    let target = home.target("in");
    let placed = home.store.place(request(&target, files)).await.unwrap();
    let outcome = PlaceOutcome::Placed {
        linked: 200_000,
        copied: 200_000,
    };
    assert_eq!(placed, outcome);
    for n in 0..200_u8 {
        assert!(std::fs::read(target.join(format!("l{n}"))).unwrap() == noise(n, 1000));
    }
}

#[tokio::test]
async fn a_missing_blob_leaves_nothing() {
    let home = Home::new().await;
    let here = home.put(b"here").await.digest;
    let gone = Digest::of(b"gone");
    let target = home.target("in");
    let files = vec![
        file("a/b", here, false, SharedReadOnly),
        file("a/c", gone, false, Independent),
        file("a/d", gone, false, Independent),
    ];
    let placed = home.store.place(request(&target, files)).await.unwrap();
    assert_eq!(placed, PlaceOutcome::Missing(vec![gone]));
    assert!(empty(&target));
}

#[tokio::test]
async fn damaged_blobs_are_told_together_and_nothing_is_left() {
    let home = Home::new().await;
    let good = home.put(&noise(1, 5000)).await.digest;
    let bad = [
        home.put(&noise(2, 5000)).await.digest,
        home.put(&noise(3, 5000)).await.digest,
    ];
    for digest in &bad {
        flip(&home.blob_path(digest));
    }
    let target = home.target("in");
    let files = vec![
        file("x/good", good, false, SharedReadOnly),
        file("x/bad0", bad[0], false, SharedReadOnly),
        file("y/bad1", bad[1], true, Independent),
    ];
    let placed = home.store.place(request(&target, files)).await.unwrap();
    let PlaceOutcome::Missing(mut missing) = placed else {
        panic!("{placed:?}");
    };
    missing.sort();
    let mut expected = bad.to_vec();
    expected.sort();
    assert_eq!(missing, expected);
    assert!(empty(&target));
}

#[tokio::test]
async fn a_flip_through_a_placed_link_is_found() {
    let home = Home::new().await;
    let content = noise(4, 200_000);
    let digest = home.put(&content).await.digest;
    let files = |name: &str| vec![file(name, digest, false, SharedReadOnly)];
    let target = home.target("in");
    let placed = home.store.place(request(&target, files("f"))).await;
    assert!(matches!(
        placed,
        Ok(PlaceOutcome::Placed {
            linked: 200_000,
            ..
        })
    ));
    flip(&target.join("f"));
    let next = home.target("next");
    let placed = home.store.place(request(&next, files("f"))).await.unwrap();
    assert_eq!(placed, PlaceOutcome::Missing(vec![digest]));
    assert!(empty(&next));
    assert_eq!(home.get(digest).await, None);
}

#[tokio::test]
async fn a_flip_through_a_link_that_is_then_removed_is_found() {
    let home = Home::new().await;
    let digest = home.put(&noise(5, 200_000)).await.digest;
    for read in [false, true] {
        let target = home.target(&format!("in{read}"));
        let files = vec![file("f", digest, false, SharedReadOnly)];
        home.store.place(request(&target, files)).await.unwrap();
        if read {
            flip(&target.join("f"));
        }
        std::fs::remove_file(target.join("f")).unwrap();
        assert_eq!(home.get(digest).await.is_none(), read);
    }
}

#[tokio::test]
async fn directories_that_must_not_be_placed_into_are_refused() {
    let home = Home::new().await;
    let digest = home.put(b"content").await.digest;
    let place = async |path: &Path| {
        let files = vec![file("f", digest, false, Independent)];
        home.store.place(request(path, files)).await
    };

    let full = home.target("full");
    std::fs::write(full.join("thing"), "").unwrap();
    let refused = place(&full).await;
    assert!(
        matches!(refused, Err(ServiceError::Invalid(_))),
        "{refused:?}"
    );

    let real = home.target("real");
    std::fs::create_dir(real.join("inner")).unwrap();
    let link = real.with_file_name("link");
    symlink(&real, &link).unwrap();
    for path in [&link, &link.join("inner")] {
        let refused = place(path).await;
        assert!(
            matches!(refused, Ok(PlaceOutcome::Unavailable(_))),
            "{refused:?}"
        );
        assert!(empty(&real.join("inner")));
    }

    let inside = home.path().canonicalize().unwrap().join("aside");
    let refused = place(&inside).await;
    assert!(
        matches!(refused, Err(ServiceError::Denied(_))),
        "{refused:?}"
    );

    for path in ["relative", "/", "/tmp/../etc", ""] {
        let refused = place(Path::new(path)).await;
        assert!(
            matches!(refused, Err(ServiceError::Invalid(_))),
            "{path}: {refused:?}"
        );
    }

    let nowhere = real.with_file_name("nowhere");
    let refused = place(&nowhere).await;
    assert!(
        matches!(refused, Ok(PlaceOutcome::Unavailable(_))),
        "{refused:?}"
    );

    if rustix::process::geteuid().is_root() {
        let foreign = home.target("foreign");
        std::os::unix::fs::chown(&foreign, Some(12345), None).unwrap();
        let refused = place(&foreign).await;
        assert!(
            matches!(refused, Err(ServiceError::Denied(_))),
            "{refused:?}"
        );
        assert!(empty(&foreign));
    }
}

#[tokio::test]
async fn names_that_collide_are_refused_and_leave_nothing() {
    let home = Home::new().await;
    let digest = home.put(b"content").await.digest;
    for (one, two) in [("f", "f"), ("f", "f/g")] {
        let target = home.target(&format!("in-{}", two.len()));
        let files = vec![
            file(one, digest, false, Independent),
            file(two, digest, false, SharedReadOnly),
        ];
        let refused = home.store.place(request(&target, files)).await;
        assert!(
            matches!(refused, Err(ServiceError::Invalid(_))),
            "{refused:?}"
        );
        assert!(empty(&target));
    }
}

#[tokio::test]
async fn only_this_user_on_this_host_is_placed_for() {
    let home = Home::new().await;
    let target = home.target("in");
    let me = rustix::process::geteuid().as_raw();
    for holder in [Holder::Remote, Holder::Local { uid: me + 1 }] {
        let store = home.cass.store(home.grant, holder);
        let placed = store.place(request(&target, vec![])).await.unwrap();
        assert!(matches!(placed, PlaceOutcome::Unavailable(_)));
    }
}

#[tokio::test]
async fn placing_can_be_switched_off() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("store"));
    config.placing = false;
    let home = Home::open(directory, config).await;
    let target = home.target("in");
    let placed = home.cass.store(home.grant, me());
    let placed = placed.place(request(&target, vec![])).await.unwrap();
    assert!(matches!(placed, PlaceOutcome::Unavailable(_)));
}
