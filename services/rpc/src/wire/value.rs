//! Digests, blobs, outputs, results and figures.

use bytes::Bytes;
use vx_core::{ActionResult, Blob, Digest, ExecutorStatus, Output, OutputForm, StoreStatus};
use vx_schema::values_capnp;

use super::{length, text};

pub(crate) mod digest {
    //! One digest.
    use super::*;

    pub(crate) fn to_wire(value: &Digest, mut to: values_capnp::digest::Builder<'_>) {
        let (words, _) = value.as_bytes().as_chunks::<8>();
        let word = |index: usize| u64::from_le_bytes(words[index]);
        to.set_a(word(0));
        to.set_b(word(1));
        to.set_c(word(2));
        to.set_d(word(3));
    }

    pub(crate) fn from_wire(from: values_capnp::digest::Reader<'_>) -> Digest {
        let mut bytes = [0; Digest::LEN];
        let words = [from.get_a(), from.get_b(), from.get_c(), from.get_d()];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Digest::from_bytes(bytes)
    }
}

pub(crate) mod digests {
    //! Lists of digests.
    use super::*;

    type Owned = values_capnp::digest::Owned;

    pub(crate) fn to_wire<'a>(
        values: impl ExactSizeIterator<Item = &'a Digest>,
        mut list: capnp::struct_list::Builder<'_, Owned>,
    ) {
        for (index, value) in values.enumerate() {
            digest::to_wire(value, list.reborrow().get(length(index)));
        }
    }

    pub(crate) fn from_wire(list: capnp::struct_list::Reader<'_, Owned>) -> Vec<Digest> {
        list.iter().map(digest::from_wire).collect()
    }
}

pub(crate) mod blob {
    //! A blob's digest and size.
    use super::*;

    pub(crate) fn to_wire(value: &Blob, mut to: values_capnp::blob::Builder<'_>) {
        to.set_size(value.size);
        digest::to_wire(&value.digest, to.init_digest());
    }

    pub(crate) fn from_wire(from: values_capnp::blob::Reader<'_>) -> capnp::Result<Blob> {
        Ok(Blob {
            digest: digest::from_wire(from.get_digest()?),
            size: from.get_size(),
        })
    }
}

pub(crate) mod output {
    //! One output.
    use super::*;

    pub(crate) fn to_wire(value: &Output, mut to: values_capnp::output::Builder<'_>) {
        to.set_name(&value.name);
        blob::to_wire(&value.blob, to.reborrow().init_blob());
        let mut form = to.init_form();
        match value.form {
            OutputForm::File { executable } => form.init_file().set_executable(executable),
            OutputForm::Tree => form.set_tree(()),
        }
    }

    pub(crate) fn from_wire(from: values_capnp::output::Reader<'_>) -> capnp::Result<Output> {
        use values_capnp::output::form::Which;
        Ok(Output {
            name: text(from.get_name()?)?,
            blob: blob::from_wire(from.get_blob()?)?,
            form: match from.get_form().which()? {
                Which::File(file) => OutputForm::File {
                    executable: file.get_executable(),
                },
                Which::Tree(()) => OutputForm::Tree,
            },
        })
    }
}

pub(crate) mod outputs {
    //! Lists of outputs.
    use super::*;

    type Owned = values_capnp::output::Owned;

    pub(crate) fn to_wire(values: &[Output], mut list: capnp::struct_list::Builder<'_, Owned>) {
        for (index, value) in values.iter().enumerate() {
            output::to_wire(value, list.reborrow().get(length(index)));
        }
    }

    pub(crate) fn from_wire(
        list: capnp::struct_list::Reader<'_, Owned>,
    ) -> capnp::Result<Vec<Output>> {
        list.iter().map(output::from_wire).collect()
    }
}

pub(crate) mod result {
    //! An action's result.
    use super::*;

    pub(crate) fn to_wire(value: &ActionResult, mut to: values_capnp::action_result::Builder<'_>) {
        outputs::to_wire(
            &value.outputs,
            to.reborrow().init_outputs(length(value.outputs.len())),
        );
        to.set_payload(&value.payload);
        to.set_unisolated(value.unisolated);
    }

    pub(crate) fn from_wire(
        from: values_capnp::action_result::Reader<'_>,
    ) -> capnp::Result<ActionResult> {
        Ok(ActionResult {
            outputs: outputs::from_wire(from.get_outputs()?)?,
            payload: Bytes::copy_from_slice(from.get_payload()?),
            unisolated: from.get_unisolated(),
        })
    }

    /// About how many bytes of a message it takes.
    pub(crate) fn weight(value: &ActionResult) -> usize {
        let outputs: usize = value
            .outputs
            .iter()
            .map(|output| output.name.len() + 96)
            .sum();
        value.payload.len() + outputs + 64
    }
}

pub(crate) mod store_status {
    //! A store's figures.
    use super::*;

    pub(crate) fn to_wire(value: &StoreStatus, mut to: values_capnp::store_status::Builder<'_>) {
        to.set_directory(&value.directory);
        to.set_blobs(value.blobs);
        to.set_bytes(value.bytes);
        to.set_limit(value.limit);
        to.set_results(value.results);
        to.set_grants(value.grants);
        to.set_set_aside(value.set_aside);
        to.set_linked(value.linked);
        to.set_copied(value.copied);
        to.set_accepts_unisolated(value.accepts_unisolated);
    }

    pub(crate) fn from_wire(
        from: values_capnp::store_status::Reader<'_>,
    ) -> capnp::Result<StoreStatus> {
        Ok(StoreStatus {
            directory: text(from.get_directory()?)?,
            blobs: from.get_blobs(),
            bytes: from.get_bytes(),
            limit: from.get_limit(),
            results: from.get_results(),
            grants: from.get_grants(),
            set_aside: from.get_set_aside(),
            linked: from.get_linked(),
            copied: from.get_copied(),
            accepts_unisolated: from.get_accepts_unisolated(),
        })
    }
}

pub(crate) mod executor_status {
    //! An executor's figures.
    use super::*;

    pub(crate) fn to_wire(
        value: &ExecutorStatus,
        mut to: values_capnp::executor_status::Builder<'_>,
    ) {
        to.set_running(value.running);
        to.set_executed(value.executed);
        to.set_slots(value.slots);
        to.set_isolation_fault(&value.isolation_fault);
        to.set_base_directory(&value.base_directory);
        to.set_trace_fault(&value.trace_fault);
        to.set_direct_bytes(value.direct_bytes);
        to.set_relayed_bytes(value.relayed_bytes);
        to.set_placed_bytes(value.placed_bytes);
    }

    pub(crate) fn from_wire(
        from: values_capnp::executor_status::Reader<'_>,
    ) -> capnp::Result<ExecutorStatus> {
        Ok(ExecutorStatus {
            running: from.get_running(),
            executed: from.get_executed(),
            slots: from.get_slots(),
            isolation_fault: text(from.get_isolation_fault()?)?,
            base_directory: text(from.get_base_directory()?)?,
            trace_fault: text(from.get_trace_fault()?)?,
            direct_bytes: from.get_direct_bytes(),
            relayed_bytes: from.get_relayed_bytes(),
            placed_bytes: from.get_placed_bytes(),
        })
    }
}
