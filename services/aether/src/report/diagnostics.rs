//! rustc's JSON messages: what to show of them and how many there were.

use serde::Deserialize;

/// The messages of one compile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diagnostics {
    /// Rendered texts, with ANSI colours, in order.
    pub(crate) rendered: Vec<String>,
    /// How many warnings there were.
    pub(crate) warnings: u32,
    /// How many errors.
    pub(crate) errors: u32,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    rendered: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    level: String,
    #[serde(default)]
    future_incompat_report: Option<serde_json::Value>,
}

/// Takes standard error of a compile apart: JSON lines are messages, other lines (a linker's,
/// an internal compiler error) are shown as they are.
pub(crate) fn parse(stderr: &[u8]) -> Diagnostics {
    let mut found = Diagnostics::default();
    for line in String::from_utf8_lossy(stderr).lines() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str::<Message>(line) {
            Ok(message) => found.add(message),
            Err(_) => found.rendered.push(format!("{line}\n")),
        }
    }
    found
}

impl Diagnostics {
    fn add(&mut self, message: Message) {
        if message.future_incompat_report.is_some() || is_summary(&message) {
            return;
        }
        match message.level.as_str() {
            "error" | "error: internal compiler error" => self.errors += 1,
            "warning" => self.warnings += 1,
            _ => {}
        }
        if let Some(rendered) = message.rendered.filter(|text| !text.is_empty()) {
            self.rendered.push(rendered);
        }
    }

    /// The line cargo ends a unit's warnings with.
    pub(crate) fn warning_summary(&self, package: &str, unit: &str) -> Option<String> {
        (self.warnings > 0).then(|| {
            format!(
                "`{package}` ({unit}) generated {} warning{}",
                self.warnings,
                plural(self.warnings)
            )
        })
    }

    /// The line cargo ends a failed unit with.
    pub(crate) fn failure_summary(&self, package: &str, unit: &str) -> String {
        let mut line = format!("could not compile `{package}` ({unit})");
        if self.errors > 0 {
            let previous = if self.errors == 1 {
                "1 previous error".to_owned()
            } else {
                format!("{} previous errors", self.errors)
            };
            line.push_str(&format!(" due to {previous}"));
        }
        if self.warnings > 0 {
            line.push_str(&format!(
                "; {} warning{} emitted",
                self.warnings,
                plural(self.warnings)
            ));
        }
        line
    }
}

/// rustc ends with a count of its own, which cargo replaces.
fn is_summary(message: &Message) -> bool {
    match message.level.as_str() {
        "error" => message.message.starts_with("aborting due to"),
        "warning" => {
            message.message.ends_with("warning emitted")
                || message.message.ends_with("warnings emitted")
        }
        _ => false,
    }
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_shows_and_leaves_out_the_compilers_own_summary() {
        let stderr = br#"{"$message_type":"diagnostic","message":"unused","level":"warning","rendered":"warning: unused\n"}
{"$message_type":"diagnostic","message":"bad","level":"error","rendered":"error: bad\n"}
{"$message_type":"diagnostic","message":"aborting due to 1 previous error; 1 warning emitted","level":"error","rendered":"error: aborting\n"}
not json
"#;
        let found = parse(stderr);
        assert_eq!(
            found.rendered,
            ["warning: unused\n", "error: bad\n", "not json\n"]
        );
        assert_eq!(
            found.failure_summary("p", "lib"),
            "could not compile `p` (lib) due to 1 previous error; 1 warning emitted"
        );
        assert_eq!(
            found.warning_summary("p", "lib").as_deref(),
            Some("`p` (lib) generated 1 warning")
        );
    }
}
