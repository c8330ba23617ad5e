//! Actions and how they ended.

use std::time::Duration;

use vx_core::{
    ActionSpec, CheckoutMode, CheckoutMount, Collect, CollectForm, Execution, Exit, FileInput,
    HostEnd, HostProgram, Ingested, MAX_MARKERS, Marked, Marker, MarkerScope, MessageFormat,
    OutputStream, PackageFormat, PackageInput, PackageSource, RelPath, TreeInput, Watch,
};
use vx_schema::executor_capnp as wire;

use super::value::{blob, digest, digests, outputs};
use super::{bounded, length, text, texts};
use crate::error::invalid;

pub(crate) mod spec {
    //! One action.
    use super::*;

    pub(crate) fn to_wire(value: &ActionSpec, mut to: wire::action_spec::Builder<'_>) {
        to.set_label(&value.label);
        texts::to_wire(
            &value.argv,
            to.reborrow().init_argv(length(value.argv.len())),
        );
        let mut env = to.reborrow().init_env(length(value.env.len()));
        for (index, (name, value)) in value.env.iter().enumerate() {
            let mut to = env.reborrow().get(length(index));
            to.set_name(name);
            to.set_value(value);
        }
        to.set_cwd(&value.cwd);
        to.set_toolchain(&value.toolchain);
        if let Some(checkout) = &value.checkout {
            checkout_to_wire(checkout, to.reborrow().init_checkout());
        }
        let mut packages = to.reborrow().init_packages(length(value.packages.len()));
        for (index, value) in value.packages.iter().enumerate() {
            let mut to = packages.reborrow().get(length(index));
            to.set_at(&value.at);
            to.set_format(match value.format {
                PackageFormat::Crate => wire::package_input::Format::Crate,
                PackageFormat::Tar => wire::package_input::Format::Tar,
            });
            digest::to_wire(&value.archive, to.init_archive());
        }
        let mut files = to.reborrow().init_files(length(value.files.len()));
        for (index, value) in value.files.iter().enumerate() {
            let mut to = files.reborrow().get(length(index));
            to.set_at(&value.at);
            to.set_size(value.size);
            to.set_executable(value.executable);
            digest::to_wire(&value.digest, to.init_digest());
        }
        let mut trees = to.reborrow().init_trees(length(value.trees.len()));
        for (index, value) in value.trees.iter().enumerate() {
            let mut to = trees.reborrow().get(length(index));
            to.set_at(&value.at);
            to.set_watched(value.watched);
            digest::to_wire(&value.tree, to.init_tree());
        }
        let mut collect = to.reborrow().init_collect(length(value.collect.len()));
        for (index, value) in value.collect.iter().enumerate() {
            let mut to = collect.reborrow().get(length(index));
            to.set_at(&value.at);
            let mut form = to.init_form();
            match &value.form {
                CollectForm::Files => form.set_files(()),
                CollectForm::Tree { name } => form.set_tree(name),
            }
        }
        to.set_messages(match value.messages {
            MessageFormat::Plain => wire::MessageFormat::Plain,
            MessageFormat::RustcJson => wire::MessageFormat::RustcJson,
        });
        let mut markers = to.reborrow().init_markers(length(value.markers.len()));
        for (index, value) in value.markers.iter().enumerate() {
            let mut to = markers.reborrow().get(length(index));
            to.set_text(&value.text);
            to.set_within(match value.within {
                MarkerScope::Everything => wire::marker::Scope::Everything,
                MarkerScope::Compiled => wire::marker::Scope::Compiled,
            });
            to.set_bitcode(value.bitcode);
        }
        to.set_watch(match value.watch {
            Watch::Nothing => wire::Watch::Nothing,
            Watch::Everything => wire::Watch::Everything,
        });
        to.set_network(value.network);
        to.set_base(&value.base);
        texts::to_wire(
            &value.real_places,
            to.reborrow()
                .init_real_places(length(value.real_places.len())),
        );
        texts::to_wire(
            &value.host_paths,
            to.init_host_paths(length(value.host_paths.len())),
        );
    }

