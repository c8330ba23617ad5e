//! What an action looked at.

use vx_core::RelPath;
use vx_core::readset::{
    MAX_CHANGED, MAX_MISSED, MAX_SIGHTS, Observed, Read, ReadKind, ReadPlace, Seen, Sight, Trace,
};
use vx_schema::executor_capnp as wire;

use super::value::digest;
use super::{bounded, length, text, texts};
use crate::error::invalid;

pub(crate) fn to_wire(value: &Trace, mut to: wire::trace::Builder<'_>) {
    to.set_incomplete(value.incomplete.as_deref().unwrap_or_default());
    texts::to_wire(
        &value.wrote,
        to.reborrow().init_wrote(length(value.wrote.len())),
    );
    texts::to_wire(
        &value.missed,
        to.reborrow().init_missed(length(value.missed.len())),
    );
    to.set_reached_for(value.reached_for.as_deref().unwrap_or_default());
    to.set_unsteady(value.unsteady.as_deref().unwrap_or_default());
    let mut changed = to.reborrow().init_changed(length(value.changed.len()));
    for (index, place) in value.changed.iter().enumerate() {
        place_to_wire(place, changed.reborrow().get(length(index)));
    }
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
    place_to_wire(&value.read.place, to.reborrow().init_place());
    if let Some(before) = &value.before {
        observed_to_wire(before, to.reborrow().init_before());
    }
    let mut seen = to.init_seen();
    match value.seen {
        Seen::Absent => seen.set_absent(()),
        Seen::File { newest_ns } => seen.set_file(newest_ns),
        Seen::Directory { newest_ns } => seen.set_directory(newest_ns),
        Seen::Link { newest_ns } => seen.set_link(newest_ns),
        Seen::Other => seen.set_other(()),
    }
}

fn place_to_wire(value: &ReadPlace, mut to: wire::read_place::Builder<'_>) {
    match value {
        ReadPlace::Checkout(path) => to.set_checkout(path.as_str()),
        ReadPlace::CargoHome(path) => to.set_cargo_home(path.as_str()),
        ReadPlace::Toolchain(path) => to.set_toolchain(path.as_str()),
        ReadPlace::Host(path) => to.set_host(path),
        ReadPlace::Given(path) => to.set_given(path),
    }
}

fn place_from_wire(from: wire::read_place::Reader<'_>) -> capnp::Result<ReadPlace> {
    use wire::read_place::Which;
    let relative =
        |path: capnp::Result<capnp::text::Reader<'_>>| RelPath::new(text(path?)?).map_err(invalid);
    Ok(match from.which()? {
        Which::Checkout(path) => ReadPlace::Checkout(relative(path)?),
        Which::CargoHome(path) => ReadPlace::CargoHome(relative(path)?),
        Which::Toolchain(path) => ReadPlace::Toolchain(relative(path)?),
        Which::Host(path) => ReadPlace::Host(text(path?)?),
        Which::Given(path) => ReadPlace::Given(text(path?)?),
    })
}

fn observed_to_wire(value: &Observed, mut to: wire::observed::Builder<'_>) {
    match value {
        Observed::Absent => to.set_absent(()),
        Observed::Content(content) => digest::to_wire(content, to.init_content()),
        Observed::Listing(listing) => digest::to_wire(listing, to.init_listing()),
        Observed::Tree(tree) => digest::to_wire(tree, to.init_tree()),
        Observed::Kind(kind) => to.set_kind(kind),
        Observed::File { size, executable } => {
            let mut file = to.init_file();
            file.set_size(*size);
            file.set_executable(*executable);
        }
        Observed::Link(target) => to.set_link(target),
        Observed::Special => to.set_special(()),
    }
}

fn observed_from_wire(from: wire::observed::Reader<'_>) -> capnp::Result<Observed> {
    use wire::observed::Which;
    Ok(match from.which()? {
        Which::Absent(()) => Observed::Absent,
        Which::Content(content) => Observed::Content(digest::from_wire(content?)),
        Which::Listing(listing) => Observed::Listing(digest::from_wire(listing?)),
        Which::Tree(tree) => Observed::Tree(digest::from_wire(tree?)),
        Which::Kind(kind) => Observed::Kind(text(kind?)?),
        Which::File(file) => Observed::File {
            size: file.get_size(),
            executable: file.get_executable(),
        },
        Which::Link(target) => Observed::Link(text(target?)?),
        Which::Special(()) => Observed::Special,
    })
}

pub(crate) fn from_wire(from: wire::trace::Reader<'_>) -> capnp::Result<Trace> {
    let sights = from.get_sights()?;
    bounded(sights.len(), MAX_SIGHTS, "traced paths")?;
    let said = |text: String| (!text.is_empty()).then_some(text);
    let changed = from.get_changed()?;
    bounded(changed.len(), MAX_CHANGED, "changed paths")?;
    let missed = from.get_missed()?;
    bounded(missed.len(), MAX_MISSED, "missed paths")?;
    Ok(Trace {
        sights: sights
            .iter()
            .map(sight_from_wire)
            .collect::<capnp::Result<_>>()?,
        reached_for: said(text(from.get_reached_for()?)?),
        unsteady: said(text(from.get_unsteady()?)?),
        incomplete: said(text(from.get_incomplete()?)?),
        wrote: texts::from_wire(from.get_wrote()?)?,
        changed: changed
            .iter()
            .map(place_from_wire)
            .collect::<capnp::Result<_>>()?,
        missed: texts::from_wire(missed)?,
    })
}

fn sight_from_wire(from: wire::sight::Reader<'_>) -> capnp::Result<Sight> {
    use wire::sight::seen;
    let place = place_from_wire(from.get_place()?)?;
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
            seen::Which::Link(newest_ns) => Seen::Link { newest_ns },
            seen::Which::Other(()) => Seen::Other,
        },
        before: if from.has_before() {
            Some(observed_from_wire(from.get_before()?)?)
        } else {
            None
        },
    })
}
