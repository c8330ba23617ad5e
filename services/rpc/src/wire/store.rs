//! Placing files, small blobs, introductions, results and records.

use bytes::Bytes;
use vx_core::{ActionResult, Digest, PlaceFile, PlaceMode, PlaceOutcome, PlaceRequest, RelPath};
use vx_schema::{bootstrap_capnp, store_capnp};

use super::value::{digest, digests, result};
use super::{length, text};
use crate::endpoint::Endpoint;
use crate::error::invalid;
use crate::identity::Hello;
use crate::secret::Secret;

pub(crate) mod hello {
    //! Who someone is.
    use super::*;

    pub(crate) fn to_wire(value: &Hello, mut to: bootstrap_capnp::hello::Builder<'_>) {
        to.set_service(&value.service);
        to.set_build(&value.build);
        to.set_protocol(value.protocol);
        to.set_instance(&value.instance);
        to.set_pid(value.pid);
    }

    pub(crate) fn from_wire(from: bootstrap_capnp::hello::Reader<'_>) -> capnp::Result<Hello> {
        Ok(Hello {
            service: text(from.get_service()?)?,
            build: text(from.get_build()?)?,
            protocol: from.get_protocol(),
            instance: text(from.get_instance()?)?,
            pid: from.get_pid(),
        })
    }
}

/// How to reach a Store over a connection of one's own.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) endpoint: Endpoint,
    pub(crate) instance: String,
    pub(crate) secret: Secret,
}

pub(crate) mod introduction {
    //! Introductions.
    use super::*;

    pub(crate) fn to_wire(value: &Introduction, mut to: store_capnp::introduction::Builder<'_>) {
        to.set_endpoint(value.endpoint.to_string());
        to.set_instance(&value.instance);
        to.set_secret(value.secret.bytes());
    }

    pub(crate) fn from_wire(
        from: store_capnp::introduction::Reader<'_>,
    ) -> capnp::Result<Introduction> {
        Ok(Introduction {
            endpoint: text(from.get_endpoint()?)?.parse().map_err(invalid)?,
            instance: text(from.get_instance()?)?,
            secret: Secret::from_slice(from.get_secret()?)
                .ok_or_else(|| invalid("a secret is 32 bytes long"))?,
        })
    }
}

pub(crate) mod place_request {
    //! What to place where.
    use super::*;

    pub(crate) fn to_wire(
        value: &PlaceRequest,
        mut to: store_capnp::store::place_params::Builder<'_>,
    ) {
        to.set_directory(&value.directory);
        let mut files = to.init_files(length(value.files.len()));
        for (index, file) in value.files.iter().enumerate() {
            let mut to = files.reborrow().get(length(index));
            to.set_path(file.path.as_str());
            digest::to_wire(&file.digest, to.reborrow().init_digest());
            to.set_executable(file.executable);
            to.set_mode(match file.mode {
                PlaceMode::SharedReadOnly => store_capnp::PlaceMode::SharedReadOnly,
                PlaceMode::Independent => store_capnp::PlaceMode::Independent,
            });
        }
    }

    pub(crate) fn from_wire(
        from: store_capnp::store::place_params::Reader<'_>,
    ) -> capnp::Result<PlaceRequest> {
        let files = from.get_files()?.iter().map(|file| {
            Ok(PlaceFile {
                path: RelPath::new(text(file.get_path()?)?).map_err(invalid)?,
                digest: digest::from_wire(file.get_digest()?),
                executable: file.get_executable(),
                mode: match file.get_mode()? {
                    store_capnp::PlaceMode::SharedReadOnly => PlaceMode::SharedReadOnly,
                    store_capnp::PlaceMode::Independent => PlaceMode::Independent,
                },
            })
        });
        Ok(PlaceRequest {
            directory: text(from.get_directory()?)?,
            files: files.collect::<capnp::Result<_>>()?,
        })
    }
}

pub(crate) mod place_outcome {
    //! What became of it.
    use super::*;

    pub(crate) fn to_wire(
        value: &PlaceOutcome,
        mut to: store_capnp::store::place_outcome::Builder<'_>,
    ) {
        match value {
            PlaceOutcome::Placed { linked, copied } => {
                let mut placed = to.init_placed();
                placed.set_linked(*linked);
                placed.set_copied(*copied);
            }
            PlaceOutcome::Missing(missing) => {
                digests::to_wire(missing.iter(), to.init_missing(length(missing.len())));
            }
            PlaceOutcome::Unavailable(reason) => to.set_unavailable(reason),
        }
    }