    fn checkout_to_wire(value: &CheckoutMount, mut to: wire::checkout_mount::Builder<'_>) {
        to.set_at(&value.at);
        to.set_host(&value.host);
        let mut hidden = to.reborrow().init_hidden(length(value.hidden.len()));
        for (index, path) in value.hidden.iter().enumerate() {
            hidden.set(length(index), path.as_str());
        }
        to.set_mode(match value.mode {
            CheckoutMode::ReadOnly => wire::checkout_mount::Mode::ReadOnly,
            CheckoutMode::PrivateLayer => wire::checkout_mount::Mode::PrivateLayer,
        });
    }

    pub(crate) fn from_wire(from: wire::action_spec::Reader<'_>) -> capnp::Result<ActionSpec> {
        let env = from
            .get_env()?
            .iter()
            .map(|entry| Ok((text(entry.get_name()?)?, text(entry.get_value()?)?)));
        let packages = from.get_packages()?.iter().map(|package| {
            Ok(PackageInput {
                at: text(package.get_at()?)?,
                archive: digest::from_wire(package.get_archive()?),
                format: match package.get_format()? {
                    wire::package_input::Format::Crate => PackageFormat::Crate,
                    wire::package_input::Format::Tar => PackageFormat::Tar,
                },
            })
        });
        let files = from.get_files()?.iter().map(|file| {
            Ok(FileInput {
                at: text(file.get_at()?)?,
                digest: digest::from_wire(file.get_digest()?),
                size: file.get_size(),
                executable: file.get_executable(),
            })
        });
        let trees = from.get_trees()?.iter().map(|tree| {
            Ok(TreeInput {
                at: text(tree.get_at()?)?,
                tree: digest::from_wire(tree.get_tree()?),
                watched: tree.get_watched(),
            })
        });
        let collect = from.get_collect()?.iter().map(|collect| {
            use wire::collect::form::Which;
            Ok(Collect {
                at: text(collect.get_at()?)?,
                form: match collect.get_form().which()? {
                    Which::Files(()) => CollectForm::Files,
                    Which::Tree(name) => CollectForm::Tree { name: text(name?)? },
                },
            })
        });
        bounded(from.get_markers()?.len(), MAX_MARKERS, "markers")?;
        let markers = from.get_markers()?.iter().map(|marker| {
            Ok(Marker {
                text: text(marker.get_text()?)?,
                within: match marker.get_within()? {
                    wire::marker::Scope::Everything => MarkerScope::Everything,
                    wire::marker::Scope::Compiled => MarkerScope::Compiled,
                },
                bitcode: marker.get_bitcode(),
            })
        });
        Ok(ActionSpec {
            label: text(from.get_label()?)?,
            argv: texts::from_wire(from.get_argv()?)?,
            env: env.collect::<capnp::Result<_>>()?,
            cwd: text(from.get_cwd()?)?,
            toolchain: text(from.get_toolchain()?)?,
            checkout: if from.has_checkout() {
                Some(checkout_from_wire(from.get_checkout()?)?)
            } else {
                None
            },
            packages: packages.collect::<capnp::Result<_>>()?,
            files: files.collect::<capnp::Result<_>>()?,
            trees: trees.collect::<capnp::Result<_>>()?,
            collect: collect.collect::<capnp::Result<_>>()?,
            messages: match from.get_messages()? {
                wire::MessageFormat::Plain => MessageFormat::Plain,
                wire::MessageFormat::RustcJson => MessageFormat::RustcJson,
            },
            markers: markers.collect::<capnp::Result<_>>()?,
            watch: match from.get_watch()? {
                wire::Watch::Nothing => Watch::Nothing,
                wire::Watch::Everything => Watch::Everything,
            },
            host_paths: texts::from_wire(from.get_host_paths()?)?,
            network: from.get_network(),
            real_places: texts::from_wire(from.get_real_places()?)?,
            base: text(from.get_base()?)?,
        })
    }

