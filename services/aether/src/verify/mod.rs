//! `vx build --verify`: runs again what was found, and says what differs and why.
//!
//! In: a build that is done. Out: what differs, for its report and for later builds.
//! An action whose runs differ although its inputs do not is marked, so that later builds can
//! tell. Nothing is published: what was found stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use vx_core::error::ServiceResult;
use vx_core::orchestrator::{ActionOutcome, MessageLevel};
use vx_core::{Blob, Output, OutputForm, Store, Tree, TreeNode};
use vx_plan::Mode;

use crate::build::context::BuildContext;
use crate::execute;
use crate::execute::job::Job;
use crate::inputs::cause::{Cause, causes};
use crate::inputs::dependency::Finished;
use crate::lookup::unstable_name;
use crate::report::Difference;
use crate::report::Verified;
use crate::report::recorder::EventSender;
use crate::schedule::Scheduler;
use crate::session::blobs;

/// What rustc says is shown and not built on; the order of its words is no output.
const WORDS: &[&str] = &["stderr"];

/// Runs every action that was found again. What differs is told, put into the report, and
/// noted in the store.
///
/// # Errors
/// When the services or the caller are gone.
pub(crate) async fn verify(
    context: &Arc<BuildContext>,
    scheduler: &mut Scheduler<'_>,
    events: &EventSender,
) -> ServiceResult<()> {
    let is_hit = |outcome: Option<ActionOutcome>| outcome == Some(ActionOutcome::Hit);
    let actions = scheduler.recorder().actions.iter();
    let hits: Vec<bool> = actions.map(|action| is_hit(action.outcome)).collect();
    let hits: Vec<(Job, Arc<Finished>)> = (0..hits.len())
        .filter(|&unit| hits[unit])
        .filter_map(|unit| {
            let finished = scheduler.finished(unit)?;
            finished.key?;
            Some((scheduler.job_again(unit), Arc::clone(finished)))
        })
        .collect();
    let at_once = std::thread::available_parallelism().map_or(2, usize::from) * 2;
    let total = hits.len();
    let mut differing = 0;
    let mut results = futures::stream::iter(hits)
        .map(|(job, finished)| async move {
            let verified = one(&job, &finished).await?;
            Ok::<_, vx_core::ServiceError>((job.unit, verified))
        })
        .buffer_unordered(at_once);
    while let Some(result) = results.next().await {
        let (unit, verified) = result?;
        let label = context.package_label(unit);
        let name = &context.plan.units[unit].target.name;
        if let Some(fault) = &verified.fault {
            let text = format!("{label} ({name}) could not be verified: {fault}");
            events.message(MessageLevel::Warning, text).await?;
        }
        for difference in &verified.differences {
            let words: Vec<_> = difference.causes.iter().map(|cause| cause.name()).collect();
            let output = &difference.output;
            let text = format!(
                "{label} ({name}): {output} is different each time it is made (cause: {})",
                words.join(", ")
            );
            events.message(MessageLevel::Warning, text).await?;
        }
        let unstable: BTreeSet<Cause> = verified
            .differences
            .iter()
            .flat_map(|difference| difference.causes.iter().copied())
            .collect();
        if !unstable.is_empty() {
            differing += 1;
            let record = postcard::to_stdvec(&unstable).expect("plain values always encode");
            let name = unstable_name(context.graph.statics[unit]);
            let results = context.session().results();
            results.record(name, Bytes::from(record)).await?;
        }
        let action = &mut scheduler.recorder().actions[unit];
        action.unstable.extend(unstable);
        action.verified = Some(verified);
    }
    let text = format!("Verified {total} actions: {differing} differ");
    events.message(MessageLevel::Status, text).await
}

async fn one(job: &Job, finished: &Finished) -> ServiceResult<Verified> {
    let again = match execute::run_again(job, |_| {}).await? {
        Ok(again) => again,
        Err(fault) => {
            return Ok(Verified {
                differences: Vec::new(),
                duration_ms: 0,
                fault: Some(fault),
            });
        }
    };
    let store = job.context.session().store();
    let mut differences = compare(&*store, &finished.result.outputs, &again.outputs).await?;
    let unknown = |difference: &Difference| difference.causes.contains(&Cause::Unknown);
    if differences.iter().any(unknown)
        && job.context.plan.units[job.unit].mode == Mode::Compile
        && same_in_one_codegen_unit(job).await?
    {
        for difference in differences.iter_mut().filter(|one| unknown(one)) {
            difference.causes = BTreeSet::from([Cause::ParallelCodegen]);
        }
    }
    Ok(Verified {
        differences,
        duration_ms: again.payload.duration_ms,
        fault: None,
    })
}

/// Whether two runs agree where rustc generates code in one unit.
async fn same_in_one_codegen_unit(job: &Job) -> ServiceResult<bool> {
    let alone = |spec: &mut vx_core::ActionSpec| {
        spec.argv.push("-Ccodegen-units=1".to_owned());
    };
    let (Ok(one), Ok(two)) = (
        execute::run_again(job, alone).await?,
        execute::run_again(job, alone).await?,
    ) else {
        return Ok(false);
    };
    let content = |outputs: Vec<Output>| -> Vec<(String, Blob)> {
        let kept = outputs.into_iter().filter(is_compared);
        kept.map(|output| (output.name, output.blob)).collect()
    };
    Ok(content(one.outputs) == content(two.outputs))
}

fn is_compared(output: &Output) -> bool {
    !WORDS.contains(&output.name.as_str())
}

async fn compare(
    store: &dyn Store,
    then: &[Output],
    now: &[Output],
) -> ServiceResult<Vec<Difference>> {
    let mut differences = Vec::new();
    let then: BTreeMap<String, Blob> = files(store, then).await?;
    let now: BTreeMap<String, Blob> = files(store, now).await?;
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    for name in names {
        let causes = match (then.get(name), now.get(name)) {
            (Some(one), Some(two)) if one.digest == two.digest => continue,
            (Some(one), Some(two)) => content_causes(store, *one, *two).await?,
            // It is there under another name, perhaps.
            _ => BTreeSet::from([Cause::Unknown]),
        };
        differences.push(Difference {
            output: name.clone(),
            causes,
        });
    }
    Ok(differences)
}

/// All files among outputs, those of trees under the tree's name.
async fn files(store: &dyn Store, outputs: &[Output]) -> ServiceResult<BTreeMap<String, Blob>> {
    let mut files = BTreeMap::new();
    for output in outputs.iter().filter(|output| is_compared(output)) {
        let tree = match output.form {
            OutputForm::Tree => blobs::read(store, output.blob).await?,
            OutputForm::File { .. } => None,
        };
        match tree.and_then(|bytes| Tree::decode(&bytes).ok()) {
            Some(tree) => files.extend(tree.entries().iter().filter_map(|entry| {
                let TreeNode::File { blob, .. } = entry.node else {
                    return None;
                };
                Some((format!("{}/{}", output.name, entry.path), blob))
            })),
            None => {
                files.insert(output.name.clone(), output.blob);
            }
        }
    }
    Ok(files)
}

async fn content_causes(store: &dyn Store, one: Blob, two: Blob) -> ServiceResult<BTreeSet<Cause>> {
    let unknown = || BTreeSet::from([Cause::Unknown]);
    if one.size.max(two.size) > blobs::MAX_IN_MEMORY {
        return Ok(unknown());
    }
    let (Some(one), Some(two)) = (
        blobs::read(store, one).await?,
        blobs::read(store, two).await?,
    ) else {
        return Ok(unknown());
    };
    Ok(tokio::task::block_in_place(|| causes(&one, &two)))
}
