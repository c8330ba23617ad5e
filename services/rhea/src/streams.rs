//! Carries what a program writes to the observer as it comes, and keeps it for the store.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vx_core::{MessageFormat, Observer, OutputStream, ServiceResult};

use crate::bare::places::Places;
use crate::fault::{Stop, Tried};
use crate::messages::{Artifact, artifact};

/// The most that is kept and passed on of one stream, in bytes: more than any compiler
/// writes, and what memory can hold for every slot.
const MAX_STREAM: usize = 64 * 1024 * 1024;

/// The longest line that is waited for, in bytes; longer ones are passed on in pieces. Of
/// text, because people read it; of messages, because they must be whole to be understood.
const MAX_TEXT_LINE: usize = 64 * 1024;
const MAX_MESSAGE_LINE: usize = 16 * 1024 * 1024;

/// Read at a time: a pipe's capacity.
const READ: usize = 64 * 1024;

/// What is written in place of what goes beyond [`MAX_STREAM`].
const CUT: &str = "vx: the program wrote more than 64 MiB here; the rest is dropped\n";

/// One stream of a program, on its way to the observer.
pub(crate) struct Pump {
    stream: OutputStream,
    observer: Arc<dyn Observer>,
    /// Where artifact notices go; without it every line is text.
    artifacts: Option<mpsc::Sender<Artifact>>,
    /// Where the program's places really are, if they are not where they are said to be.
    places: Option<Arc<Places>>,
    /// What came since the last whole line.
    partial: BytesMut,
    /// Everything passed on.
    kept: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Pump {
    /// Carries a stream of plain text.
    pub(crate) fn text(stream: OutputStream, observer: Arc<dyn Observer>) -> Self {
        Self {
            stream,
            observer,
            artifacts: None,
            places: None,
            partial: BytesMut::new(),
            kept: Vec::new(),
            limit: MAX_STREAM,
            cut: false,
        }
    }

    /// Carries standard error, with its artifact notices going to `artifacts` where it has
    /// any.
    pub(crate) fn messages(
        observer: Arc<dyn Observer>,
        format: MessageFormat,
        artifacts: mpsc::Sender<Artifact>,
    ) -> Self {
        let mut pump = Self::text(OutputStream::Stderr, observer);
        pump.artifacts = (format == MessageFormat::RustcJson).then_some(artifacts);
        pump
    }

    /// Passes on what is written with the places as everybody knows them.
    pub(crate) fn with_places(mut self, places: Option<Arc<Places>>) -> Self {
        self.places = places;
        self
    }

    /// Reads `pipe` to its end, and gives what was passed on. Once `ended`, what the pipe
    /// holds is all there is, whoever may still hold its other end.
    pub(crate) async fn run(
        mut self,
        pipe: pipe::Receiver,
        ended: &CancellationToken,
    ) -> Result<Vec<u8>, Stop> {
        let mut buffer = vec![0; READ];
        loop {
            tokio::select! {
                ready = pipe.readable() => ready.tried("read what the program wrote")?,
                () = ended.cancelled() => break,
            }
            match pipe.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => self.accept(&buffer[..read]).await?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).tried("read what the program wrote"),
            }
        }
        // Asked of the kernel, whatever the runtime last knew of the pipe.
        loop {
            match rustix::io::read(&pipe, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(read) => self.accept(&buffer[..read]).await?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).tried("read what the program wrote"),
            }
        }
        let rest = self.partial.split();
        self.sort(&rest).await?;
        Ok(self.kept)
    }

    async fn accept(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.partial.extend_from_slice(bytes);
        let longest = match self.artifacts {
            Some(_) => MAX_MESSAGE_LINE,
            None => MAX_TEXT_LINE,
        };
        // The old part holds no line's end, so only the new bytes are searched.
        let old = self.partial.len() - bytes.len();
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => old + end + 1,
            None if self.partial.len() > longest => self.partial.len(),
            None => return Ok(()),
        };
        let lines = self.partial.split_to(whole);
        self.sort(&lines).await
    }

    /// Takes the artifact notices out of whole lines and passes the others on.
    async fn sort(&mut self, lines: &[u8]) -> Result<(), Stop> {
        let fixed = self.places.as_ref().map(|places| places.fixed(lines));
        let lines = fixed.as_deref().unwrap_or(lines);
        let Some(artifacts) = self.artifacts.clone() else {
            return Ok(self.pass(lines).await?);
        };
        let mut text = Vec::new();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            match artifact(line) {
                Some(notice) => {
                    // The receiver ends only when the whole action is being given up.
                    let _ = artifacts.send(notice).await;
                }
                None => text.extend_from_slice(line),
            }
        }
        Ok(self.pass(&text).await?)
    }

    async fn pass(&mut self, bytes: &[u8]) -> ServiceResult<()> {
        if bytes.is_empty() || self.cut {
            return Ok(());
        }
        let room = self.limit - self.kept.len();
        if bytes.len() <= room {
            return self.emit(bytes).await;
        }
        self.cut = true;
        self.emit(&bytes[..room]).await?;
        if !self.kept.ends_with(b"\n") {
            self.emit(b"\n").await?;
        }
        self.emit(CUT.as_bytes()).await
    }

    async fn emit(&mut self, bytes: &[u8]) -> ServiceResult<()> {
        self.kept.extend_from_slice(bytes);
        self.observer
            .wrote(self.stream, Bytes::copy_from_slice(bytes))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::io::AsyncWriteExt;
    use vx_core::Output;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Bytes>>);

    #[async_trait]
    impl Observer for Heard {
        async fn wrote(&self, _: OutputStream, bytes: Bytes) -> ServiceResult<()> {
            self.0.lock().unwrap().push(bytes);
            Ok(())
        }

        async fn stored(&self, _: Output) -> ServiceResult<()> {
            Ok(())
        }
    }

    async fn carry(pump: Pump, text: &[u8]) -> Vec<u8> {
        let (mut write, read) = pipe::pipe().unwrap();
        let ended = CancellationToken::new();
        let (kept, ()) = tokio::join!(pump.run(read, &ended), async {
            write.write_all(text).await.unwrap();
            drop(write);
        });
        kept.unwrap()
    }

    #[tokio::test]
    async fn notices_are_taken_out_and_lines_stay_whole() {
        let heard = Arc::new(Heard::default());
        let (artifacts, mut received) = mpsc::channel(4);
        let pump = Pump::messages(heard.clone(), MessageFormat::RustcJson, artifacts);
        let text = b"{\"a\":1}\n{\"$message_type\":\"artifact\",\"artifact\":\"/x\",\"emit\":\"link\"}\nno end";
        assert_eq!(carry(pump, text).await, b"{\"a\":1}\nno end");
        assert_eq!(received.recv().await.unwrap().emit, "link");
        let heard = heard.0.lock().unwrap();
        assert_eq!(*heard, ["{\"a\":1}\n", "no end"]);
    }

    #[tokio::test]
    async fn a_flood_is_cut_with_a_note() {
        let heard = Arc::new(Heard::default());
        let mut pump = Pump::text(OutputStream::Stderr, heard);
        pump.limit = 10;
        let kept = carry(pump, &[b'x'; 300_000]).await;
        assert_eq!(kept, [b"xxxxxxxxxx\n", CUT.as_bytes()].concat());
    }

    #[tokio::test]
    async fn an_end_that_someone_else_holds_open_does_not_hang() {
        let heard = Arc::new(Heard::default());
        let (mut write, read) = pipe::pipe().unwrap();
        write.write_all(b"last words").await.unwrap();
        let ended = CancellationToken::new();
        ended.cancel();
        let kept = Pump::text(OutputStream::Stdout, heard)
            .run(read, &ended)
            .await
            .unwrap();
        assert_eq!(kept, b"last words");
    }
}