    fn checkout_from_wire(from: wire::checkout_mount::Reader<'_>) -> capnp::Result<CheckoutMount> {
        let hidden = from
            .get_hidden()?
            .iter()
            .map(|path| RelPath::new(text(path?)?).map_err(invalid));
        Ok(CheckoutMount {
            at: text(from.get_at()?)?,
            host: text(from.get_host()?)?,
            hidden: hidden.collect::<capnp::Result<_>>()?,
            mode: match from.get_mode()? {
                wire::checkout_mount::Mode::ReadOnly => CheckoutMode::ReadOnly,
                wire::checkout_mount::Mode::PrivateLayer => CheckoutMode::PrivateLayer,
            },
        })
    }
}

pub(crate) mod source {
    //! A package's sources on the executor's host.
    use super::*;

    pub(crate) fn to_wire(value: &PackageSource, mut to: wire::package_source::Builder<'_>) {
        match value {
            PackageSource::Archive { path, sha256 } => {
                to.set_path(path);
                to.set_archive(sha256);
            }
            PackageSource::Tree { path } => {
                to.set_path(path);
                to.set_tree(());
            }
        }
    }

    pub(crate) fn from_wire(
        from: wire::package_source::Reader<'_>,
    ) -> capnp::Result<PackageSource> {
        use wire::package_source::Which;
        let path = text(from.get_path()?)?;
        Ok(match from.which()? {
            Which::Archive(sha256) => PackageSource::Archive {
                path,
                sha256: text(sha256?)?,
            },
            Which::Tree(()) => PackageSource::Tree { path },
        })
    }
}

pub(crate) mod ingested {
    //! What became of a package on its way into a store.
    use super::*;

    pub(crate) fn to_wire(value: &Ingested, mut to: wire::ingested::Builder<'_>) {
        match value {
            Ingested::Stored(stored) => blob::to_wire(stored, to.init_stored()),
            Ingested::Unreadable(why) => to.set_unreadable(why),
            Ingested::Mismatch(found) => to.set_mismatch(found),
        }
    }

    pub(crate) fn from_wire(from: wire::ingested::Reader<'_>) -> capnp::Result<Ingested> {
        use wire::ingested::Which;
        Ok(match from.which()? {
            Which::Stored(stored) => Ingested::Stored(blob::from_wire(stored?)?),
            Which::Unreadable(why) => Ingested::Unreadable(text(why?)?),
            Which::Mismatch(found) => Ingested::Mismatch(text(found?)?),
        })
    }
}

pub(crate) mod stream {
    //! Which of a program's streams.
    use super::*;

    pub(crate) fn to_wire(value: OutputStream) -> wire::OutputStream {
        match value {
            OutputStream::Stdout => wire::OutputStream::Stdout,
            OutputStream::Stderr => wire::OutputStream::Stderr,
        }
    }

    pub(crate) fn from_wire(from: wire::OutputStream) -> OutputStream {
        match from {
            wire::OutputStream::Stdout => OutputStream::Stdout,
            wire::OutputStream::Stderr => OutputStream::Stderr,
        }
    }
}

pub(crate) mod execution {
    //! How an action ended.
    use super::*;

    pub(crate) fn to_wire(value: &Execution, mut to: wire::outcome::Builder<'_>) {
        match value {
            Execution::Ran {
                exit,
                outputs: collected,
                duration,
                marked,
                trace,
            } => {
                let mut ran = to.init_ran();
                ran.set_duration_nanoseconds(nanoseconds(*duration));
                outputs::to_wire(
                    collected,
                    ran.reborrow().init_outputs(length(collected.len())),
                );
                let mut to = ran.reborrow().init_marked(length(marked.len()));
                for (index, one) in marked.iter().enumerate() {
                    let mut to = to.reborrow().get(length(index));
                    to.set_output(&one.output);
                    to.set_marker(u8::try_from(one.marker).expect("markers are few"));
                }
                if let Some(trace) = trace {
                    super::super::trace::to_wire(trace, ran.reborrow().init_trace());
                }
                let mut to = ran.init_exit();
                match exit {
                    Exit::Code(code) => to.set_code(*code),
                    Exit::Signal(signal) => to.set_signal(*signal),
                }
            }
            Execution::InputsMissing(missing) => {
                digests::to_wire(
                    missing.iter(),
                    to.init_inputs_missing(length(missing.len())),
                );
            }
            Execution::Unable(reason) => to.set_unable(reason),
        }
    }

