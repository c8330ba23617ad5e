//! What an action looked at.

use vx_core::RelPath;
use vx_core::readset::{MAX_SIGHTS, Read, ReadKind, ReadPlace, Seen, Sight, Trace};
use vx_schema::executor_capnp as wire;

use super::{bounded, length, text, texts};
use crate::error::invalid;

pub(crate) fn to_wire(value: &Trace, mut to: wire::trace::Builder<'_>) {
    to.set_incomplete(value.incomplete.as_deref().unwrap_or_default());
    texts::to_wire(
        &value.wrote,
        to.reborrow().init_wrote(length(value.wrote.len())),
    );
    to.set_unsteady(value.unsteady.as_deref().unwrap_or_default());
    let mut sights = to.init_sights(length(value.sights.len()));
    for (index, sight) in value.sights.iter().enumerate() {
        sight_to_wire(sight, sights.reborrow().get(length(index)));
    }
}

fn sight_to_wire(value: &Sight, mut to: wire::sight::Builder<'_>) {
    to.set_kind(match value.read.kind {
        ReadKind::Content => wire::sight::Kind::Content,
        ReadKind::Listing => wire::sight::Kind::Listing,
        ReadKind::Tree => wire::sight::Kind::Tree,
        ReadKind::Existence => wire::sight::Kind::Existence,
        ReadKind::Metadata => wire::sight::Kind::Metadata,
        ReadKind::Link => wire::sight::Kind::Link,
    });
    let mut place = to.reborrow().init_place();
    match &value.read.place {
        ReadPlace::Checkout(path) => place.set_checkout(path.as_str()),
        ReadPlace::CargoHome(path) => place.set_cargo_home(path.as_str()),
        ReadPlace::Toolchain(path) => place.set_toolchain(path.as_str()),
        ReadPlace::Host(path) => place.set_host(path),
        ReadPlace::Given(path) => place.set_given(path),
    }
    let mut seen = to.init_seen();
    match value.seen {
        Seen::Absent => seen.set_absent(()),
        Seen::File { newest_ns } => seen.set_file(newest_ns),
        Seen::Directory { newest_ns } => seen.set_directory(newest_ns),
        Seen::Link => seen.set_link(()),
        Seen::Other => seen.set_other(()),
    }
}

pub(crate) fn from_wire(from: wire::trace::Reader<'_>) -> capnp::Result<Trace> {
    let sights = from.get_sights()?;
    bounded(sights.len(), MAX_SIGHTS, "traced paths")?;
    let said = |text: String| (!text.is_empty()).then_some(text);
    Ok(Trace {
        sights: sights
            .iter()
            .map(sight_from_wire)
            .collect::<capnp::Result<_>>()?,
        unsteady: said(text(from.get_unsteady()?)?),
        incomplete: said(text(from.get_incomplete()?)?),
        wrote: texts::from_wire(from.get_wrote()?)?,
    })
}

fn sight_from_wire(from: wire::sight::Reader<'_>) -> capnp::Result<Sight> {
    use wire::sight::{place, seen};
    let relative =
        |path: capnp::Result<capnp::text::Reader<'_>>| RelPath::new(text(path?)?).map_err(invalid);
    let place = match from.get_place().which()? {
        place::Which::Checkout(path) => ReadPlace::Checkout(relative(path)?),
        place::Which::CargoHome(path) => ReadPlace::CargoHome(relative(path)?),
        place::Which::Toolchain(path) => ReadPlace::Toolchain(relative(path)?),
        place::Which::Host(path) => ReadPlace::Host(text(path?)?),
        place::Which::Given(path) => ReadPlace::Given(text(path?)?),
    };
    let kind = match from.get_kind()? {
        wire::sight::Kind::Content => ReadKind::Content,
        wire::sight::Kind::Listing => ReadKind::Listing,
        wire::sight::Kind::Tree => ReadKind::Tree,
        wire::sight::Kind::Existence => ReadKind::Existence,
        wire::sight::Kind::Metadata => ReadKind::Metadata,
        wire::sight::Kind::Link => ReadKind::Link,
    };
    Ok(Sight {
        read: Read { place, kind },
        seen: match from.get_seen().which()? {
            seen::Which::Absent(()) => Seen::Absent,
            seen::Which::File(newest_ns) => Seen::File { newest_ns },
            seen::Which::Directory(newest_ns) => Seen::Directory { newest_ns },
            seen::Which::Link(()) => Seen::Link,
            seen::Which::Other(()) => Seen::Other,
        },
    })
}