    pub(crate) fn from_wire(
        from: store_capnp::store::place_outcome::Reader<'_>,
    ) -> capnp::Result<PlaceOutcome> {
        use store_capnp::store::place_outcome::Which;
        Ok(match from.which()? {
            Which::Placed(placed) => PlaceOutcome::Placed {
                linked: placed.get_linked(),
                copied: placed.get_copied(),
            },
            Which::Missing(missing) => PlaceOutcome::Missing(digests::from_wire(missing?)),
            Which::Unavailable(reason) => PlaceOutcome::Unavailable(text(reason?)?),
        })
    }
}

pub(crate) mod small_blobs {
    //! Small blobs that were asked for.
    use super::*;

    type Owned = store_capnp::small_blob::Owned;

    pub(crate) fn to_wire(
        values: &[Option<Bytes>],
        mut list: capnp::struct_list::Builder<'_, Owned>,
    ) {
        for (index, value) in values.iter().enumerate() {
            let mut to = list.reborrow().get(length(index));
            match value {
                Some(bytes) => to.set_bytes(bytes),
                None => to.set_missing(()),
            }
        }
    }

    pub(crate) fn from_wire(
        list: capnp::struct_list::Reader<'_, Owned>,
    ) -> capnp::Result<Vec<Option<Bytes>>> {
        use store_capnp::small_blob::Which;
        list.iter()
            .map(|blob| {
                Ok(match blob.which()? {
                    Which::Bytes(bytes) => Some(Bytes::copy_from_slice(bytes?)),
                    Which::Missing(()) => None,
                })
            })
            .collect()
    }
}

pub(crate) mod blobs {
    //! Byte strings.
    use super::*;

    pub(crate) fn to_wire(values: &[Bytes], mut list: capnp::data_list::Builder<'_>) {
        for (index, value) in values.iter().enumerate() {
            list.set(length(index), value);
        }
    }

    pub(crate) fn from_wire(list: capnp::data_list::Reader<'_>) -> capnp::Result<Vec<Bytes>> {
        list.iter()
            .map(|bytes| Ok(Bytes::copy_from_slice(bytes?)))
            .collect()
    }
}

pub(crate) mod found {
    //! Results that were looked up.
    use super::*;

    type Owned = store_capnp::maybe_result::Owned;

    pub(crate) fn to_wire(
        values: &[Option<ActionResult>],
        mut list: capnp::struct_list::Builder<'_, Owned>,
    ) {
        for (index, value) in values.iter().enumerate() {
            let mut to = list.reborrow().get(length(index));
            match value {
                Some(value) => result::to_wire(value, to.init_some()),
                None => to.set_none(()),
            }
        }
    }

    pub(crate) fn from_wire(
        list: capnp::struct_list::Reader<'_, Owned>,
    ) -> capnp::Result<Vec<Option<ActionResult>>> {
        use store_capnp::maybe_result::Which;
        list.iter()
            .map(|found| {
                Ok(match found.which()? {
                    Which::Some(value) => Some(result::from_wire(value?)?),
                    Which::None(()) => None,
                })
            })
            .collect()
    }
}

pub(crate) mod record_lists {
    //! Records by name.
    use super::*;

    type Owned = capnp::list_list::Owned<capnp::data_list::Owned>;
    type Builder<'a> = <Owned as capnp::traits::Owned>::Builder<'a>;
    type Reader<'a> = <Owned as capnp::traits::Owned>::Reader<'a>;

    pub(crate) fn to_wire(values: &[Vec<Bytes>], mut lists: Builder<'_>) {
        for (index, value) in values.iter().enumerate() {
            let list = lists.reborrow().init(length(index), length(value.len()));
            blobs::to_wire(value, list);
        }
    }

    pub(crate) fn from_wire(lists: Reader<'_>) -> capnp::Result<Vec<Vec<Bytes>>> {
        lists.iter().map(|list| blobs::from_wire(list?)).collect()
    }
}

/// Digests out of newtypes of them.
pub(crate) fn inner<T>(values: &[T], digest: impl Fn(&T) -> Digest) -> Vec<Digest> {
    values.iter().map(digest).collect()
}
