//! Faults on the wire: [`ServiceError`] as a Cap'n Proto exception and back.
//!
//! An exception is one of four kinds and a text, and each relay puts `remote exception: ` in
//! front of the text. So the variant travels as a tag at the text's start, in the form
//! `[vx:revoked] `; the first tag in the text counts. A text without a tag was not written by a
//! service: it is the RPC layer's own, and its kind says what it means.

use capnp::ErrorKind;
use vx_core::{ServiceError, ServiceResult};

use crate::limits::ERROR_TEXT;

const OPEN: &str = "[vx:";
const RELAYED: &str = "remote exception: ";

/// A service's fault as an exception.
pub(crate) fn to_wire(error: ServiceError) -> capnp::Error {
    let (kind, tag, text) = match error {
        ServiceError::Disconnected { service, reason } => (
            ErrorKind::Failed,
            format!("disconnected {}", service.replace(']', ")")),
            reason,
        ),
        ServiceError::Revoked => (ErrorKind::Failed, "revoked".to_owned(), String::new()),
        ServiceError::Denied(text) => (ErrorKind::Failed, "denied".to_owned(), text),
        ServiceError::Unaccepted(text) => (ErrorKind::Failed, "unaccepted".to_owned(), text),
        ServiceError::Invalid(text) => (ErrorKind::Failed, "invalid".to_owned(), text),
        ServiceError::Overloaded(text) => (ErrorKind::Overloaded, "overloaded".to_owned(), text),
        ServiceError::Failed(text) => (ErrorKind::Failed, "failed".to_owned(), text),
    };
    capnp::Error {
        kind,
        extra: format!("{OPEN}{tag}] {}", clip(&text)),
    }
}

/// An exception of a call to `service` as a fault.
pub(crate) fn from_wire(error: &capnp::Error, service: &str) -> ServiceError {
    let text = &error.extra;
    if let Some((_, tagged)) = text.split_once(OPEN)
        && let Some((tag, text)) = tagged.split_once("] ")
    {
        let text = text.to_owned();
        match tag.split_once(' ').unwrap_or((tag, "")) {
            ("disconnected", service) => {
                return ServiceError::Disconnected {
                    service: service.to_owned(),
                    reason: text,
                };
            }
            ("revoked", _) => return ServiceError::Revoked,
            ("denied", _) => return ServiceError::Denied(text),
            ("unaccepted", _) => return ServiceError::Unaccepted(text),
            ("invalid", _) => return ServiceError::Invalid(text),
            ("overloaded", _) => return ServiceError::Overloaded(text),
            ("failed", _) => return ServiceError::Failed(text),
            _ => {}
        }
    }
    let mut plain = text.as_str();
    while let Some(rest) = plain.strip_prefix(RELAYED) {
        plain = rest;
    }
    let plain = clip(plain);
    match error.kind {
        ErrorKind::Disconnected => ServiceError::disconnected(service, plain),
        ErrorKind::Overloaded => ServiceError::Overloaded(plain.to_owned()),
        ErrorKind::Unimplemented => {
            ServiceError::Denied(format!("this capability of {service} has no such method"))
        }
        ErrorKind::Failed => ServiceError::Failed(format!("{service}: {plain}")),
        _ => ServiceError::Failed(format!("{service}: {}", clip(&error.to_string()))),
    }
}

/// Bad content of a message, for the conversions.
pub(crate) fn invalid(reason: impl std::fmt::Display) -> capnp::Error {
    to_wire(ServiceError::Invalid(reason.to_string()))
}

/// What goes wrong in a call's closure: on the wire, or by a word of ours.
#[derive(Debug)]
pub(crate) enum Fault {
    Wire(capnp::Error),
    Service(ServiceError),
}

impl Fault {
    pub(crate) fn of(self, service: &str) -> ServiceError {
        match self {
            Self::Wire(error) => from_wire(&error, service),
            Self::Service(error) => error,
        }
    }
}

impl From<capnp::Error> for Fault {
    fn from(error: capnp::Error) -> Self {
        Self::Wire(error)
    }
}

impl From<capnp::NotInSchema> for Fault {
    fn from(error: capnp::NotInSchema) -> Self {
        Self::Wire(error.into())
    }
}

impl From<ServiceError> for Fault {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

/// A service's answer, for a server's method.
pub(crate) fn answer<T>(result: ServiceResult<T>) -> capnp::Result<T> {
    result.map_err(to_wire)
}

fn clip(text: &str) -> &str {
    let mut end = text.len().min(ERROR_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_survives_relays() {
        for error in [
            ServiceError::disconnected("vx-cass", "a [vx:revoked] word"),
            ServiceError::Revoked,
            ServiceError::Denied("no".to_owned()),
            ServiceError::Unaccepted("not told to".to_owned()),
            ServiceError::Invalid("é]".to_owned()),
            ServiceError::Overloaded(String::new()),
            ServiceError::Failed("disk\nfull".to_owned()),
        ] {
            let mut wire = to_wire(error.clone());
            for _ in 0..2 {
                assert_eq!(from_wire(&wire, "vx-rhea"), error);
                wire.extra = format!("{RELAYED}{}", wire.extra);
            }
        }
    }

    #[test]
    fn the_rpc_layers_own_faults_have_a_meaning() {
        let gone = capnp::Error::disconnected(format!("{RELAYED}{RELAYED}Peer disconnected."));
        assert_eq!(
            from_wire(&gone, "vx-cass"),
            ServiceError::disconnected("vx-cass", "Peer disconnected.")
        );
        assert!(matches!(
            from_wire(&capnp::Error::unimplemented("x".to_owned()), "vx-cass"),
            ServiceError::Denied(_)
        ));
        assert!(matches!(
            from_wire(&capnp::Error::failed("x".to_owned()), "vx-cass"),
            ServiceError::Failed(_)
        ));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let wire = to_wire(ServiceError::Failed("é".repeat(ERROR_TEXT)));
        assert!(wire.extra.len() < ERROR_TEXT + 32);
    }
}
