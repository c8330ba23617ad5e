//! Conversion between the core's values and the wire's, by hand and in pairs.
//!
//! `to_wire` writes a value into a builder; `from_wire` reads and checks one. What can't be
//! meant is [`vx_core::ServiceError::Invalid`].

pub(crate) mod action;
pub(crate) mod build;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod trace;
pub(crate) mod value;

use crate::error::invalid;

/// A list's length; lists are bounded far below what the wire can count.
pub(crate) fn length(count: usize) -> u32 {
    u32::try_from(count).expect("lists are bounded by the message size")
}

/// Refuses lists over `most`.
pub(crate) fn bounded(count: u32, most: usize, what: &str) -> capnp::Result<()> {
    if count as usize > most {
        return Err(invalid(format!(
            "{count} {what} in one call; at most {most} are allowed"
        )));
    }
    Ok(())
}

/// Owned text.
pub(crate) fn text(reader: capnp::text::Reader<'_>) -> capnp::Result<String> {
    reader.to_string().map_err(invalid)
}

pub(crate) mod texts {
    //! Lists of text.

    pub(crate) fn to_wire(values: &[String], mut list: capnp::text_list::Builder<'_>) {
        for (index, value) in values.iter().enumerate() {
            list.set(super::length(index), value);
        }
    }

    pub(crate) fn from_wire(list: capnp::text_list::Reader<'_>) -> capnp::Result<Vec<String>> {
        list.iter().map(|value| super::text(value?)).collect()
    }
}
