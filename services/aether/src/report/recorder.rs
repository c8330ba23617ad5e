//! What a build tells: events to whoever asked for it, entries for the report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::orchestrator::{ActionOutcome, BuildEvent, BuildObserver, MessageLevel, Totals};
use vx_plan::{Mode, Plan};

use crate::build::context::BuildContext;
use crate::execute::end::Failure;
use crate::execute::wanted_variables;
use crate::graph::labels::action_id;
use crate::graph::labels::unit_label;
use crate::inputs::dependency::Finished;
use crate::lookup::Miss;
use crate::report::ActionReport;
use crate::report::diagnostics::{self, Diagnostics};
use crate::report::key_inputs;
use crate::report::offline;
use crate::session::blobs;

/// Events on their way to the caller; past it the build waits for the caller to read.
const EVENTS: usize = 512;

/// How long an observer may take for one event before the caller counts as gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends events in order, from a task of its own.
#[derive(Clone)]
pub(crate) struct EventSender {
    events: mpsc::Sender<BuildEvent>,
}

impl EventSender {
    /// Starts telling `observer`. The task ends when the sender is dropped and all is said.
    pub(crate) fn start(observer: Arc<dyn BuildObserver>) -> (Self, tokio::task::JoinHandle<()>) {
        let (events, mut queue) = mpsc::channel(EVENTS);
        let task = tokio::spawn(async move {
            while let Some(event) = queue.recv().await {
                match tokio::time::timeout(PATIENCE, observer.event(event)).await {
                    Ok(Ok(())) => {}
                    // Closing the queue tells the build that nobody listens.
                    _ => return,
                }
            }
        });
        (Self { events }, task)
    }

    /// Tells an event.
    ///
    /// # Errors
    /// When the caller is gone.
    pub(crate) async fn tell(&self, event: BuildEvent) -> ServiceResult<()> {
        self.events
            .send(event)
            .await
            .map_err(|_| ServiceError::Failed("whoever asked for the build is gone".to_owned()))
    }

    /// Tells text.
    ///
    /// # Errors
    /// When the caller is gone.
    pub(crate) async fn message(
        &self,
        level: MessageLevel,
        text: impl Into<String>,
    ) -> ServiceResult<()> {
        let text = text.into();
        self.tell(BuildEvent::Message { level, text }).await
    }
}

/// What became of telling that an action is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is told.
    All,
    /// What the action said when it ran is lost.
    Lost,
}

/// What an action wrote to standard error.
enum Words {
    /// Nothing, or nothing that is shown.
    None,
    /// This.
    Stderr(Vec<u8>),
    /// The store does not have it any more.
    Lost,
}

/// What a unit's action wrote, now or earlier, of packages whose warnings are shown.
async fn words(context: &BuildContext, unit: usize, finished: &Finished) -> ServiceResult<Words> {
    let package = &context.plan.packages[context.plan.units[unit].package];
    let stderr = finished.result.output("stderr");
    // A build script's warnings are directives.
    let shown = package.is_local && finished.payload.build_output.is_none();
    let Some(stderr) = stderr.filter(|_| shown) else {
        return Ok(Words::None);
    };
    let store = context.session().store();
    let found = blobs::read(&*store, stderr.blob).await?;
    Ok(found.map_or(Words::Lost, Words::Stderr))
}

/// Follows the actions of one build.
pub(crate) struct Recorder {
    events: EventSender,
    /// Entries for the report, in the plan's order.
    pub(crate) actions: Vec<ActionReport>,
    /// One line for each action that failed.
    pub(crate) failures: Vec<String>,
    announced: BTreeSet<usize>,
    told: BTreeSet<usize>,
    /// Places of packages and where they are on this host, for messages.
    places: BTreeMap<String, String>,
}

impl Recorder {
    /// A recorder of a plan.
    pub(crate) fn new(plan: &Plan, events: EventSender, places: BTreeMap<String, String>) -> Self {
        let actions = plan
            .units
            .iter()
            .enumerate()
            .map(|(index, unit)| {
                let package = &plan.packages[unit.package];
                ActionReport {
                    id: action_id(plan, index),
                    package: format!("{} {}", package.name, package.version),
                    unit: unit_label(unit),
                    kind: match unit.mode {
                        Mode::Compile => "compile",
                        Mode::RunBuildScript => "run-build-script",
                    },
                    outcome: None,
                    key: None,
                    reason: None,
                    waited_for: None,
                    duration_ms: 0,
                    parts: None,
                    inputs: None,
                    again: Vec::new(),
                    unpublished: None,
                    fixed_places: Vec::new(),
                    unseen: Vec::new(),
                    reached_for: None,
                    outputs: BTreeMap::new(),
                    unstable: BTreeSet::new(),
                    verified: None,
                }
            })
            .collect();
        Self {
            events,
            actions,
            failures: Vec::new(),
            announced: BTreeSet::new(),
            told: BTreeSet::new(),
            places,
        }
    }

