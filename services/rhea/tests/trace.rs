//! Every way to look at a path is seen, or refused: each as a program makes it.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use support::{Bench, probe, shell, user};
use vx_core::readset::{ReadKind, ReadPlace, Trace};
use vx_core::{CheckoutMode, Execution, Watch};

/// A way to look: its body, and what has to be in the trace for it.
type Way = (
    &'static str,
    &'static str,
    &'static [(ReadKind, &'static str)],
);

const WAYS: &[Way] = &[
    (
        "open",
        "return opened(open(\"/vx/the-checkout-at-its-fixed-place/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "open what is not there",
        "return refused(open(\"none\", O_RDONLY), ENOENT);",
        &[(ReadKind::Metadata, "none")],
    ),
    (
        "open by the working directory",
        "chdir(\"d\"); return opened(open(\"../a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "openat",
        "return opened(openat(directory(\"d\"), \"x\", O_RDONLY));",
        &[(ReadKind::Content, "d/x")],
    ),
    (
        "openat after fchdir",
        "fchdir(directory(\"d\")); return opened(open(\"x\", O_RDONLY));",
        &[(ReadKind::Content, "d/x")],
    ),
    (
        "openat2",
        "struct open_how how = { .flags = O_RDONLY }; return opened(syscall(SYS_openat2, directory(\"d\"), \"x\", &how, sizeof how));",
        &[(ReadKind::Content, "d/x")],
    ),
    (
        "stat",
        "struct stat it; return stat(\"a\", &it);",
        &[(ReadKind::Metadata, "a")],
    ),
    (
        "a directory that is to be removed",
        "return refused(rmdir(\"d\"), EROFS) && refused(rmdir(\"d\"), ENOTEMPTY);",
        &[(ReadKind::Listing, "d")],
    ),
    (
        "what is below a file",
        "return refused(access(\"a/x\", F_OK), ENOTDIR);",
        &[(ReadKind::Metadata, "a")],
    ),
    (
        "links in a circle",
        "return refused(open(\"circle/x\", O_RDONLY), ELOOP);",
        &[(ReadKind::Link, "circle")],
    ),
    (
        "lstat of a link with a slash",
        "struct stat it; return refused(lstat(\"link/\", &it), ENOTDIR);",
        &[(ReadKind::Link, "link"), (ReadKind::Metadata, "link")],
    ),
    (
        "a directory on the way",
        "return opened(open(\"d/x\", O_RDONLY));",
        &[(ReadKind::Content, "d/x"), (ReadKind::Link, "d")],
    ),
    (
        "lstat of a link",
        "struct stat it; return lstat(\"link\", &it);",
        &[(ReadKind::Link, "link")],
    ),
    (
        "stat through a link",
        "struct stat it; return stat(\"link\", &it);",
        &[(ReadKind::Metadata, "link")],
    ),
    (
        "fstatat",
        "struct stat it; return fstatat(directory(\"d\"), \"x\", &it, 0);",
        &[(ReadKind::Metadata, "d/x")],
    ),
    (
        "statx",
        "struct statx it; return statx(directory(\"d\"), \"x\", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &it);",
        &[(ReadKind::Link, "d/x")],
    ),
    (
        "access",
        "return refused(access(\"none\", F_OK), ENOENT);",
        &[(ReadKind::Metadata, "none")],
    ),
    (
        "faccessat",
        "return faccessat(directory(\"d\"), \"x\", R_OK, AT_EACCESS);",
        &[(ReadKind::Metadata, "d/x")],
    ),
    (
        "readlink",
        "char text[9]; return readlink(\"link\", text, 9) < 0;",
        &[(ReadKind::Link, "link")],
    ),
    (
        "readlinkat",
        "char text[9]; return readlinkat(directory(\".\"), \"link\", text, 9) < 0;",
        &[(ReadKind::Link, "link")],
    ),
    (
        "realpath",
        "char *real = realpath(\"d/../link\", 0); return !real || strcmp(real, \"/vx/the-checkout-at-its-fixed-place/a\");",
        &[
            (ReadKind::Link, "d"),
            (ReadKind::Link, "link"),
            (ReadKind::Link, "a"),
        ],
    ),
    (
        "realpath of what is not there",
        "return realpath(\"d/none\", 0) || errno != ENOENT;",
        &[(ReadKind::Link, "d"), (ReadKind::Link, "d/none")],
    ),
    (
        "readdir",
        "return !readdir(opendir(\"d\"));",
        &[(ReadKind::Listing, "d")],
    ),
    (
        "readdir of the working directory",
        "return !readdir(opendir(\".\"));",
        &[(ReadKind::Listing, "")],
    ),
    (
        "execve",
        "int pid = fork(); if (!pid) { execl(\"script\", \"script\", 0); _exit(9); } return ended(pid);",
        &[(ReadKind::Content, "script")],
    ),
    (
        "execveat of a path",
        "char *argv[] = { \"script\", 0 }; int pid = fork(); if (!pid) { syscall(SYS_execveat, directory(\".\"), \"script\", argv, environ, 0); _exit(9); } return ended(pid);",
        &[(ReadKind::Content, "script")],
    ),
    (
        "execveat of a descriptor",
        "char *argv[] = { \"true\", 0 }; int program = open(\"tool\", O_PATH); int pid = fork(); if (!pid) { syscall(SYS_execveat, program, \"\", argv, environ, AT_EMPTY_PATH); _exit(9); } return ended(pid);",
        &[(ReadKind::Content, "tool")],
    ),
    (
        "open of a path's descriptor",
        "char path[64]; snprintf(path, 64, \"/proc/self/fd/%d\", open(\"a\", O_PATH)); return opened(open(path, O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "open by /proc/self/cwd",
        "return opened(open(\"/proc/self/cwd/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "open by /proc/self/root",
        "return opened(open(\"/proc/self/root/vx/the-checkout-at-its-fixed-place/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "open by another process's directory",
        "int pid = fork(); if (!pid) { chdir(\"d\"); pause(); } char path[64]; snprintf(path, 64, \"/proc/%d/cwd\", pid); char to[99] = {0}; while (!strstr(to, \"/d\")) readlink(path, to, 98); strcat(path, \"/x\"); return opened(open(path, O_RDONLY));",
        &[(ReadKind::Content, "d/x")],
    ),
    (
        "chdir",
        "return chdir(\"d\");",
        &[(ReadKind::Metadata, "d")],
    ),
    (
        "statfs",
        "struct statfs it; return statfs(\"d\", &it);",
        &[(ReadKind::Metadata, "d")],
    ),
    (
        "inotify",
        "return inotify_add_watch(inotify_init(), \"a\", IN_ACCESS) < 0;",
        &[(ReadKind::Metadata, "a")],
    ),
    (
        "mkdir",
        "return refused(mkdir(\"d\", 0777), EEXIST);",
        &[(ReadKind::Link, "d")],
    ),
    (
        "unlink",
        "return refused(unlink(\"none\"), EROFS) && refused(unlink(\"none\"), ENOENT);",
        &[(ReadKind::Link, "none")],
    ),
    (
        "rename",
        "return rename(\"a\", \"none\") == 0;",
        &[(ReadKind::Link, "a"), (ReadKind::Link, "none")],
    ),
    (
        "a link of its own",
        "symlink(\"/vx/the-checkout-at-its-fixed-place\", \"/tmp/way\"); return opened(open(\"/tmp/way/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "chmod",
        "return chmod(\"a\", 0644) == 0;",
        &[(ReadKind::Metadata, "a")],
    ),
    (
        "extended attributes",
        "char text[9]; return refused(getxattr(\"a\", \"user.x\", text, 9), EOPNOTSUPP) || refused(listxattr(\"a\", text, 9), EOPNOTSUPP) || refused(fgetxattr(open(\"a\", O_RDONLY), \"user.x\", text, 9), EOPNOTSUPP);",
        &[(ReadKind::Content, "a")],
    ),
    (
        "a descriptor's own name",
        "char path[64]; snprintf(path, 64, \"/dev/fd/%d\", open(\"a\", O_PATH)); return opened(open(path, O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "two slashes before /proc",
        "return opened(open(\"//proc/self/cwd/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "a way back to /proc",
        "return opened(open(\"/usr/../proc/self/cwd/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "below a descriptor of /proc",
        "return opened(openat(directory(\"/proc/self\"), \"cwd/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "a link to /proc",
        "symlink(\"/proc/self/cwd\", \"/tmp/here\"); return opened(open(\"/tmp/here/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "a link of the checkout's to /proc",
        "return opened(open(\"here/d/x\", O_RDONLY));",
        &[(ReadKind::Content, "d/x"), (ReadKind::Link, "here")],
    ),
    (
        "by a thread's number",
        "char path[64]; snprintf(path, 64, \"/proc/self/task/%d/cwd/a\", gettid()); return opened(open(path, O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "by this thread's name",
        "return opened(open(\"/proc/thread-self/cwd/a\", O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "a thread that is elsewhere than its process",
        "int pid = getpid(); if (syscall(SYS_clone, CLONE_VM | CLONE_VFORK | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0) == 0) { syscall(SYS_chdir, \"d\"); long fd = syscall(SYS_openat, AT_FDCWD, \"/proc/self/cwd/a\", O_RDONLY); if (fd < 0) syscall(SYS_exit_group, 1); fd = syscall(SYS_openat, AT_FDCWD, \"/proc/thread-self/cwd/x\", O_RDONLY); syscall(SYS_exit_group, fd < 0); } pause();",
        &[(ReadKind::Content, "a"), (ReadKind::Content, "d/x")],
    ),
    (
        "the root's descriptor",
        "char path[64]; snprintf(path, 64, \"/proc/self/fd/%d/vx/the-checkout-at-its-fixed-place/a\", open(\"/\", O_PATH)); return opened(open(path, O_RDONLY));",
        &[(ReadKind::Content, "a")],
    ),
    (
        "a program by its descriptor's name",
        "char path[64]; snprintf(path, 64, \"/proc/self/fd/%d\", open(\"tool\", O_PATH)); int pid = fork(); if (!pid) { execl(path, \"true\", 0); _exit(9); } return ended(pid);",
        &[(ReadKind::Content, "tool")],
    ),
    (
        "fchmodat2",
        "return syscall(452, AT_FDCWD, \"a\", 0644, AT_SYMLINK_NOFOLLOW) == 0;",
        &[(ReadKind::Metadata, "a")],
    ),
    (
        "a name beside AT_EMPTY_PATH",
        "struct stat it; return syscall(SYS_newfstatat, directory(\"d\"), \"x\", &it, AT_EMPTY_PATH);",
        &[(ReadKind::Metadata, "d/x")],
    ),
    (
        "a name beside AT_EMPTY_PATH, by statx",
        "struct statx it; return syscall(SYS_statx, directory(\"d\"), \"x\", AT_EMPTY_PATH, STATX_BASIC_STATS, &it);",
        &[(ReadKind::Metadata, "d/x")],
    ),
    (
        "connect to a path",
        "struct sockaddr_un at = at_path(\"a\"); return refused(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at), ECONNREFUSED);",
        &[(ReadKind::Metadata, "a")],
    ),
    (
        "bind to a path",
        "struct sockaddr_un at = at_path(\"a\"); return bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at) == 0;",
        &[(ReadKind::Link, "a")],
    ),
    (
        "a message to a path",
        "struct sockaddr_un at = at_path(\"a\"); return sendto(socket(AF_UNIX, SOCK_DGRAM, 0), \"x\", 1, 0, (void *)&at, sizeof at) == 1;",
        &[(ReadKind::Metadata, "a")],
    ),
    (
        "a message's own address",
        "struct sockaddr_un at = at_path(\"none\"); struct iovec text = { \"x\", 1 }; struct msghdr message = { &at, sizeof at, &text, 1 }; return sendmsg(socket(AF_UNIX, SOCK_DGRAM, 0), &message, 0) == 1;",
        &[(ReadKind::Metadata, "none")],
    ),
    (
        "messages' own addresses",
        "struct sockaddr_un at = at_path(\"none\"); struct iovec text = { \"x\", 1 }; struct mmsghdr message = { { &at, sizeof at, &text, 1 } }; return sendmmsg(socket(AF_UNIX, SOCK_DGRAM, 0), &message, 1, 0) == 1;",
        &[(ReadKind::Metadata, "none")],
    ),
    (
        "what would hide memory or administer a machine",
        "return refused(syscall(447, 0), ENOSYS) || refused(syscall(SYS_userfaultfd, 0), ENOSYS) || refused(umount2(\"/tmp\", 0), ENOSYS) || refused(syscall(SYS_fanotify_init, 0, 0), ENOSYS) || refused(syscall(SYS_fanotify_mark, 0, 0, 0, 0, \"a\"), ENOSYS) || refused(syscall(SYS_quotactl, 0, \"/dev/null\", 0, 0), ENOSYS) || refused(syscall(SYS_bpf, 0, 0, 0), ENOSYS);",
        &[],
    ),
    (
        "what a descriptor leads to, by each call",
        "struct stat it; struct statx more; int a = open(\"a\", O_RDONLY); return fstat(a, &it) || statx(a, \"\", AT_EMPTY_PATH, STATX_BASIC_STATS, &more) || it.st_size != 1 || more.stx_size != 1 || syscall(SYS_newfstatat, a, \"\", &it, AT_EMPTY_PATH);",
        &[(ReadKind::Content, "a")],
    ),
    (
        "a script that is changed between two runs",
        "for (int i = 0; i < 2; i++) { int out = open(\"/tmp/s\", O_WRONLY | O_CREAT | O_TRUNC, 0755); const char *text = i ? \"#!/vx/the-checkout-at-its-fixed-place/tool\\n\" : \"#!/bin/sh\\n\"; write(out, text, strlen(text)); close(out); int pid = fork(); if (!pid) { execl(\"/tmp/s\", \"s\", 0); _exit(9); } if (ended(pid)) return 1; } return 0;",
        &[(ReadKind::Content, "tool")],
    ),
    (
        "an interpreter through a link of its own",
        "symlink(\"/vx/the-checkout-at-its-fixed-place\", \"/tmp/way\"); int out = open(\"/tmp/s\", O_WRONLY | O_CREAT, 0755); write(out, \"#!/tmp/way/tool\\n\", 16); close(out); int pid = fork(); if (!pid) { execl(\"/tmp/s\", \"s\", 0); _exit(9); } return ended(pid);",
        &[(ReadKind::Content, "tool")],
    ),
    (
        "an interpreter whose line goes on strangely",
        "int out = open(\"/tmp/s\", O_WRONLY | O_CREAT, 0755); write(out, \"#! \\t/vx/the-checkout-at-its-fixed-place/tool \\xff\\n\", 47); close(out); int pid = fork(); if (!pid) { execl(\"/tmp/s\", \"s\", 0); _exit(9); } return ended(pid);",
        &[(ReadKind::Content, "tool")],
    ),
    (
        "a chain of scripts",
        "char last[64] = \"/vx/the-checkout-at-its-fixed-place/tool\"; for (int i = 0; i < 4; i++) { char path[64], text[96]; sprintf(path, \"/tmp/s%d\", i); int out = open(path, O_WRONLY | O_CREAT, 0755); write(out, text, sprintf(text, \"#!%s\\n\", last)); close(out); strcpy(last, path); } int pid = fork(); if (!pid) { execl(last, \"s\", 0); _exit(9); } return ended(pid);",
        &[(ReadKind::Content, "tool")],
    ),
    (
        "a lease",
        "return refused(fcntl(open(\"a\", O_RDONLY), F_SETLEASE, F_RDLCK), EINVAL) || refused(fcntl(open(\"a\", O_RDONLY), F_SETLEASE, F_WRLCK), EINVAL) || fcntl(0, F_GETFD) < 0;",
        &[(ReadKind::Content, "a")],
    ),
    (
        "sockets past the network namespace",
        "return refused(socket(40, SOCK_STREAM, 0), EAFNOSUPPORT) || refused(socket(AF_PACKET, SOCK_RAW, 0), EAFNOSUPPORT) || socket(AF_UNIX, SOCK_STREAM, 0) < 0 || socket(AF_INET, SOCK_STREAM, 0) < 0 || socket(AF_INET6, SOCK_DGRAM, 0) < 0;",
        &[],
    ),
    (
        "keys and the kernel's log",
        "return refused(syscall(SYS_add_key, \"user\", \"x\", \"y\", 1, -3), ENOSYS) || refused(syscall(SYS_keyctl, 0), ENOSYS) || refused(syscall(SYS_syslog, 10, 0, 0), ENOSYS);",
        &[],
    ),
    (
        "io_uring",
        "return refused(syscall(SYS_io_uring_setup, 8, 0), ENOSYS);",
        &[],
    ),
    (
        "a handle",
        "return refused(syscall(SYS_open_by_handle_at, 0, 0, 0), ENOSYS);",
        &[],
    ),
    (
        "a namespace of its own",
        "return refused(unshare(CLONE_NEWUSER | CLONE_NEWNS), ENOSPC) && refused(unshare(CLONE_NEWUSER | CLONE_NEWNS), EPERM);",
        &[],
    ),
];

