//! The subcommands, one file each.

pub(crate) mod build;
pub(crate) mod clean;
pub(crate) mod explain;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod stop;

use std::time::Instant;

use crate::connect::Connector;
use crate::output::Shell;
use crate::request::Caller;
use crate::signals::Signals;

/// What every command works with.
pub(crate) struct Context<'a> {
    /// Standard error.
    pub(crate) shell: &'a mut Shell,
    /// Who asks.
    pub(crate) caller: Caller,
    /// The way to the orchestrator.
    pub(crate) aether: Connector,
    /// Whether vx was told to end; commands are dropped then, so only those that can't be
    /// dropped halfway need to look.
    pub(crate) signals: &'a mut Signals,
    /// When vx was started.
    pub(crate) started: Instant,
}

#[cfg(test)]
pub(crate) mod test_support {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;
    use vx_core::orchestrator::{
        BuildEvent, BuildObserver, BuildOutcome, BuildRequest, Orchestrator, OrchestratorStatus,
        Project, Selection, Totals,
    };
    use vx_core::{ServiceError, ServiceResult};

    /// A request for anything.
    pub(crate) fn request() -> BuildRequest {
        BuildRequest {
            cwd: "/w".to_owned(),
            env: BTreeMap::new(),
            umask: 0o022,
            selection: Selection::default(),
            jobs: None,
            keep_going: false,
            verify: false,
            settings: BTreeMap::new(),
        }
    }

    /// A build of nothing that succeeded.
    pub(crate) fn succeeded() -> BuildOutcome {
        BuildOutcome {
            result: Ok(()),
            profile: "dev profile [unoptimized]".to_owned(),
            executables: vec![],
            report: String::new(),
            duration: Duration::ZERO,
            totals: Totals::default(),
        }
    }

    /// An orchestrator that tells what it was told to tell.
    pub(crate) struct Scripted {
        /// What the observer hears.
        pub(crate) events: Vec<BuildEvent>,
        /// How each build ends; `None` for never.
        pub(crate) outcome: Option<ServiceResult<BuildOutcome>>,
        /// What was asked.
        pub(crate) requests: Mutex<Vec<BuildRequest>>,
    }

    impl Scripted {
        /// A build with these events and this end.
        pub(crate) fn new(
            events: Vec<BuildEvent>,
            outcome: Option<ServiceResult<BuildOutcome>>,
        ) -> Self {
            Self {
                events,
                outcome,
                requests: Mutex::default(),
            }
        }
    }

    #[async_trait]
    impl Orchestrator for Scripted {
        async fn build(
            &self,
            request: BuildRequest,
            observer: Arc<dyn BuildObserver>,
        ) -> ServiceResult<BuildOutcome> {
            self.requests.lock().unwrap().push(request);
            for event in &self.events {
                observer.event(event.clone()).await?;
            }
            match &self.outcome {
                Some(outcome) => outcome.clone(),
                None => std::future::pending().await,
            }
        }

        async fn locate(&self, request: BuildRequest) -> ServiceResult<Project> {
            Ok(Project {
                workspace: request.cwd,
            })
        }

        async fn clean(&self, request: BuildRequest) -> ServiceResult<Project> {
            self.locate(request).await
        }

        async fn plan(&self, request: BuildRequest, fresh: bool) -> ServiceResult<String> {
            Ok(format!("{} {fresh}", request.cwd))
        }

        async fn status(&self) -> ServiceResult<OrchestratorStatus> {
            Ok(OrchestratorStatus::default())
        }

        async fn stop(&self) -> ServiceResult<()> {
            Err(ServiceError::failed("not scripted"))
        }
    }
}
