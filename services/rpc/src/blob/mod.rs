//! Blobs as streams of pieces, both ways.
//!
//! Between a socket's thread and whoever makes or takes the bytes stands a short queue of
//! [`Item`]s; it is what back-pressure comes of. An end is always said: a queue that closes
//! without [`Item::End`] was abandoned.

pub(crate) mod inward;
pub(crate) mod outward;

use bytes::Bytes;
use tokio::sync::mpsc;
use vx_core::ServiceError;

use crate::limits::CHUNK;

/// What goes through a stream's queue.
pub(crate) enum Item {
    Bytes(Bytes),
    End,
    Fail(ServiceError),
}

/// What to send next.
pub(crate) enum Next {
    /// These pieces, so many bytes together.
    Chunk(Vec<Bytes>, usize),
    End,
    Fail(ServiceError),
    /// The stream was abandoned.
    Abandoned,
}

/// Takes items in chunks of the best size: small pieces that wait are sent together, and
/// large ones are cut.
pub(crate) struct Chunks {
    items: mpsc::Receiver<Item>,
    held: Option<Item>,
}

impl Chunks {
    pub(crate) fn new(items: mpsc::Receiver<Item>) -> Self {
        Self { items, held: None }
    }

    pub(crate) async fn next(&mut self) -> Next {
        let mut pieces = Vec::new();
        let mut total = 0;
        let mut item = match self.held.take() {
            Some(item) => Some(item),
            None => self.items.recv().await,
        };
        loop {
            match item {
                Some(Item::Bytes(mut bytes)) => {
                    let piece = bytes.split_to(bytes.len().min(CHUNK - total));
                    if !piece.is_empty() {
                        total += piece.len();
                        pieces.push(piece);
                    }
                    if !bytes.is_empty() {
                        self.held = Some(Item::Bytes(bytes));
                    }
                }
                None if pieces.is_empty() => return Next::Abandoned,
                None => return Next::Chunk(pieces, total),
                Some(end) if pieces.is_empty() => {
                    return match end {
                        Item::Fail(error) => Next::Fail(error),
                        Item::End | Item::Bytes(_) => Next::End,
                    };
                }
                Some(end) => self.held = Some(end),
            }
            if self.held.is_some() || total == CHUNK {
                return Next::Chunk(pieces, total);
            }
            item = match self.items.try_recv() {
                Ok(item) => Some(item),
                Err(_) if total > 0 => return Next::Chunk(pieces, total),
                Err(_) => self.items.recv().await,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_pieces_go_together_and_large_ones_are_cut() {
        let (tx, rx) = mpsc::channel(16);
        let content: Vec<u8> = (0..3 * CHUNK + 7).map(|at| at.to_le_bytes()[0]).collect();
        let mut rest = Bytes::from(content.clone());
        for size in [1, 2, 0, CHUNK, 2 * CHUNK] {
            tx.try_send(Item::Bytes(rest.split_to(size))).ok().unwrap();
        }
        tx.try_send(Item::Bytes(rest)).ok().unwrap();
        tx.try_send(Item::End).ok().unwrap();
        let mut chunks = Chunks::new(rx);
        let mut sizes = Vec::new();
        let mut whole = Vec::new();
        loop {
            match chunks.next().await {
                Next::Chunk(pieces, total) => {
                    sizes.push(total);
                    whole.extend(pieces.concat());
                }
                Next::End => break,
                Next::Fail(_) | Next::Abandoned => panic!("the stream has an end"),
            }
        }
        assert_eq!(sizes, [CHUNK, CHUNK, CHUNK, 7]);
        assert_eq!(whole, content);
        drop(tx);
        assert!(matches!(chunks.next().await, Next::Abandoned));
    }
}
