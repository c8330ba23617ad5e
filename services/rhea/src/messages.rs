//! Tells rustc's artifact notices from the lines that are for people.

use serde::Deserialize;

/// How every artifact notice starts; rustc writes the tag first.
const START: &[u8] = b"{\"$message_type\":\"artifact\"";

/// An artifact notice: rustc has finished writing a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Artifact {
    /// The file's path, as rustc sees it.
    #[serde(rename = "artifact")]
    pub(crate) path: String,
    /// What it is: `metadata`, `link`, `dep-info`, …
    pub(crate) emit: String,
}

/// The notice that a line is, if it is one.
pub(crate) fn artifact(line: &[u8]) -> Option<Artifact> {
    if !line.starts_with(START) {
        return None;
    }
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_taken_and_everything_else_passes() {
        let notice =
            br#"{"$message_type":"artifact","artifact":"/vx/out/liba.rmeta","emit":"metadata"}"#;
        assert_eq!(
            artifact(notice),
            Some(Artifact {
                path: "/vx/out/liba.rmeta".to_owned(),
                emit: "metadata".to_owned(),
            })
        );
        assert_eq!(artifact(br#"{"$message_type":"diagnostic"}"#), None);
        assert_eq!(artifact(br#"{"$message_type":"artifact""#), None);
        assert_eq!(artifact(b"plain"), None);
    }
}
