//! Builds: requests, events, outcomes, figures.

use std::collections::BTreeMap;
use std::time::Duration;

use vx_core::orchestrator::{
    ActionOutcome, BuildEvent, BuildFailure, BuildOutcome, BuildRequest, Executable, MessageLevel,
    OrchestratorStatus, Selection, Totals,
};
use vx_schema::aether_capnp as wire;

use super::action::nanoseconds;
use super::value::{executor_status, store_status};
use super::{length, text, texts};

mod optional {
    //! Text that may be absent.
    use super::*;

    pub(crate) fn to_wire(value: Option<&str>, mut to: wire::optional_text::Builder<'_>) {
        match value {
            Some(value) => to.set_some(value),
            None => to.set_none(()),
        }
    }

    pub(crate) fn from_wire(
        from: wire::optional_text::Reader<'_>,
    ) -> capnp::Result<Option<String>> {
        use wire::optional_text::Which;
        Ok(match from.which()? {
            Which::Some(value) => Some(text(value?)?),
            Which::None(()) => None,
        })
    }
}

mod entries {
    //! Names and values.
    use super::*;

    type Owned = wire::entry::Owned;

    pub(crate) fn to_wire(
        values: &BTreeMap<String, String>,
        mut list: capnp::struct_list::Builder<'_, Owned>,
    ) {
        for (index, (name, value)) in values.iter().enumerate() {
            let mut to = list.reborrow().get(length(index));
            to.set_name(name);
            to.set_value(value);
        }
    }

    pub(crate) fn from_wire(
        list: capnp::struct_list::Reader<'_, Owned>,
    ) -> capnp::Result<BTreeMap<String, String>> {
        list.iter()
            .map(|entry| Ok((text(entry.get_name()?)?, text(entry.get_value()?)?)))
            .collect()
    }
}

mod selection {
    //! Which units.
    use super::*;

    pub(crate) fn to_wire(value: &Selection, mut to: wire::selection::Builder<'_>) {
        macro_rules! lists {
            ($($field:ident $init:ident),*) => {
                $(texts::to_wire(&value.$field, to.reborrow().$init(length(value.$field.len())));)*
            };
        }
        macro_rules! flags {
            ($($field:ident $set:ident),*) => { $(to.$set(value.$field);)* };
        }
        optional::to_wire(
            value.manifest_path.as_deref(),
            to.reborrow().init_manifest_path(),
        );
        optional::to_wire(value.profile.as_deref(), to.reborrow().init_profile());
        lists!(packages init_packages, exclude init_exclude, bin init_bin, example init_example,
            features init_features, target init_target);
        flags!(workspace set_workspace, lib set_lib, bins set_bins, examples set_examples,
            all_features set_all_features, no_default_features set_no_default_features,
            release set_release, locked set_locked, offline set_offline, frozen set_frozen);
    }

    pub(crate) fn from_wire(from: wire::selection::Reader<'_>) -> capnp::Result<Selection> {
        Ok(Selection {
            manifest_path: optional::from_wire(from.get_manifest_path()?)?,
            packages: texts::from_wire(from.get_packages()?)?,
            workspace: from.get_workspace(),
            exclude: texts::from_wire(from.get_exclude()?)?,
            lib: from.get_lib(),
            bins: from.get_bins(),
            bin: texts::from_wire(from.get_bin()?)?,
            examples: from.get_examples(),
            example: texts::from_wire(from.get_example()?)?,
            features: texts::from_wire(from.get_features()?)?,
            all_features: from.get_all_features(),
            no_default_features: from.get_no_default_features(),
            profile: optional::from_wire(from.get_profile()?)?,
            release: from.get_release(),
            target: texts::from_wire(from.get_target()?)?,
            locked: from.get_locked(),
            offline: from.get_offline(),
            frozen: from.get_frozen(),
        })
    }
}

pub(crate) mod request {
    //! What is asked for.
    use super::*;

    pub(crate) fn to_wire(value: &BuildRequest, mut to: wire::build_request::Builder<'_>) {
        to.set_cwd(&value.cwd);
        entries::to_wire(&value.env, to.reborrow().init_env(length(value.env.len())));
        to.set_umask(value.umask);
        selection::to_wire(&value.selection, to.reborrow().init_selection());
        to.set_keep_going(value.keep_going);
        to.set_verify(value.verify);
        entries::to_wire(
            &value.settings,
            to.reborrow().init_settings(length(value.settings.len())),
        );
        let mut jobs = to.init_jobs();
        match value.jobs {
            Some(most) => jobs.set_at_most(most),
            None => jobs.set_automatic(()),
        }
    }

