//! Ways out of an action, each as somebody would try it who wants out: as root's action and as an
//! ordinary user's.
//!
//! What would change the machine is only asked about (`access`), or opened and not written to.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::{Bench, MemoryStore, collect_tree, probe, shell, user};
use vx_core::{CheckoutMode, Exit, Watch};
use vx_rhea::MemoryBounds;

/// What the guard keeps to itself: each body returns 0 where it was refused. `every` goes to each
/// of the guard's threads.
const GUARD: &[(&str, &str)] = &[
    (
        "its memory",
        "EACH(denied(open(path(\"mem\", it), O_RDWR)) && denied(open(path(\"mem\", it), O_RDONLY)))",
    ),
    (
        "its descriptors",
        "EACH(({ int bad = 0; for (int number = 0; number < 64; number++) { char name[16], to[99]; sprintf(name, \"fd/%d\", number); bad |= readlink(path(name, it), to, 99) >= 0 || open(path(name, it), O_RDWR) >= 0; } bad; }))",
    ),
    (
        "its root",
        "EACH(denied(open(path(\"root\", it), O_RDONLY)))",
    ),
    (
        "its directory",
        "EACH(denied(open(path(\"cwd\", it), O_RDONLY)))",
    ),
    (
        "its mappings",
        "EACH(denied(open(path(\"maps\", it), O_RDONLY)))",
    ),
    (
        "its environment",
        "EACH(denied(open(path(\"environ\", it), O_RDONLY)))",
    ),
    (
        "reading it",
        "char byte; struct iovec mine = { &byte, 1 }, its = { (void *)0x400000, 1 }; EACH(denied(process_vm_readv(it, &mine, 1, &its, 1, 0)))",
    ),
    (
        "writing it",
        "char byte = 0; struct iovec mine = { &byte, 1 }, its = { (void *)0x400000, 1 }; EACH(denied(process_vm_writev(it, &mine, 1, &its, 1, 0)))",
    ),
    (
        "its descriptors, taken",
        "int guard = syscall(SYS_pidfd_open, 1, 0); for (int number = 0; number < 64; number++) if (denied(syscall(SYS_pidfd_getfd, guard, number, 0))) return 1; return 0;",
    ),
    (
        "attaching to it",
        "EACH(denied(ptrace(PTRACE_ATTACH, it, 0, 0)))",
    ),
    ("seizing it", "EACH(denied(ptrace(PTRACE_SEIZE, it, 0, 0)))"),
    (
        "comparing with it",
        "EACH(denied(syscall(SYS_kcmp, getpid(), it, KCMP_FILES, 0, 0)))",
    ),
    (
        "limiting it",
        "struct rlimit none = { 0, 0 }; EACH(denied(prlimit(it, RLIMIT_NOFILE, &none, 0)))",
    ),
    (
        "slowing it",
        "struct { int priority; } none = { 0 }; cpu_set_t one; CPU_ZERO(&one); CPU_SET(0, &one); EACH(denied(setpriority(PRIO_PROCESS, it, 19)) || denied(sched_setaffinity(it, sizeof one, &one)) || denied(sched_setscheduler(it, SCHED_IDLE, (void *)&none)))",
    ),
    (
        "slowing all of a user's",
        "return !(denied(setpriority(PRIO_USER, 0, 5)) == 0 && denied(setpriority(PRIO_PGRP, 0, 5)) == 0 && denied(syscall(SYS_ioprio_set, 3, 0, 0)) == 0);",
    ),
    (
        "ending its group",
        "if (getpgrp() != getpid()) return 1; signal(SIGTERM, SIG_IGN); return kill(0, SIGTERM);",
    ),
    (
        "where it lies",
        "char text[4096] = {0}; read(open(\"/proc/1/cmdline\", O_RDONLY), text, 4095); return strchr(text, '/') != 0;",
    ),
    (
        "ending it",
        "int signals[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGTERM, SIGCHLD, SIGHUP }; for (int i = 0; i < 6; i++) kill(1, signals[i]); EACH((tgkill(1, it, SIGKILL), tgkill(1, it, SIGSTOP), 0))",
    ),
    (
        "another user",
        "return !(setuid(0) < 0 && setgid(0) < 0 && setgroups(0, 0) < 0);",
    ),
    (
        "namespaces",
        "return !(unshare(CLONE_NEWUSER) < 0 && unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWPID) < 0);",
    ),
    (
        "device nodes",
        "const char *names[] = { \"null\", \"zero\", \"full\", \"random\", \"urandom\" }; for (int i = 0; i < 5; i++) { char path[64]; sprintf(path, \"/dev/%s\", names[i]); struct statvfs it; struct stat node; if (statvfs(path, &it) || !(it.f_flag & ST_RDONLY) || stat(path, &node) || node.st_uid == getuid()) return 1; } return 0;",
    ),
    (
        "new device nodes",
        "return !(mknod(\"/tmp/node\", S_IFCHR | 0600, makedev(1, 3)) < 0 && errno == EPERM);",
    ),
];