    /// Actions by outcome.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals {
            actions: self.actions.len() as u64,
            ..Totals::default()
        };
        for action in &self.actions {
            match action.outcome {
                Some(ActionOutcome::Hit) => totals.hit += 1,
                Some(ActionOutcome::Built) => totals.built += 1,
                Some(ActionOutcome::Waited) => totals.waited += 1,
                Some(ActionOutcome::Failed) => totals.failed += 1,
                Some(ActionOutcome::Skipped) | None => totals.skipped += 1,
            }
        }
        totals
    }

    /// An action was not found.
    pub(crate) fn missed(&mut self, unit: usize, miss: &Miss) {
        let action = &mut self.actions[unit];
        if action.reason.is_none() {
            action.reason = Some(
                match (miss.taken.any(), miss.known) {
                    (true, _) => "path",
                    (false, true) => "changed",
                    (false, false) => "new",
                }
                .to_owned(),
            );
        }
    }

    /// An action waits for another build's.
    pub(crate) fn waits(&mut self, unit: usize, owner: &str) {
        self.actions[unit].waited_for = Some(owner.to_owned());
    }

    /// Sets what became of an action that leaves nothing behind.
    pub(crate) fn outcome(&mut self, unit: usize, outcome: ActionOutcome, reason: &str) {
        let action = &mut self.actions[unit];
        action.outcome = Some(outcome);
        if !reason.is_empty() {
            action.reason = Some(reason.to_owned());
        }
    }

    /// An action's program starts.
    ///
    /// # Errors
    /// When the caller is gone.
    pub(crate) async fn started(
        &mut self,
        context: &BuildContext,
        unit: usize,
    ) -> ServiceResult<()> {
        let package = context.plan.units[unit].package;
        let event = BuildEvent::Started {
            action: unit as u64,
            package: context.package_label(unit),
            unit: format!(
                "{}({})",
                context.package_name(unit),
                unit_label(&context.plan.units[unit])
            ),
            announce: self.announced.insert(package),
        };
        self.events.tell(event).await
    }

    /// An action is done. Nothing is told, and that is what comes back, of one that was found and whose
    /// words are lost: it has to run again.
    ///
    /// # Errors
    /// When the caller or the store is gone.
    pub(crate) async fn finished(
        &mut self,
        context: &BuildContext,
        unit: usize,
        finished: &Finished,
        outcome: ActionOutcome,
        note: &str,
    ) -> ServiceResult<Told> {
        let words = match self.told.contains(&unit) {
            true => None,
            false => match words(context, unit, finished).await? {
                Words::Lost if outcome != ActionOutcome::Built => return Ok(Told::Lost),
                words => Some(words),
            },
        };
        let action = &mut self.actions[unit];
        action.outcome = Some(outcome);
        action.key = finished.key.map(|key| key.to_string());
        action.duration_ms = finished.payload.duration_ms;
        action.unstable.clone_from(&finished.unstable);
        action.fixed_places.clone_from(&finished.payload.left);
        if outcome == ActionOutcome::Built {
            action.parts.clone_from(&finished.parts);
            let parts = finished.parts.as_ref();
            action.inputs = parts.and_then(|parts| key_inputs::of(context, unit, parts));
            if !finished.again.is_empty() {
                action.again.clone_from(&finished.again);
            }
            action.unpublished = (!note.is_empty()).then(|| note.to_owned());
            let outputs = finished.result.outputs.iter();
            action.outputs = outputs
                .map(|output| (output.name.clone(), output.blob.digest.to_string()))
                .collect();
        }
        if finished.payload.taken.any() && outcome == ActionOutcome::Built {
            action.reason = Some("path".to_owned());
        }
        if outcome == ActionOutcome::Hit {
            action.reason = None;
        }
        if !note.is_empty() {
            action.reason = Some(note.to_owned());
        }
        if let Some(words) = words {
            self.told.insert(unit);
            self.messages(context, unit, finished, &words).await?;
        }
        self.events
            .tell(BuildEvent::Finished {
                action: unit as u64,
                outcome,
            })
            .await?;
        Ok(Told::All)
    }

    /// Shows what an action said when it ran, now or earlier.
    async fn messages(
        &mut self,
        context: &BuildContext,
        unit: usize,
        finished: &Finished,
        words: &Words,
    ) -> ServiceResult<()> {
        let this = &context.plan.units[unit];
        let package = &context.plan.packages[this.package];
        for place in &finished.payload.left {
            // Whoever's it is: a program of this build will not find what it looks for.
            let text = format!(
                "{}@{}: {place} is in what this leaves, where nothing is when a program runs: a \
                 file that a build script wrote says so\n\
                 let it write paths relative to `OUT_DIR`, or pass the path on with \
                 `cargo::rustc-env`",
                package.name, package.version
            );
            self.events.message(MessageLevel::Warning, text).await?;
        }
        if !package.is_local {
            return Ok(());
        }
        if let Some(output) = &finished.payload.build_output {
            for warning in &output.warnings {
                let text = format!("{}@{}: {warning}", package.name, package.version);
                self.events.message(MessageLevel::Warning, text).await?;
            }
            return Ok(());
        }
        let Words::Stderr(stderr) = words else {
            return Ok(());
        };
        let found = diagnostics::parse(stderr);
        self.rendered(&found).await?;
        if let Some(summary) = found.warning_summary(&package.name, &unit_label(this)) {
            self.events.message(MessageLevel::Warning, summary).await?;
        }
        Ok(())
    }

    async fn rendered(&self, found: &Diagnostics) -> ServiceResult<()> {
        for text in &found.rendered {
            let text = self.on_this_host(text);
            self.events.message(MessageLevel::Rendered, text).await?;
        }
        Ok(())
    }

    /// Fixed places are of no use to people: what they stand for is.
    fn on_this_host(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (place, host) in self.places.iter().rev() {
            if text.contains(place.as_str()) {
                text = text.replace(place.as_str(), host);
            }
        }
        text
    }

    /// An action failed.
    ///
    /// # Errors
    /// When the caller is gone.
    pub(crate) async fn failed(
        &mut self,
        context: &BuildContext,
        unit: usize,
        failure: &Failure,
    ) -> ServiceResult<()> {
        self.outcome(unit, ActionOutcome::Failed, "");
        let this = &context.plan.units[unit];
        let mut written = String::new();
        let mut line = match this.mode {
            Mode::Compile => {
                let found = diagnostics::parse(&failure.stderr);
                self.rendered(&found).await?;
                written.push_str(&found.rendered.join("\n"));
                let mut line = found.failure_summary(context.package_name(unit), &unit_label(this));
                if found.errors == 0 {
                    line.push_str(&format!(
                        "\n\nCaused by:\n  process didn't exit successfully: `{}` ({})",
                        failure.argv.join(" "),
                        exit_words(failure)
                    ));
                }
                line
            }
            Mode::RunBuildScript => {
                for bytes in [&failure.stdout, &failure.stderr] {
                    written.push_str(&String::from_utf8_lossy(bytes));
                    written.push('\n');
                }
                build_script_failure(context, unit, failure)
            }
        };
        let unseen = wanted_variables::mentioned(&context.env, &failure.given, &written);
        if !unseen.is_empty() {
            let is_local = context.plan.packages[this.package].is_local;
            line.push_str(&format!(
                "\n\n{}",
                wanted_variables::note(&unseen, is_local)
            ));
            self.actions[unit].unseen = unseen;
        }
        if let Some(address) = &failure.reached_for {
            let package = &context.plan.packages[this.package];
            let note = offline::note(this.mode, &package.name, package.is_local, address);
            line.push_str(&format!("\n\n{note}"));
            self.actions[unit].reached_for = Some(address.clone());
        }
        self.failures.push(self.on_this_host(&line));
        self.events
            .tell(BuildEvent::Finished {
                action: unit as u64,
                outcome: ActionOutcome::Failed,
            })
            .await
    }
}

/// Cargo's words for a build script that failed.
fn build_script_failure(context: &BuildContext, unit: usize, failure: &Failure) -> String {
    let mut text = format!(
        "failed to run custom build command for `{}`\n\nCaused by:\n  process didn't exit successfully: `{}` ({})",
        context.package_label(unit),
        failure.argv.join(" "),
        exit_words(failure)
    );
    for error in &failure.errors {
        text.push_str(&format!("\n  {error}"));
    }
    for (name, bytes) in [("stdout", &failure.stdout), ("stderr", &failure.stderr)] {
        let content = String::from_utf8_lossy(bytes);
        if !content.trim().is_empty() {
            text.push_str(&format!("\n  --- {name}\n"));
            let lines: Vec<String> = content.lines().map(|line| format!("  {line}")).collect();
            text.push_str(&lines.join("\n"));
        }
    }
    text
}

fn exit_words(failure: &Failure) -> String {
    match failure.exit {
        vx_core::Exit::Code(code) => format!("exit status: {code}"),
        vx_core::Exit::Signal(signal) => format!("signal: {signal}"),
    }
}
