//! Results as an object.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle as Runtime;
use tokio_util::sync::CancellationToken;
use vx_core::service::{MAX_BATCH, MAX_RECORD};
use vx_core::{ActionKey, RecordName, Results, ServiceError, ServiceResult};
use vx_schema::store_capnp::results as wire;

use crate::error::answer;
use crate::limits::{MAX_RESULT, PAGE, RECORD_NAMES_AT_ONCE};
use crate::server::bootstrap::Inbound;
use crate::server::grant::Granted;
use crate::server::{run, run_at_hand};
use crate::wire::store::{found, record_lists};
use crate::wire::value::{digest, digests, result};
use crate::wire::{bounded, length};

/// What was done, under a grant.
pub(crate) struct ResultsServer {
    inner: Arc<dyn Results>,
    runtime: Runtime,
    over: CancellationToken,
}

impl ResultsServer {
    pub(crate) fn granted(granted: &Granted, inbound: &Inbound) -> Self {
        Self {
            inner: granted.service.results(granted.id),
            runtime: inbound.shared.runtime.clone(),
            over: granted.over.clone(),
        }
    }

    async fn run<T, Work, Running>(&self, work: Work) -> Result<T, capnp::Error>
    where
        T: Send + 'static,
        Work: FnOnce(Arc<dyn Results>) -> Running,
        Running: Future<Output = ServiceResult<T>> + Send + 'static,
    {
        answer(run(&self.runtime, &self.over, work(self.inner.clone())).await)
    }

    /// As [`Self::run`], for what is mostly answered from memory.
    async fn run_at_hand<T, Work, Running>(&self, work: Work) -> Result<T, capnp::Error>
    where
        T: Send + 'static,
        Work: FnOnce(Arc<dyn Results>) -> Running,
        Running: Future<Output = ServiceResult<T>> + Send + 'static,
    {
        answer(run_at_hand(&self.runtime, &self.over, work(self.inner.clone())).await)
    }
}

impl wire::Server for ResultsServer {
    async fn lookup(
        self: Rc<Self>,
        params: wire::LookupParams,
        mut results: wire::LookupResults,
    ) -> Result<(), capnp::Error> {
        let asked = params.get()?.get_keys()?;
        bounded(asked.len(), MAX_BATCH, "keys")?;
        let keys: Vec<_> = digests::from_wire(asked)
            .into_iter()
            .map(ActionKey)
            .collect();
        let mut page = self
            .run_at_hand(|results| async move { results.lookup(keys).await })
            .await?;
        let mut weight = 0;
        let fitting = page.iter().take_while(|found| {
            weight += found.as_ref().map_or(16, result::weight);
            weight <= PAGE
        });
        let count = fitting.count().max(1);
        page.truncate(count);
        if page
            .iter()
            .flatten()
            .any(|found| result::weight(found) > MAX_RESULT)
        {
            return answer(Err(ServiceError::failed(
                "a result is larger than can be published",
            )));
        }
        found::to_wire(&page, results.get().init_results(length(page.len())));
        Ok(())
    }

    async fn publish(
        self: Rc<Self>,
        params: wire::PublishParams,
        mut results: wire::PublishResults,
    ) -> Result<(), capnp::Error> {
        let key = ActionKey(digest::from_wire(params.get()?.get_key()?));
        let made = result::from_wire(params.get()?.get_result()?)?;
        drop(params);
        if result::weight(&made) > MAX_RESULT {
            return answer(Err(ServiceError::Invalid(format!(
                "a result of over {MAX_RESULT} bytes"
            ))));
        }
        let standing = self
            .run(|results| async move { results.publish(key, made).await })
            .await?;
        result::to_wire(&standing, results.get().init_standing());
        Ok(())
    }

    async fn records(
        self: Rc<Self>,
        params: wire::RecordsParams,
        mut results: wire::RecordsResults,
    ) -> Result<(), capnp::Error> {
        let asked = params.get()?.get_names()?;
        bounded(asked.len(), MAX_BATCH, "names")?;
        let names: Vec<_> = digests::from_wire(asked)
            .into_iter()
            .map(RecordName)
            .collect();
        let mut page = Page::new(params.get()?.get_skip() as usize);
        drop(params);
        for some in names.chunks(RECORD_NAMES_AT_ONCE) {
            let some = some.to_vec();
            let lists = self
                .run_at_hand(|results| async move { results.records(some).await })
                .await?;
            if !page.add(lists) {
                break;
            }
        }
        let mut to = results.get();
        to.set_partial(page.partial);
        record_lists::to_wire(&page.lists, to.init_lists(length(page.lists.len())));
        Ok(())
    }