/// What has to go on working: tools that trace and look at what they start themselves.
const OWN_CHILDREN: &str = "int pid = fork(); if (!pid) { ptrace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); _exit(0); } \
    int status; waitpid(pid, &status, 0); if (!WIFSTOPPED(status)) return 1; \
    static char byte = 7; char seen = 0; struct iovec mine = { &seen, 1 }, its = { &byte, 1 }; \
    if (process_vm_readv(pid, &mine, 1, &its, 1, 0) != 1 || seen != 7) return 2; \
    if (opened(open(path(\"maps\", pid), O_RDONLY))) return 3; \
    struct rlimit few = { 64, 64 }; if (prlimit(pid, RLIMIT_NOFILE, &few, 0)) return 4; \
    if (ptrace(PTRACE_CONT, pid, 0, 0)) return 5; return ended(pid);";

fn watched(script: &str, watch: Watch) -> vx_core::ActionSpec {
    let mut action = shell(script);
    action.watch = watch;
    action
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_is_out_of_reach() {
    let bench = Bench::new().await;
    let bodies = GUARD.iter().map(|(_, body)| *body);
    probe::compile(&bench, bodies.chain([OWN_CHILDREN]));
    let names = GUARD.iter().map(|(name, _)| *name).chain(["own children"]);
    for (index, name) in names.enumerate() {
        for watch in [Watch::Everything, Watch::Nothing] {
            // Where nobody can tell whom a limit is for, limits of others are refused.
            if watch == Watch::Nothing && name == "own children" {
                continue;
            }
            let mut action = watched("", watch);
            action.argv = vec![
                "/vx/the-checkout-at-its-fixed-place/probe".to_owned(),
                index.to_string(),
            ];
            action.cwd = vx_core::places::CHECKOUT.to_owned();
            action.checkout = bench.mount(CheckoutMode::ReadOnly);
            let outcome = bench.run(action).await;
            assert_eq!(outcome.exit, Exit::Code(0), "{name}, {watch:?}");
        }
    }
    user::again_as_ordinary_user("the_guard_is_out_of_reach");
    user::again_on_overlay("the_guard_is_out_of_reach");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_the_kernels_can_be_written() {
    let bench = Bench::new().await;
    let script = "find /proc -type f -writable 2>/dev/null | \
                    while read file; do test -c $file || echo $file; done; \
                  for name in sysrq-trigger kcore kmsg; do \
                    if test -e /proc/$name; then test ! -s /proc/$name; test -c /proc/$name; fi; \
                  done; \
                  no test -w /proc/sys/kernel/core_pattern; \
                  no test -w /proc/self/oom_score_adj; \
                  cat /proc/sys/kernel/ostype /proc/cpuinfo /proc/meminfo > /dev/null";
    for watch in [Watch::Everything, Watch::Nothing] {
        let outcome = bench.run(watched(script, watch)).await.succeeded();
        assert_eq!(outcome.text("stdout"), "", "{watch:?}");
    }
    if rustix::process::geteuid().is_root() {
        let map = bench.shell("cat /proc/self/uid_map").await.text("stdout");
        let own = map
            .lines()
            .find(|line| line.trim_start().starts_with("1000 "));
        let outside = own.unwrap().split_whitespace().nth(1).unwrap();
        assert_ne!(outside, "0", "root's actions are not root");
    }
    user::again_as_ordinary_user("no_file_of_the_kernels_can_be_written");
    user::again_on_overlay("no_file_of_the_kernels_can_be_written");
}

/// Root's files are an action's as they are root's: to be read whatever their mode, and written
/// where its layer takes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_checkout_is_the_actions_own() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new().await;
    bench.write("private", "secret enough");
    bench.write("d/x", "1");
    for (path, mode) in [("private", 0o600), ("d", 0o700), ("", 0o700)] {
        let path = bench.checkout.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    // Where there is no git, its part is left out.
    let _ = std::process::Command::new("git")
        .args(["init", "--quiet"])
        .current_dir(bench.checkout.path())
        .status();
    let mut action = watched(
        "if test -d .git; then git rev-parse --git-dir > /dev/null; fi; \
         cat private d/x > /dev/null; echo 2 >> private; chmod 644 private; mv d/x d/y; \
         echo new > new; echo kept > /vx/target/out; stat -c %u private new",
        Watch::Everything,
    );
    action.cwd = vx_core::places::CHECKOUT.to_owned();
    action.checkout = bench.mount(CheckoutMode::PrivateLayer);
    action.collect = vec![collect_tree("/vx/target", "tree")];
    let outcome = bench.run(action).await.succeeded();
    // An overlay can't shift ids.
    let owner = if user::is_on_overlay() { 0 } else { 1000 };
    assert_eq!(outcome.text("stdout"), format!("{owner}\n1000\n"));
    let private = fs::read_to_string(bench.checkout.path().join("private"));
    assert_eq!(private.unwrap(), "secret enough");
    user::again_as_ordinary_user("the_checkout_is_the_actions_own");
    user::again_on_overlay("the_checkout_is_the_actions_own");
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_do_not_tell_where_they_come_from() {
    let bench = Bench::new().await;
    let script = "cat /proc/self/mountinfo /proc/thread-self/mountinfo /proc/self/task/*/mountinfo \
                  /proc/mounts /proc/self/mountstats; (cd /proc/self; cat mountinfo)";
    let mut action = watched(script, Watch::Everything);
    action.checkout = bench.mount(CheckoutMode::ReadOnly);
    action.collect = vec![collect_tree("/vx/target", "tree")];
    let text = bench.run(action).await.succeeded().text("stdout");
    assert!(
        text.contains(" /vx/the-checkout-at-its-fixed-place "),
        "{text}"
    );
    for hidden in [bench.directory(), bench.checkout.path().to_owned()] {
        // A file system's own root may be above.
        let name = hidden.to_str().unwrap();
        let tail = name.rsplit('/').find(|part| part.starts_with(".tmp"));
        let tail = tail.unwrap_or(name);
        assert!(!text.contains(tail), "{tail}: {text}");
    }
    user::again_as_ordinary_user("mounts_do_not_tell_where_they_come_from");
    user::again_on_overlay("mounts_do_not_tell_where_they_come_from");
}

async fn bounded() -> Bench {
    Bench::set(MemoryStore::placing(), |settings| {
        settings.memory = MemoryBounds::of_all(192 << 20);
        settings.disk = Some(64 << 20);
    })
    .await
}

/// Each ends its action alone: the next one runs.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_filled_is_the_actions_own() {
    let bench = bounded().await;
    let fill = |path: &str| {
        format!(
            "for i in 1 2 3 4 5 6 7 8; do \
               dd if=/dev/zero bs=1M count=40 status=none of={path}$i; done"
        )
    };
    let many = "for i in 1 2 3 4 5 6 7 8; do \
                  perl -e '$x = \"a\" x (60 << 20); print \"\"; sleep 1000' & \
                done; wait";
    for (what, script, says) in [
        ("/tmp", fill("/tmp/"), "No space left"),
        ("/dev/shm", fill("/dev/shm/"), "No space left"),
        (
            "both",
            "for i in 1 2 3 4; do for d in /tmp /dev/shm; do \
               dd if=/dev/zero bs=1M count=40 status=none of=$d/$i; done; done"
                .to_owned(),
            "No space left",
        ),
        ("the layer", fill("x"), "No space left"),
        ("processes together", many.to_owned(), "vx ended this"),
        (
            "a large file",
            "dd if=/dev/zero bs=1M count=100 status=none of=/vx/target/x".to_owned(),
            "",
        ),
        (
            "a file with holes",
            "truncate -s 1G /vx/target/x".to_owned(),
            "",
        ),
        (
            "several files with holes",
            "for i in 1 2 3; do truncate -s 60M /vx/target/$i; done".to_owned(),
            "VX_RHEA_DISK",
        ),
        (
            "files without a name",
            "perl -e 'for (1..5) { open(my $f, \">\", \"/vx/target/x\"); unlink \"/vx/target/x\"; \
               print $f \"a\" x (40 << 20); push @f, $f; } select(undef, undef, undef, 0.1) while 1'"
                .to_owned(),
            "vx ended this",
        ),
        (
            "directories as deep as can be",
            "perl -e 'chdir \"/vx/target\"; for (1..10000) { mkdir \"d\"; chdir \"d\" } exit 1'"
                .to_owned(),
            "",
        ),
        (
            "several files",
            "for i in 1 2 3; do dd if=/dev/zero bs=1M count=60 status=none of=/vx/target/$i; done"
                .to_owned(),
            "VX_RHEA_DISK",
        ),
    ] {
        let mut action = watched(&script, Watch::Nothing);
        action.cwd = vx_core::places::CHECKOUT.to_owned();
        action.checkout = bench.mount(CheckoutMode::PrivateLayer);
        action.collect = vec![collect_tree("/vx/target", "tree")];
        let outcome = bench.run(action).await;
        let errors = outcome.text("stderr");
        assert!(!outcome.exit.success(), "{what}: {errors}");
        assert!(errors.contains(says), "{what}: {errors}");
        bench.shell("true").await.succeeded();
        bench.rhea.settle().await;
    }
    user::again_as_ordinary_user("whatever_is_filled_is_the_actions_own");
    user::again_on_overlay("whatever_is_filled_is_the_actions_own");
}