    pub(crate) fn from_wire(from: wire::build_request::Reader<'_>) -> capnp::Result<BuildRequest> {
        use wire::build_request::jobs::Which;
        Ok(BuildRequest {
            cwd: text(from.get_cwd()?)?,
            env: entries::from_wire(from.get_env()?)?,
            umask: from.get_umask(),
            selection: selection::from_wire(from.get_selection()?)?,
            jobs: match from.get_jobs().which()? {
                Which::AtMost(most) => Some(most),
                Which::Automatic(()) => None,
            },
            keep_going: from.get_keep_going(),
            verify: from.get_verify(),
            settings: entries::from_wire(from.get_settings()?)?,
        })
    }
}

fn outcome_to_wire(value: ActionOutcome) -> wire::ActionOutcome {
    match value {
        ActionOutcome::Hit => wire::ActionOutcome::Hit,
        ActionOutcome::Built => wire::ActionOutcome::Built,
        ActionOutcome::Waited => wire::ActionOutcome::Waited,
        ActionOutcome::Failed => wire::ActionOutcome::Failed,
        ActionOutcome::Skipped => wire::ActionOutcome::Skipped,
    }
}

fn outcome_from_wire(from: wire::ActionOutcome) -> ActionOutcome {
    match from {
        wire::ActionOutcome::Hit => ActionOutcome::Hit,
        wire::ActionOutcome::Built => ActionOutcome::Built,
        wire::ActionOutcome::Waited => ActionOutcome::Waited,
        wire::ActionOutcome::Failed => ActionOutcome::Failed,
        wire::ActionOutcome::Skipped => ActionOutcome::Skipped,
    }
}

fn level_to_wire(value: MessageLevel) -> wire::MessageLevel {
    match value {
        MessageLevel::Rendered => wire::MessageLevel::Rendered,
        MessageLevel::Warning => wire::MessageLevel::Warning,
        MessageLevel::Error => wire::MessageLevel::Error,
        MessageLevel::Status => wire::MessageLevel::Status,
        MessageLevel::Verbose => wire::MessageLevel::Verbose,
    }
}

fn level_from_wire(from: wire::MessageLevel) -> MessageLevel {
    match from {
        wire::MessageLevel::Rendered => MessageLevel::Rendered,
        wire::MessageLevel::Warning => MessageLevel::Warning,
        wire::MessageLevel::Error => MessageLevel::Error,
        wire::MessageLevel::Status => MessageLevel::Status,
        wire::MessageLevel::Verbose => MessageLevel::Verbose,
    }
}

pub(crate) mod event {
    //! What happens.
    use super::*;

    pub(crate) fn to_wire(value: &BuildEvent, to: wire::build_event::Builder<'_>) {
        match value {
            BuildEvent::Planned { actions } => to.init_planned().set_actions(*actions),
            BuildEvent::Started {
                action,
                package,
                unit,
                announce,
            } => {
                let mut started = to.init_started();
                started.set_action(*action);
                started.set_package(package);
                started.set_unit(unit);
                started.set_announce(*announce);
            }
            BuildEvent::Finished { action, outcome } => {
                let mut finished = to.init_finished();
                finished.set_action(*action);
                finished.set_outcome(outcome_to_wire(*outcome));
            }
            BuildEvent::Message { level, text } => {
                let mut message = to.init_message();
                message.set_level(level_to_wire(*level));
                message.set_text(text);
            }
        }
    }

    pub(crate) fn from_wire(from: wire::build_event::Reader<'_>) -> capnp::Result<BuildEvent> {
        use wire::build_event::Which;
        Ok(match from.which()? {
            Which::Planned(planned) => BuildEvent::Planned {
                actions: planned.get_actions(),
            },
            Which::Started(started) => BuildEvent::Started {
                action: started.get_action(),
                package: text(started.get_package()?)?,
                unit: text(started.get_unit()?)?,
                announce: started.get_announce(),
            },
            Which::Finished(finished) => BuildEvent::Finished {
                action: finished.get_action(),
                outcome: outcome_from_wire(finished.get_outcome()?),
            },
            Which::Message(message) => BuildEvent::Message {
                level: level_from_wire(message.get_level()?),
                text: text(message.get_text()?)?,
            },
        })
    }
}