    async fn record(
        self: Rc<Self>,
        params: wire::RecordParams,
        _: wire::RecordResults,
    ) -> Result<(), capnp::Error> {
        let name = RecordName(digest::from_wire(params.get()?.get_name()?));
        let record = params.get()?.get_record()?;
        if record.len() > MAX_RECORD {
            return answer(Err(ServiceError::Invalid(format!(
                "a record of over {MAX_RECORD} bytes"
            ))));
        }
        let record = Bytes::copy_from_slice(record);
        drop(params);
        self.run(|results| async move { results.record(name, record).await })
            .await
    }

    async fn claim(
        self: Rc<Self>,
        params: wire::ClaimParams,
        mut results: wire::ClaimResults,
    ) -> Result<(), capnp::Error> {
        let name = digest::from_wire(params.get()?.get_name()?);
        let wait = Duration::from_millis(params.get()?.get_wait_milliseconds());
        drop(params);
        let claimed = self
            .run(|results| async move { results.claim(name, wait).await })
            .await?;
        results.get().set_claimed(claimed);
        Ok(())
    }

    async fn release(
        self: Rc<Self>,
        params: wire::ReleaseParams,
        _: wire::ReleaseResults,
    ) -> Result<(), capnp::Error> {
        let name = digest::from_wire(params.get()?.get_name()?);
        self.run(|results| async move { results.release(name).await })
            .await
    }
}

/// Lists of records up to a message's worth.
struct Page {
    lists: Vec<Vec<Bytes>>,
    partial: bool,
    skip: usize,
    weight: usize,
}

impl Page {
    fn new(skip: usize) -> Self {
        Self {
            lists: Vec::new(),
            partial: false,
            skip,
            weight: 0,
        }
    }

    /// Whether there is room for more.
    fn add(&mut self, lists: Vec<Vec<Bytes>>) -> bool {
        for mut list in lists {
            list.drain(..self.skip.min(list.len()));
            self.skip = 0;
            let mut kept = 0;
            for record in &list {
                // One record always fits, so that the caller gets on.
                let empty = kept == 0 && self.lists.iter().all(Vec::is_empty);
                if self.weight + record.len() > PAGE && !empty {
                    break;
                }
                self.weight += record.len() + 16;
                kept += 1;
            }
            let partial = kept < list.len();
            if partial && kept == 0 {
                // The next page starts with this name.
                return false;
            }
            list.truncate(kept);
            self.weight += 16;
            self.lists.push(list);
            self.partial = partial;
            if partial {
                return false;
            }
        }
        self.weight < PAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size: usize) -> Bytes {
        Bytes::from(vec![0; size])
    }

    #[test]
    fn pages_end_within_a_list_or_between_lists_and_always_get_on() {
        let mut page = Page::new(0);
        assert!(!page.add(vec![
            vec![record(PAGE / 2)],
            vec![record(PAGE / 4), record(PAGE / 2), record(1)],
        ]));
        assert_eq!(
            (page.lists.len(), page.lists[1].len(), page.partial),
            (2, 1, true)
        );

        let mut page = Page::new(1);
        assert!(!page.add(vec![vec![record(1), record(PAGE)], vec![record(1)]]));
        assert_eq!((page.lists.len(), page.partial), (1, false));

        let mut page = Page::new(0);
        assert!(!page.add(vec![vec![], vec![record(PAGE), record(1)]]));
        assert_eq!(
            (page.lists.len(), page.lists[1].len(), page.partial),
            (2, 1, true)
        );

        let mut page = Page::new(9);
        assert!(page.add(vec![vec![record(1)], vec![]]));
        assert_eq!(page.lists, [Vec::<Bytes>::new(), Vec::new()]);
        assert!(!page.partial);
    }
}
