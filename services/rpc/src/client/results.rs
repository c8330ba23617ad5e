//! Results elsewhere.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use vx_core::service::{MAX_BATCH, MAX_RECORD};
use vx_core::{ActionKey, ActionResult, Digest, RecordName, Results, ServiceError, ServiceResult};
use vx_schema::store_capnp;

use crate::client::store::checked_page;
use crate::limits::MAX_RESULT;
use crate::vat::Handle;
use crate::wire::length;
use crate::wire::store::{found, inner, record_lists};
use crate::wire::value::{digest, digests, result};

/// A Results capability. Clones are the same one.
#[derive(Clone)]
pub struct RemoteResults {
    handle: Handle<store_capnp::results::Client>,
}

impl RemoteResults {
    pub(crate) fn new(handle: Handle<store_capnp::results::Client>) -> Self {
        Self { handle }
    }
}

#[async_trait]
impl Results for RemoteResults {
    async fn lookup(&self, keys: Vec<ActionKey>) -> ServiceResult<Vec<Option<ActionResult>>> {
        let keys = inner(&keys, |key| key.0);
        let mut known = Vec::with_capacity(keys.len());
        while known.len() < keys.len() {
            let rest = &keys[known.len()..];
            let batch = rest[..rest.len().min(MAX_BATCH)].to_vec();
            let wanted = batch.len();
            let page = self
                .handle
                .call(move |results, _| async move {
                    let mut request = results.lookup_request();
                    let list = request.get().init_keys(length(batch.len()));
                    digests::to_wire(batch.iter(), list);
                    let response = request.send().promise.await?;
                    Ok(found::from_wire(response.get()?.get_results()?)?)
                })
                .await?;
            checked_page(page.len(), wanted)?;
            known.extend(page);
        }
        Ok(known)
    }

    async fn publish(&self, key: ActionKey, made: ActionResult) -> ServiceResult<ActionResult> {
        let weight = result::weight(&made);
        if weight > MAX_RESULT {
            return Err(ServiceError::Invalid(format!(
                "a result of {weight} bytes; {MAX_RESULT} is the most"
            )));
        }
        self.handle
            .call(move |results, _| async move {
                let mut request = results.publish_request();
                digest::to_wire(&key.0, request.get().init_key());
                result::to_wire(&made, request.get().init_result());
                let response = request.send().promise.await?;
                Ok(result::from_wire(response.get()?.get_standing()?)?)
            })
            .await
    }

    async fn records(&self, names: Vec<RecordName>) -> ServiceResult<Vec<Vec<Bytes>>> {
        let names = inner(&names, |name| name.0);
        let mut known: Vec<Vec<Bytes>> = Vec::with_capacity(names.len());
        // Whether the last of `known` goes on.
        let mut partial = false;
        while known.len() < names.len() || partial {
            let first = known.len() - usize::from(partial);
            let rest = &names[first..];
            let batch = rest[..rest.len().min(MAX_BATCH)].to_vec();
            let wanted = batch.len();
            let skip = match known.last() {
                Some(list) if partial => length(list.len()),
                _ => 0,
            };
            let (mut page, goes_on) = self
                .handle
                .call(move |results, _| async move {
                    let mut request = results.records_request();
                    let list = request.get().init_names(length(batch.len()));
                    digests::to_wire(batch.iter(), list);
                    request.get().set_skip(skip);
                    let response = request.send().promise.await?;
                    let page = response.get()?;
                    Ok((
                        record_lists::from_wire(page.get_lists()?)?,
                        page.get_partial(),
                    ))
                })
                .await?;
            checked_page(page.len(), wanted)?;
            if goes_on && page.iter().all(Vec::is_empty) {
                return Err(ServiceError::failed("the store's records do not end"));
            }
            if partial && let Some(list) = known.last_mut() {
                list.append(&mut page.remove(0));
            }
            known.append(&mut page);
            partial = goes_on;
        }
        Ok(known)
    }

    async fn record(&self, name: RecordName, record: Bytes) -> ServiceResult<()> {
        if record.len() > MAX_RECORD {
            return Err(ServiceError::Invalid(format!(
                "a record of {} bytes; {MAX_RECORD} is the most",
                record.len()
            )));
        }
        self.handle
            .call(move |results, _| async move {
                let mut request = results.record_request();
                digest::to_wire(&name.0, request.get().init_name());
                request.get().set_record(&record);
                request.send().promise.await?;
                Ok(())
            })
            .await
    }

    async fn claim(&self, name: Digest, wait: Duration) -> ServiceResult<bool> {
        self.handle
            .call(move |results, _| async move {
                let mut request = results.claim_request();
                digest::to_wire(&name, request.get().init_name());
                let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                request.get().set_wait_milliseconds(milliseconds);
                let response = request.send().promise.await?;
                Ok(response.get()?.get_claimed())
            })
            .await
    }

    async fn release(&self, name: Digest) -> ServiceResult<()> {
        self.handle
            .call(move |results, _| async move {
                let mut request = results.release_request();
                digest::to_wire(&name, request.get().init_name());
                request.send().promise.await?;
                Ok(())
            })
            .await
    }
}
