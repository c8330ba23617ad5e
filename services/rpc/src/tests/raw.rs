//! A peer that writes its messages by hand, and keeps to no rule but its test's.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use capnp::private::capability::ClientHook;
use capnp::traits::{HasTypeId, ImbueMut};
use capnp_rpc::rpc_capnp;

use super::PATIENCE;
use crate::{Endpoint, Secret};
use vx_schema::{bootstrap_capnp, store_capnp};

/// Something that an earlier call will give: the question, and the pointer in its results.
#[derive(Clone, Copy)]
pub(super) struct Promised {
    question: u32,
    pointer: Option<u16>,
}

pub(super) struct RawPeer {
    pub(super) stream: UnixStream,
    next: u32,
}

impl RawPeer {
    pub(super) fn dial(endpoint: &Endpoint) -> Self {
        let Endpoint::Unix(path) = endpoint else {
            panic!("raw peers use Unix sockets");
        };
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, next: 0 }
    }

    fn question(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn send(&mut self, fill: impl FnOnce(rpc_capnp::message::Builder<'_>)) -> io::Result<()> {
        let mut message = capnp::message::Builder::new_default();
        fill(message.init_root());
        let bytes = capnp::serialize::write_message_to_words(&message);
        self.stream.write_all(&bytes)
    }

    pub(super) fn bootstrap(&mut self) -> Promised {
        let question = self.question();
        self.send(|message| message.init_bootstrap().set_question_id(question))
            .unwrap();
        Promised {
            question,
            pointer: None,
        }
    }

    /// A call; capabilities in its parameters are said to be hosted here.
    pub(super) fn call(
        &mut self,
        target: Promised,
        interface: u64,
        method: u16,
        fill: impl FnOnce(&mut capnp::any_pointer::Builder<'_>),
    ) -> io::Result<u32> {
        let question = self.question();
        self.send(|message| {
            let mut call = message.init_call();
            call.set_question_id(question);
            call.set_interface_id(interface);
            call.set_method_id(method);
            let mut promised = call.reborrow().init_target().init_promised_answer();
            promised.set_question_id(target.question);
            if let Some(pointer) = target.pointer {
                promised
                    .init_transform(1)
                    .get(0)
                    .set_get_pointer_field(pointer);
            }
            let mut capabilities: Vec<Option<Box<dyn ClientHook>>> = Vec::new();
            let mut payload = call.init_params();
            let mut content = payload.reborrow().get_content();
            content.imbue_mut(&mut capabilities);
            fill(&mut content);
            let count = u32::try_from(capabilities.len()).unwrap();
            let mut table = payload.init_cap_table(count);
            for index in 0..count {
                table.reborrow().get(index).set_sender_hosted(index + 7);
            }
        })?;
        Ok(question)
    }

    pub(super) fn hello(&mut self, target: Promised) -> io::Result<()> {
        let interface = bootstrap_capnp::bootstrap::Client::TYPE_ID;
        self.call(target, interface, 0, |content| {
            content
                .reborrow()
                .init_as::<bootstrap_capnp::bootstrap::hello_params::Builder<'_>>()
                .init_caller()
                .set_service("raw");
        })
        .map(drop)
    }

    pub(super) fn redeem(&mut self, target: Promised, secret: &Secret) -> Promised {
        let interface = bootstrap_capnp::bootstrap::Client::TYPE_ID;
        let question = self
            .call(target, interface, 1, |content| {
                content
                    .reborrow()
                    .init_as::<bootstrap_capnp::bootstrap::redeem_params::Builder<'_>>()
                    .set_secret(secret.bytes());
            })
            .unwrap();
        let redeemed = Promised {
            question,
            pointer: Some(0),
        };
        self.answered(redeemed);
        redeemed
    }

    /// The store of a grant of a store's process.
    pub(super) fn store(&mut self, cass: Promised) -> Promised {
        let interface = store_capnp::cass::Client::TYPE_ID;
        let question = self
            .call(cass, interface, 0, |content| {
                content
                    .reborrow()
                    .init_as::<store_capnp::cass::grant_params::Builder<'_>>()
                    .set_label("raw");
            })
            .unwrap();
        Promised {
            question,
            pointer: Some(1),
        }
    }

    pub(super) fn open_sink(&mut self, store: Promised) -> Promised {
        let interface = store_capnp::store::Client::TYPE_ID;
        let question = self
            .call(store, interface, 2, |content| {
                content
                    .reborrow()
                    .init_as::<store_capnp::store::write_params::Builder<'_>>();
            })
            .unwrap();
        Promised {
            question,
            pointer: Some(0),
        }
    }

    pub(super) fn write(&mut self, sink: Promised, bytes: &[u8]) -> io::Result<()> {
        let interface = store_capnp::blob_sink::Client::TYPE_ID;
        self.call(sink, interface, 0, |content| {
            content
                .reborrow()
                .init_as::<store_capnp::blob_sink::write_params::Builder<'_>>()
                .set_bytes(bytes);
        })
        .map(drop)
    }

    /// Asks for a blob, into a sink of its own.
    pub(super) fn read(&mut self, store: Promised, digest: &vx_core::Digest) {
        struct Nothing;
        impl store_capnp::byte_sink::Server for Nothing {}
        let interface = store_capnp::store::Client::TYPE_ID;
        self.call(store, interface, 1, |content| {
            let mut params = content
                .reborrow()
                .init_as::<store_capnp::store::read_params::Builder<'_>>();
            crate::wire::value::digest::to_wire(digest, params.reborrow().init_digest());
            params.set_sink(capnp_rpc::new_client(Nothing));
        })
        .unwrap();
    }

    /// Reads messages until the answer to `question` came.
    pub(super) fn answered(&mut self, asked: Promised) {
        loop {
            let message =
                capnp::serialize::read_message(&mut self.stream, Default::default()).unwrap();
            let root: rpc_capnp::message::Reader<'_> = message.get_root().unwrap();
            if let Ok(rpc_capnp::message::Return(Ok(answer))) = root.which()
                && answer.get_answer_id() == asked.question
            {
                return;
            }
        }
    }

    /// Reads until the other side closes.
    pub(super) fn drained(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        match self.stream.read_to_end(&mut all) {
            Ok(_) => all,
            // Closed with what was sent still unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => all,
            Err(error) => panic!("the connection was not closed: {error}"),
        }
    }
}