    pub(crate) fn from_wire(from: wire::outcome::Reader<'_>) -> capnp::Result<Execution> {
        use wire::outcome::Which;
        use wire::outcome::ran::exit::Which as How;
        Ok(match from.which()? {
            Which::Ran(ran) => Execution::Ran {
                exit: match ran.get_exit().which()? {
                    How::Code(code) => Exit::Code(code),
                    How::Signal(signal) => Exit::Signal(signal),
                },
                outputs: outputs::from_wire(ran.get_outputs()?)?,
                duration: Duration::from_nanos(ran.get_duration_nanoseconds()),
                marked: ran
                    .get_marked()?
                    .iter()
                    .map(|one| {
                        Ok(Marked {
                            output: text(one.get_output()?)?,
                            marker: usize::from(one.get_marker()),
                        })
                    })
                    .collect::<capnp::Result<_>>()?,
                trace: if ran.has_trace() {
                    Some(Box::new(super::super::trace::from_wire(ran.get_trace()?)?))
                } else {
                    None
                },
            },
            Which::InputsMissing(missing) => Execution::InputsMissing(digests::from_wire(missing?)),
            Which::Unable(reason) => Execution::Unable(text(reason?)?),
        })
    }
}

pub(crate) mod host_program {
    //! A program for the host.
    use super::*;

    pub(crate) fn to_wire(value: &HostProgram, mut to: wire::host_program::Builder<'_>) {
        texts::to_wire(
            &value.argv,
            to.reborrow().init_argv(length(value.argv.len())),
        );
        let mut env = to.reborrow().init_env(length(value.env.len()));
        for (index, (name, value)) in value.env.iter().enumerate() {
            let mut to = env.reborrow().get(length(index));
            to.set_name(name);
            to.set_value(value);
        }
        to.set_cwd(&value.cwd);
        let nobodys = length(value.nobodys.len());
        texts::to_wire(&value.nobodys, to.init_nobodys(nobodys));
    }

    pub(crate) fn from_wire(from: wire::host_program::Reader<'_>) -> capnp::Result<HostProgram> {
        let env = from.get_env()?.iter();
        let env = env.map(|entry| Ok((text(entry.get_name()?)?, text(entry.get_value()?)?)));
        Ok(HostProgram {
            argv: texts::from_wire(from.get_argv()?)?,
            env: env.collect::<capnp::Result<_>>()?,
            cwd: text(from.get_cwd()?)?,
            nobodys: texts::from_wire(from.get_nobodys()?)?,
        })
    }
}

pub(crate) mod host_end {
    //! How a program on the host ended.
    use super::*;
    use crate::wire::trace;

    pub(crate) fn to_wire(value: &HostEnd, mut to: wire::host_end::Builder<'_>) {
        match value {
            HostEnd::Ran { exit, trace } => {
                let mut ran = to.init_ran();
                let mut ended = ran.reborrow().init_exit();
                match exit {
                    Exit::Code(code) => ended.set_code(*code),
                    Exit::Signal(signal) => ended.set_signal(*signal),
                }
                trace::to_wire(trace, ran.init_trace());
            }
            HostEnd::Unable(reason) => to.set_unable(reason),
        }
    }

    pub(crate) fn from_wire(from: wire::host_end::Reader<'_>) -> capnp::Result<HostEnd> {
        use wire::host_end::Which;
        use wire::host_end::ran::exit::Which as How;
        Ok(match from.which()? {
            Which::Ran(ran) => HostEnd::Ran {
                exit: match ran.get_exit().which()? {
                    How::Code(code) => Exit::Code(code),
                    How::Signal(signal) => Exit::Signal(signal),
                },
                trace: trace::from_wire(ran.get_trace()?)?,
            },
            Which::Unable(reason) => HostEnd::Unable(text(reason?)?),
        })
    }
}

/// A duration as far as the wire can tell it: 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