/// What the checkout's program looked at there.
async fn traced(bench: &Bench, way: usize) -> Trace {
    of_probe(bench, way, WAYS[way].0, CheckoutMode::ReadOnly).await
}

async fn of_probe(bench: &Bench, way: usize, name: &str, mode: CheckoutMode) -> Trace {
    let mut action = shell("");
    action.argv = vec![
        "/vx/the-checkout-at-its-fixed-place/probe".to_owned(),
        way.to_string(),
    ];
    action.cwd = vx_core::places::CHECKOUT.to_owned();
    action.checkout = bench.mount(mode);
    action.watch = Watch::Everything;
    match bench.try_run(action).await.0.unwrap() {
        Execution::Ran { exit, trace, .. } => {
            assert!(exit.success(), "{name}: {exit:?}");
            *trace.unwrap()
        }
        other => panic!("{name}: {other:?}"),
    }
}

fn in_checkout(trace: &Trace) -> BTreeSet<(ReadKind, &str)> {
    let sights = trace.sights.iter();
    sights
        .filter_map(|sight| match &sight.read.place {
            ReadPlace::Checkout(path) => Some((sight.read.kind, path.as_str())),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_look_is_seen() {
    let bench = Bench::new().await;
    probe::files(&bench);
    probe::compile(&bench, WAYS.iter().map(|(_, body, _)| *body));
    for (index, (name, _, expected)) in WAYS.iter().enumerate() {
        let trace = traced(&bench, index).await;
        assert_eq!(trace.incomplete, None, "{name}");
        assert_eq!(trace.unsteady, None, "{name}");
        let seen = in_checkout(&trace);
        for read in *expected {
            assert!(
                seen.contains(read),
                "{name}: {read:?} is not among {seen:?}"
            );
        }
        // Nothing but what this way looks at, the program itself, and where links and
        // directories are.
        let content = seen.iter().filter(|(kind, _)| *kind == ReadKind::Content);
        for (kind, path) in content.filter(|(_, path)| *path != "probe") {
            let wanted = expected.contains(&(*kind, *path)) || *name == "extended attributes";
            assert!(wanted, "{name}: {path} was not read");
        }
    }
    user::again_as_ordinary_user("every_way_to_look_is_seen");
}

/// Ways of which nobody can tell where they lead: nothing is published then.
const UNKNOWN: &[(&str, &str)] = &[
    (
        "a path in memory that only the kernel reads",
        "char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); strcpy(page, \"a\"); mprotect(page, 4096, PROT_NONE); open(page, O_RDONLY); return 0;",
    ),
    (
        "a file that has no name any more",
        "int file = open(\"/vx/the-checkout-at-its-fixed-place/gone\", O_RDWR | O_CREAT, 0600); unlink(\"/vx/the-checkout-at-its-fixed-place/gone\"); char path[64]; snprintf(path, 64, \"/proc/self/fd/%d\", file); return opened(open(path, O_RDONLY));",
    ),
    (
        "a script that can't be read",
        "int out = open(\"/tmp/s\", O_WRONLY | O_CREAT, 0111); write(out, \"#!/vx/the-checkout-at-its-fixed-place/tool\\n\", 43); close(out); int pid = fork(); if (!pid) { execl(\"/tmp/s\", \"s\", 0); _exit(9); } ended(pid); return 0;",
    ),
    (
        "a program of another kind",
        "int out = open(\"/tmp/s\", O_WRONLY | O_CREAT, 0755); write(out, \"\\x7f\" \"ELF\\1\\1\\1\", 7); close(out); int pid = fork(); if (!pid) { execl(\"/tmp/s\", \"s\", 0); _exit(0); } ended(pid); return 0;",
    ),
    (
        "a process that closed its memory",
        "prctl(4, 0); open(\"a\", O_RDONLY); return 0;",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_told_is_given_up() {
    let bench = Bench::new().await;
    probe::files(&bench);
    probe::compile(&bench, UNKNOWN.iter().map(|(_, body)| *body));
    for (index, (name, _)) in UNKNOWN.iter().enumerate() {
        let trace = of_probe(&bench, index, name, CheckoutMode::PrivateLayer).await;
        assert!(trace.incomplete.is_some(), "{name}");
    }
    user::again_as_ordinary_user("what_can_not_be_told_is_given_up");
}

/// A second name for a file of the checkout, given by its descriptor alone, hides no read of it.
#[tokio::test(flavor = "multi_thread")]
async fn second_names_hide_nothing() {
    const NAMES: &[&str] = &[
        "int a = open(\"a\", O_PATH); if (linkat(a, \"\", AT_FDCWD, \"new\", AT_EMPTY_PATH)) return errno == ENOENT || errno == EPERM || errno == EXDEV ? 0 : errno; return opened(open(\"new\", O_RDONLY));",
        "char path[64]; snprintf(path, 64, \"/proc/self/fd/%d\", open(\"a\", O_PATH)); if (linkat(AT_FDCWD, path, AT_FDCWD, \"new\", AT_SYMLINK_FOLLOW)) return errno == EXDEV ? 0 : errno; return opened(open(\"new\", O_RDONLY));",
        "if (link(\"a\", \"new\")) return errno; return opened(open(\"new\", O_RDONLY));",
        "if (rename(\"a\", \"new\")) return errno; return opened(open(\"new\", O_RDONLY));",
    ];
    let bench = Bench::new().await;
    probe::files(&bench);
    probe::compile(&bench, NAMES.iter().copied());
    for (index, body) in NAMES.iter().enumerate() {
        let trace = of_probe(&bench, index, body, CheckoutMode::PrivateLayer).await;
        let seen = in_checkout(&trace);
        assert!(seen.contains(&(ReadKind::Content, "a")), "{body}: {seen:?}");
    }
    user::again_as_ordinary_user("second_names_hide_nothing");
}

/// What can't be told for sure is said, so that it is never published.
#[tokio::test(flavor = "multi_thread")]
async fn paths_below_another_root_are_given_up() {
    let bench = Bench::new().await;
    probe::files(&bench);
    let body = "struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_IN_ROOT }; \
                return opened(syscall(SYS_openat2, directory(\"d\"), \"/x\", &how, sizeof how));";
    probe::compile(&bench, [body].into_iter());
    let trace = traced(&bench, 0).await;
    assert!(trace.incomplete.is_some());
}

/// In a layer of its own an action can make links as it likes: what is read through them is read
/// all the same.
#[tokio::test(flavor = "multi_thread")]
async fn links_made_in_the_checkout_hide_nothing() {
    let bench = Bench::new().await;
    for (path, text) in [("v2/x", "2"), ("v2/deep/y", "3"), ("old/z", "4")] {
        bench.write(path, text);
    }
    std::os::unix::fs::symlink("v2", bench.checkout.path().join("link")).unwrap();
    for (script, read) in [
        ("ln -s v2 current; cat current/x", "v2/x"),
        ("rm -r old; ln -s v2 old; cat old/x", "v2/x"),
        ("mv link moved; cat moved/x", "v2/x"),
        ("rm link; ln -s v2/deep link; cat link/../x", "v2/x"),
        ("ln -s v2 one; ln -s one two; cat two/deep/y", "v2/deep/y"),
        ("mkdir own; ln -s ../v2 own/in; cat own/in/x", "v2/x"),
        (
            "cat link/../v2/x; rm link; ln -s v2/deep link; cat link/../deep/y",
            "v2/deep/y",
        ),
    ] {
        let mut action = shell(script);
        action.cwd = vx_core::places::CHECKOUT.to_owned();
        action.checkout = bench.mount(CheckoutMode::PrivateLayer);
        action.watch = Watch::Everything;
        let trace = match bench.try_run(action).await.0.unwrap() {
            Execution::Ran { exit, trace, .. } if exit.success() => trace.unwrap(),
            other => panic!("{script}: {other:?}"),
        };
        assert_eq!(trace.incomplete, None, "{script}");
        let seen = in_checkout(&trace);
        assert!(
            seen.contains(&(ReadKind::Content, read)),
            "{script}: {seen:?}"
        );
    }
}

/// The shell hears of each job's end by a signal, while it looks at a file that is there.
#[tokio::test(flavor = "multi_thread")]
async fn signals_make_nothing_absent() {
    let bench = Bench::new().await;
    bench.write("a", "1");
    let script = "n=0; i=0; while [ $i -lt 200 ]; do cat a >/dev/null & \
                  [ -f a ] || n=$((n+1)); i=$((i+1)); done; wait; echo $n";
    let mut action = shell(script);
    action.cwd = vx_core::places::CHECKOUT.to_owned();
    action.checkout = bench.mount(CheckoutMode::ReadOnly);
    action.watch = Watch::Everything;
    let (execution, _) = bench.try_run(action).await;
    let Execution::Ran { outputs, trace, .. } = execution.unwrap() else {
        panic!("it can be run");
    };
    let stdout = outputs.iter().find(|output| output.name == "stdout");
    let missed = bench.store.content(stdout.unwrap().blob.digest);
    // One that came between the kernel's question and its being read is told of.
    let told = trace.unwrap().unsteady.is_some();
    assert!(&missed[..] == b"0\n" || told, "{missed:?}");
}
