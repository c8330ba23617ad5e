//! Publishing: a settled execution's result, under its key, with the read set that finds it again.

use std::sync::Arc;

use bytes::Bytes;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::key::RecordName;
use vx_core::readset::ReadSet;
use vx_core::service::MAX_RECORD;

use super::end::ExecutionEnd;
use super::job::Job;
use crate::build::context::BuildContext;
use crate::host::toolchain;
use crate::inputs::dependency::Finished;
use crate::inputs::payload::Payload;
use crate::session::Session;

/// Whether the toolchain is another than the one that keys name.
fn toolchain_changed(context: &BuildContext) -> Option<String> {
    match toolchain::toolchain(&context.stat_cache, &context.places.sysroot) {
        Ok(now) if now == context.identities.toolchain => None,
        Ok(_) => Some("the toolchain changed while it ran".to_owned()),
        Err(error) => Some(format!("the toolchain can't be read: {error}")),
    }
}

/// Publishes a result; whatever stands is what comes back.
///
/// # Errors
/// When the store fails.
pub(super) async fn publish(
    job: &Job,
    session: &dyn Session,
    mut finished: Finished,
    set: &ReadSet,
) -> ServiceResult<ExecutionEnd> {
    let parts = finished
        .parts
        .as_ref()
        .ok_or_else(|| ServiceError::failed("an execution without key parts"))?;
    // What it looked at in the toolchain is named by what that was when the build began.
    if let Some(why) = tokio::task::block_in_place(|| toolchain_changed(&job.context)) {
        return Ok(ExecutionEnd::Unpublished {
            finished: Arc::new(finished),
            why,
        });
    }
    let key = parts.key();
    let record = postcard::to_stdvec(set).expect("plain values always encode");
    if record.len() > MAX_RECORD {
        return Ok(ExecutionEnd::Unpublished {
            finished: Arc::new(finished),
            why: "it read more than can be kept".to_owned(),
        });
    }
    let results = session.results();
    let standing = match results.publish(key, finished.result.clone()).await {
        Err(ServiceError::Unaccepted(why)) => {
            return Ok(ExecutionEnd::Unpublished {
                finished: Arc::new(finished),
                why,
            });
        }
        published => published?,
    };
    let name = RecordName::from(job.context.graph.statics[job.unit]);
    results.record(name, Bytes::from(record)).await?;
    if let Some(payload) = Payload::decode(&standing.payload) {
        finished.payload = payload;
        finished.result = standing;
    }
    finished.key = Some(key);
    Ok(ExecutionEnd::Published(Arc::new(finished)))
}