pub(crate) mod outcome {
    //! How a build ended.
    use super::*;

    pub(crate) fn to_wire(value: &BuildOutcome, mut to: wire::build_outcome::Builder<'_>) {
        let mut result = to.reborrow().init_result();
        match &value.result {
            Ok(()) => result.set_success(()),
            Err(BuildFailure::Actions { failed }) => {
                texts::to_wire(failed, result.init_actions_failed(length(failed.len())));
            }
            Err(BuildFailure::Request(reason)) => result.set_request(reason),
            Err(BuildFailure::Engine(reason)) => result.set_engine(reason),
        }
        to.set_profile(&value.profile);
        let mut list = to
            .reborrow()
            .init_executables(length(value.executables.len()));
        for (index, value) in value.executables.iter().enumerate() {
            let mut to = list.reborrow().get(length(index));
            to.set_name(&value.name);
            to.set_kind(&value.kind);
            to.set_package(&value.package);
            to.set_path(&value.path);
            optional::to_wire(value.default_run.as_deref(), to.init_default_run());
        }
        to.set_report(&value.report);
        to.set_duration_nanoseconds(nanoseconds(value.duration));
        let mut totals = to.init_totals();
        totals.set_actions(value.totals.actions);
        totals.set_hit(value.totals.hit);
        totals.set_built(value.totals.built);
        totals.set_waited(value.totals.waited);
        totals.set_failed(value.totals.failed);
        totals.set_skipped(value.totals.skipped);
    }

    pub(crate) fn from_wire(from: wire::build_outcome::Reader<'_>) -> capnp::Result<BuildOutcome> {
        use wire::build_outcome::result::Which;
        let executables = from.get_executables()?.iter().map(|executable| {
            Ok(Executable {
                name: text(executable.get_name()?)?,
                kind: text(executable.get_kind()?)?,
                package: text(executable.get_package()?)?,
                path: text(executable.get_path()?)?,
                default_run: optional::from_wire(executable.get_default_run()?)?,
            })
        });
        let totals = from.get_totals()?;
        Ok(BuildOutcome {
            result: match from.get_result().which()? {
                Which::Success(()) => Ok(()),
                Which::ActionsFailed(failed) => Err(BuildFailure::Actions {
                    failed: texts::from_wire(failed?)?,
                }),
                Which::Request(reason) => Err(BuildFailure::Request(text(reason?)?)),
                Which::Engine(reason) => Err(BuildFailure::Engine(text(reason?)?)),
            },
            profile: text(from.get_profile()?)?,
            executables: executables.collect::<capnp::Result<_>>()?,
            report: text(from.get_report()?)?,
            duration: Duration::from_nanos(from.get_duration_nanoseconds()),
            totals: Totals {
                actions: totals.get_actions(),
                hit: totals.get_hit(),
                built: totals.get_built(),
                waited: totals.get_waited(),
                failed: totals.get_failed(),
                skipped: totals.get_skipped(),
            },
        })
    }
}

pub(crate) mod status {
    //! The orchestrator's figures.
    use super::*;

    pub(crate) fn to_wire(
        value: &OrchestratorStatus,
        mut to: wire::orchestrator_status::Builder<'_>,
    ) {
        to.set_pid(value.pid);
        to.set_builds(value.builds);
        to.set_uptime_seconds(value.uptime_seconds);
        to.set_store_endpoint(&value.store_endpoint);
        to.set_executor_endpoint(&value.executor_endpoint);
        if let Some(store) = &value.store {
            store_status::to_wire(store, to.reborrow().init_store());
        }
        if let Some(executor) = &value.executor {
            executor_status::to_wire(executor, to.init_executor());
        }
    }

    pub(crate) fn from_wire(
        from: wire::orchestrator_status::Reader<'_>,
    ) -> capnp::Result<OrchestratorStatus> {
        Ok(OrchestratorStatus {
            pid: from.get_pid(),
            builds: from.get_builds(),
            uptime_seconds: from.get_uptime_seconds(),
            store_endpoint: text(from.get_store_endpoint()?)?,
            store: if from.has_store() {
                Some(store_status::from_wire(from.get_store()?)?)
            } else {
                None
            },
            executor_endpoint: text(from.get_executor_endpoint()?)?,
            executor: if from.has_executor() {
                Some(executor_status::from_wire(from.get_executor()?)?)
            } else {
                None
            },
        })
    }
}
