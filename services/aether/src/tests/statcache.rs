//! Files whose stamps do not show that they changed.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vx_core::Digest;

use crate::host::stat_cache::StatCache;

/// A file's page, mapped to be written.
struct Mapping(*mut u8);

impl Mapping {
    const LENGTH: usize = 4096;

    fn of(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let (may, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses a place that nothing else uses.
        let at = unsafe { mmap(std::ptr::null_mut(), Self::LENGTH, may, shared, &file, 0) };
        Self(at.unwrap().cast())
    }

    fn write(&self, byte: u8) {
        // SAFETY: the mapping is there, may be written to, and is as long.
        unsafe { self.0.write_volatile(byte) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing points into it any more.
        let _ = unsafe { munmap(self.0.cast(), Self::LENGTH) };
    }
}

/// What a cache says that has looked at a file before, beside what is there.
#[track_caller]
fn assert_right(cache: &StatCache, path: &Path, what: &str) {
    let content = std::fs::read(path).unwrap();
    let found = cache.digest(path).unwrap();
    assert_eq!(found.digest, Digest::of(&content), "{what}");
}

/// Waits until the clock of files has gone on by this, in nanoseconds.
fn pass(nanoseconds: i128) {
    let now = crate::host::stat_cache::coarse_now_ns;
    let from = now();
    while now() - from < nanoseconds {
        std::thread::yield_now();
    }
}

/// Changes a file through one mapping, again and again, with looks between.
fn changed_through_a_mapping(directory: &Path) {
    let path = directory.join("mapped");
    std::fs::write(&path, [0; Mapping::LENGTH]).unwrap();
    let cache = StatCache::default();
    assert_right(&cache, &path, "as written");
    let mapping = Mapping::of(&path);
    for byte in 1..4 {
        mapping.write(byte);
        // A stamp that is only too new would not be believed either.
        pass(100_000_000);
        assert_right(&cache, &path, "written through the mapping");
        assert_right(&cache, &path, "looked at again");
    }
    // Once it is written back, the stamp can be believed, until the next write.
    File::open(&path).unwrap().sync_all().unwrap();
    pass(100_000_000);
    for byte in 4..7 {
        assert_right(&cache, &path, "written back");
        mapping.write(byte);
        assert_right(&cache, &path, "written after that");
        pass(100_000_000);
    }
}

#[test]
fn a_file_that_is_written_through_a_mapping_is_hashed_again() {
    let directory = tempfile::tempdir().unwrap();
    changed_through_a_mapping(directory.path());
}

#[test]
fn a_file_in_memory_that_is_written_through_a_mapping_is_hashed_again() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    changed_through_a_mapping(directory.path());
}

#[test]
fn content_that_changed_under_one_stamp_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mapped");
    std::fs::write(&path, [0; Mapping::LENGTH]).unwrap();
    let cache = StatCache::default();
    let mapping = Mapping::of(&path);
    mapping.write(1);
    let first = cache.digest(&path).unwrap();
    pass(100_000_000);
    let started_ns = crate::host::stat_cache::coarse_now_ns();
    mapping.write(2);
    let second = cache.digest(&path).unwrap();
    assert_ne!(first.digest, second.digest);
    assert!(second.newest_ns >= started_ns);
}

#[test]
fn what_vx_wrote_is_remembered_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    std::fs::write(&path, "one").unwrap();
    let cache = StatCache::default();
    let stamp = crate::host::stamps::Stamp::of(&std::fs::metadata(&path).unwrap());
    cache.wrote(&path, &stamp);
    pass(100_000_000);
    assert_right(&cache, &path, "as vx wrote it");
    std::fs::write(&path, "two").unwrap();
    assert_right(&cache, &path, "as another wrote it");
}

/// Runs a program; whether it succeeded.
fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).output();
    status.is_ok_and(|output| output.status.success())
}

/// A file system with whole seconds, mounted for one thread: it goes with the thread, whatever
/// becomes of the test.
#[test]
fn a_file_that_changes_within_a_whole_second_is_hashed_again() {
    let directory = tempfile::tempdir().unwrap();
    let text = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (image, mounted) = (text("image"), text("mounted"));
    File::create(&image).unwrap().set_len(16 << 20).unwrap();
    std::fs::create_dir(&mounted).unwrap();
    let test = move || {
        // SAFETY: only this thread's view of mounts becomes its own; it has no descriptors that
        // others rely on.
        let own = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) };
        if own.is_err()
            || !run("mount", &["--make-rprivate", "/"])
            || !run("mke2fs", &["-q", "-t", "ext2", "-I", "128", &image])
            || !run("mount", &["-o", "loop", &image, &mounted])
        {
            // Not allowed here; made stamps say the same in `stamps`.
            return;
        }
        let path = Path::new(&mounted).join("f");
        for round in 0..4_u8 {
            let cache = StatCache::default();
            for part in 0..4_u8 {
                std::fs::write(&path, [round, part]).unwrap();
                pass(150_000_000);
                assert_right(&cache, &path, "written");
                assert_right(&cache, &path, "looked at again");
            }
        }
        assert!(run("umount", &[&mounted]));
    };
    std::thread::spawn(test).join().unwrap();
}
