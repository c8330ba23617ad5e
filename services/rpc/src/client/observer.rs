//! Observers elsewhere: a service tells them how an action or a build goes.

use async_trait::async_trait;
use bytes::Bytes;
use vx_core::orchestrator::{BuildEvent, BuildObserver};
use vx_core::{Observer, Output, OutputStream, ServiceResult};
use vx_schema::{aether_capnp, executor_capnp};

use crate::limits::CHUNK;
use crate::vat::Handle;
use crate::wire::action::stream;
use crate::wire::build::event;
use crate::wire::value::output;

/// Who watches an action.
pub(crate) struct RemoteObserver {
    handle: Handle<executor_capnp::observer::Client>,
}

impl RemoteObserver {
    pub(crate) fn new(handle: Handle<executor_capnp::observer::Client>) -> Self {
        Self { handle }
    }
}

#[async_trait]
impl Observer for RemoteObserver {
    async fn wrote(&self, from: OutputStream, mut bytes: Bytes) -> ServiceResult<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(CHUNK));
            self.handle
                .call(move |observer, _| async move {
                    let mut request = observer.wrote_request();
                    request.get().set_stream(stream::to_wire(from));
                    request.get().set_bytes(&piece);
                    request.send().promise.await?;
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    async fn stored(&self, stored: Output) -> ServiceResult<()> {
        self.handle
            .call(move |observer, _| async move {
                let mut request = observer.stored_request();
                output::to_wire(&stored, request.get().init_output());
                request.send().promise.await?;
                Ok(())
            })
            .await
    }
}

/// Who watches a build.
pub(crate) struct RemoteBuildObserver {
    handle: Handle<aether_capnp::build_observer::Client>,
}

impl RemoteBuildObserver {
    pub(crate) fn new(handle: Handle<aether_capnp::build_observer::Client>) -> Self {
        Self { handle }
    }

    async fn send(&self, happened: BuildEvent) -> ServiceResult<()> {
        self.handle
            .call(move |observer, _| async move {
                let mut request = observer.event_request();
                event::to_wire(&happened, request.get().init_event());
                request.send().promise.await?;
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl BuildObserver for RemoteBuildObserver {
    async fn event(&self, happened: BuildEvent) -> ServiceResult<()> {
        let BuildEvent::Message { level, text } = happened else {
            return self.send(happened).await;
        };
        // What a compiler prints has no bound, and a message has one.
        for part in parts(&text) {
            let text = part.to_owned();
            self.send(BuildEvent::Message { level, text }).await?;
        }
        Ok(())
    }
}

/// `text` in pieces of [`CHUNK`] bytes at most, cut after lines where there are any.
fn parts(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while text.len() > CHUNK {
        let mut end = CHUNK;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        end = text[..end].rfind('\n').map_or(end, |line| line + 1);
        let (part, rest) = text.split_at(end);
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_after_lines_and_lose_nothing() {
        let line = "é".repeat(100) + "\n";
        let text = line.repeat(2 * CHUNK / line.len() + 10);
        let cut = parts(&text);
        assert!(cut.len() > 2);
        assert!(cut.iter().all(|part| part.len() <= CHUNK));
        assert!(cut[..cut.len() - 1].iter().all(|part| part.ends_with('\n')));
        assert_eq!(cut.concat(), text);
        assert_eq!(parts(""), [""]);
        let unbroken = "é".repeat(CHUNK);
        assert_eq!(parts(&unbroken).concat(), unbroken);
    }
}
