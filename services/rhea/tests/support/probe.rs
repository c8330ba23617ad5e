//! Programs in C that go ways no shell can.

use std::process::Command;

use super::Bench;

/// What every probe starts with; each way is a body that returns 0 where what it tried went as it
/// should.
const HEAD: &str = r##"
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <grp.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
extern char **environ;
static int directory(const char *path) { return open(path, O_RDONLY | O_DIRECTORY); }
static int opened(int descriptor) { return descriptor < 0; }
static int refused(long result, int error) { return !(result == -1 && errno == error); }
static int ended(int pid) { int status; waitpid(pid, &status, 0); return status; }
/* Refused for want of a right, whichever of the two errors says so. */
static int denied(long result) { return !(result == -1 && (errno == EPERM || errno == EACCES)); }
static char *path(const char *name, int pid) {
    static char text[99];
    sprintf(text, "/proc/%d/%s", pid, name);
    return text;
}
/* Goes a way to each of the guard's threads. */
#define EACH(bad) { DIR *threads = opendir("/proc/1/task"); struct dirent *entry; int count = 0; \
    while ((entry = readdir(threads))) { \
        int it = atoi(entry->d_name); if (!it) continue; count++; if (bad) return it; \
    } return count == 0; }
static struct sockaddr_un at_path(const char *path) {
    struct sockaddr_un it = { .sun_family = AF_UNIX };
    strcpy(it.sun_path, path);
    return it;
}
"##;

/// Compiles ways into `probe` in the checkout, which is told by its argument which to go.
pub fn compile<'a>(bench: &Bench, bodies: impl Iterator<Item = &'a str>) {
    let mut text =
        format!("{HEAD}int main(int count, char **argv) {{\n    switch (atoi(argv[1])) {{\n");
    for (index, body) in bodies.enumerate() {
        text.push_str(&format!("    case {index}: {{ {body} }}\n"));
    }
    text.push_str("    }\n    return 99;\n}\n");
    bench.write("probe.c", &text);
    let status = Command::new("cc")
        .current_dir(bench.checkout.path())
        .args(["-w", "-pthread", "-o", "probe", "probe.c"])
        .status()
        .unwrap();
    assert!(status.success());
}

/// What ways lead to: files, a directory, links, a script and a program.
pub fn files(bench: &Bench) {
    bench.write("a", "1");
    bench.write("d/x", "2");
    bench.write("script", "#!/bin/sh\nexit 0\n");
    std::os::unix::fs::symlink("a", bench.checkout.path().join("link")).unwrap();
    std::os::unix::fs::symlink("circle", bench.checkout.path().join("circle")).unwrap();
    std::os::unix::fs::symlink("/proc/self/cwd", bench.checkout.path().join("here")).unwrap();
    std::fs::copy("/bin/true", bench.checkout.path().join("tool")).unwrap();
    let script = bench.checkout.path().join("script");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(script, executable).unwrap();
}
