//! Why a root could not be built, in words a person can act on.

use std::fmt::Display;

use super::spec::Report;

/// A step of building the root that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub(crate) struct Fault {
    what: String,
    cause: std::io::Error,
}

impl Fault {
    /// The same failure as part of a larger step.
    pub(crate) fn within(self, what: &str) -> Self {
        Self {
            what: format!("{what}: {}", self.what),
            cause: self.cause,
        }
    }

    /// The report of an action that can't be run, for this reason.
    pub(crate) fn report(&self, reason: String) -> Report {
        Report::Unable {
            reason,
            refused: self.is_refusal(),
        }
    }

    /// Whether the kernel does not do this here, and would not do it the next time.
    fn is_refusal(&self) -> bool {
        const PASSING: [i32; 6] = [
            libc::EAGAIN,
            libc::EINTR,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::EIO,
        ];
        let error = self.cause.raw_os_error();
        error.is_some_and(|error| !PASSING.contains(&error))
    }

    /// The text, with what to look at where the kernel refused.
    pub(crate) fn explain(&self) -> String {
        let mut text = format!("can't build an isolation root: {self}");
        if let Some(hint) = hint(&self.cause, |path| std::fs::read_to_string(path).ok()) {
            text.push_str("; ");
            text.push_str(&hint);
        }
        text
    }
}

/// Names the step a system call belongs to.
pub(crate) trait Step<T> {
    /// Names the step.
    fn step(self, what: impl Display) -> Result<T, Fault>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: impl Display) -> Result<T, Fault> {
        self.map_err(|cause| Fault {
            what: what.to_string(),
            cause: cause.into(),
        })
    }
}

/// The settings that commonly forbid namespaces, and how to allow them.
fn hint(cause: &std::io::Error, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let refused = matches!(
        cause.raw_os_error(),
        Some(libc::EPERM | libc::ENOSPC | libc::EUSERS | libc::ENOSYS)
    );
    // A file's own permissions refuse with the same error as AppArmor.
    let denied = cause.raw_os_error() == Some(libc::EACCES);
    if !refused && !denied {
        return None;
    }
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some(
            "this kernel forbids user namespaces: `sysctl kernel.unprivileged_userns_clone=1` \
             allows them"
                .to_owned(),
        );
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Some(
            "this kernel allows no user namespace: look at `sysctl user.max_user_namespaces`"
                .to_owned(),
        );
    }
    if is(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        return Some(
            "AppArmor keeps user namespaces from having capabilities: allow them with a profile \
             for vx-rhea or `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
                .to_owned(),
        );
    }
    if denied {
        return None;
    }
    Some(
        "the kernel or the container around this process refuses namespaces: look at \
         `sysctl user.max_user_namespaces` and the container's seccomp profile"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting_behind_it() {
        let refused = std::io::Error::from_raw_os_error(libc::EPERM);
        let apparmor = hint(&refused, |path| {
            path.contains("apparmor").then(|| "1\n".to_owned())
        });
        assert!(apparmor.unwrap().contains("apparmor_restrict"));
        let clone = hint(&refused, |path| {
            path.contains("userns_clone").then(|| "0\n".to_owned())
        });
        assert!(clone.unwrap().contains("unprivileged_userns_clone=1"));
        assert!(hint(&refused, |_| None).unwrap().contains("seccomp"));
        let absent = std::io::Error::from_raw_os_error(libc::ENOENT);
        assert!(hint(&absent, |_| None).is_none());
    }
}
