//! The files of a workspace.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::workspace::{Form, Id, Kind, Look, Package, Script, Workspace};

/// Paths relative to the workspace's root, and what the files hold.
pub(crate) type Files = BTreeMap<String, String>;

/// The variable that `option_env!` names.
pub(crate) const TINT: &str = "VX_PROPERTY_TINT";

/// The variable that build scripts name.
pub(crate) const SHADE: &str = "VX_PROPERTY_SHADE";

impl Workspace {
    /// All files of it.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        files.insert("Cargo.toml".to_owned(), self.manifest());
        if let Some(table) = self.shared.table {
            files.insert("shared/table.txt".to_owned(), format!("{table}\n"));
        }
        files.insert("shared/list/first".to_owned(), String::new());
        if self.shared.listed {
            files.insert("shared/list/second".to_owned(), String::new());
        }
        for id in self.packages.keys() {
            for (path, content) in self.package_files(*id) {
                files.insert(format!("{}/{path}", id.name()), content);
            }
        }
        files
    }

    /// The files as text of the kind that [`crate::Project::from_text`] takes.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (path, content) in self.files() {
            let _ = writeln!(text, "//- /{path}\n{}", content.trim_end());
        }
        text
    }

    /// The variables a build of it is given.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let set = [(TINT, self.variables.tint), (SHADE, self.variables.shade)];
        set.into_iter()
            .filter_map(|(name, value)| Some((name, value?.to_string())))
            .collect()
    }

    fn manifest(&self) -> String {
        let members: Vec<String> = self.packages.keys().map(|id| id.name()).collect();
        let profile = &self.profile;
        format!(
            "[workspace]\nmembers = {members:?}\nresolver = \"3\"\n\
             [profile.dev]\ndebug = {}\nopt-level = {}\ndebug-assertions = {}\n",
            if profile.lines { 1 } else { 0 },
            u8::from(profile.optimised),
            !profile.unchecked,
        )
    }

    /// The files of one package, relative to its directory.
    pub(crate) fn package_files(&self, id: Id) -> Files {
        let package = self.package(id);
        let mut files = Files::new();
        let mut add = |path: &str, content: String| files.insert(path.to_owned(), content);
        add("Cargo.toml", self.package_manifest(id));
        add(
            "notes.txt",
            format!("nothing reads this: {}\n", package.notes),
        );
        add(root_file(package), self.root_source(id));
        if let Some(words) = package.words {
            add("words.txt", format!("{words}\n"));
        }
        for (number, module) in &package.modules {
            let path = match module.nested {
                true => format!("src/m{number}/mod.rs"),
                false => format!("src/m{number}.rs"),
            };
            add(&path, format!("pub const VALUE: u64 = {};\n", module.value));
        }
        if let Some(script) = &package.script {
            add("build.rs", self.script_source(script));
            match script.form {
                Form::File | Form::Nothing => {
                    add("input.txt", format!("{}\n", script.input));
                }
                Form::Directory => {
                    add("inputs/first.txt", format!("{}\n", script.input));
                    if script.more {
                        add("inputs/second.txt", "more\n".to_owned());
                    }
                }
                Form::Itself | Form::Variable => {}
            }
        }
        files
    }

    fn package_manifest(&self, id: Id) -> String {
        let package = self.package(id);
        let mut text = format!(
            "[package]\nname = {:?}\nversion = \"0.1.0\"\nedition = \"2024\"\ndescription = \"{}\"\n",
            id.name(),
            package.about,
        );
        if package.kind == Kind::Macro {
            text.push_str("[lib]\nproc-macro = true\n");
        }
        if let Some(default) = package.extra {
            let default = if default { "\"extra\"" } else { "" };
            let _ = writeln!(text, "[features]\ndefault = [{default}]\nextra = []");
        }
        let mut table = |name: &str, uses: &BTreeMap<Id, bool>| {
            if !uses.is_empty() {
                let _ = writeln!(text, "[{name}]");
            }
            for (other, extra) in uses {
                let name = other.name();
                let features = match *extra && self.package(*other).extra.is_some() {
                    true => ", features = [\"extra\"]",
                    false => "",
                };
                let _ = writeln!(text, "{name} = {{ path = \"../{name}\"{features} }}");
            }
        };
        table("dependencies", &package.uses);
        if let Some(script) = &package.script {
            table("build-dependencies", &script.uses);
        }
        text
    }

    /// What another package writes to get this one's text.
    fn call(&self, id: Id) -> String {
        let package = self.package(id);
        let mark = if package.kind == Kind::Macro { "!" } else { "" };
        format!(
            "{}::text_{}{mark}().to_string()",
            id.name(),
            package.generation
        )
    }

    fn root_source(&self, id: Id) -> String {
        let package = self.package(id);
        let mut text = format!("//! Comment {}.\n", package.comment);
        let mut sum = package.constant.to_string();
        for number in package.modules.keys() {
            let _ = writeln!(text, "mod m{number};");
            let _ = write!(sum, " + m{number}::VALUE");
        }
        let mut pieces = vec![format!("\"{}(\".to_string()", id.name())];
        pieces.push("format!(\"sum={SUM}\")".to_owned());
        for number in package.modules.keys() {
            pieces.push(format!("format!(\"m{number}={{}}\", m{number}::VALUE)"));
        }
        if package.words.is_some() {
            pieces.push("format!(\"words={}\", include_str!(\"../words.txt\").trim())".to_owned());
        }
        if package.tint {
            pieces.push(format!("format!(\"tint={{:?}}\", option_env!(\"{TINT}\"))"));
        }
        if package.extra.is_some() {
            pieces.push("format!(\"extra={}\", cfg!(feature = \"extra\"))".to_owned());
        }
        pieces.push("format!(\"about={}\", env!(\"CARGO_PKG_DESCRIPTION\"))".to_owned());
        pieces.push("format!(\"assertions={}\", cfg!(debug_assertions))".to_owned());
        if let Some(script) = &package.script {
            let made = if script.writes {
                text.push_str("include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n");
                "MADE"
            } else {
                "env!(\"FROM_SCRIPT\")"
            };
            pieces.push(format!("format!(\"script=<{{}}>\", {made})"));
        }
        if let Some(look) = package.look {
            pieces.push(look_expression(look, "shared"));
        }
        for other in package.uses.keys() {
            if self.package(*other).kind == Kind::Library {
                let _ = write!(sum, " + {}::SUM", other.name());
            }
            pieces.push(self.call(*other));
        }
        pieces.push("\")\".to_string()".to_owned());
        let body = format!(
            "    [\n        {}\n    ].join(\" \")\n",
            pieces.join(",\n        ")
        );
        let generation = package.generation;
        let _ = match package.kind {
            Kind::Library => write!(
                text,
                "pub const SUM: u64 = {sum};\npub fn text_{generation}() -> String {{\n{body}}}\n"
            ),
            Kind::Program => write!(
                text,
                "const SUM: u64 = {sum};\nfn text_{generation}() -> String {{\n{body}}}\n\
                 fn main() {{ println!(\"{{}}\", text_{generation}()); }}\n"
            ),
            Kind::Macro => write!(
                text,
                "use proc_macro::TokenStream;\nconst SUM: u64 = {sum};\n\
                 fn text() -> String {{\n{body}}}\n\
                 #[proc_macro]\npub fn text_{generation}(_: TokenStream) -> TokenStream {{\n    \
                 format!(\"{{:?}}\", text()).parse().unwrap()\n}}\n"
            ),
        };
        text
    }

    fn script_source(&self, script: &Script) -> String {
        let named = |path: &str| format!("    println!(\"cargo::rerun-if-changed={path}\");\n");
        let mut text = String::from("fn main() {\n");
        let mut pieces = vec![format!("\"salt={}\".to_string()", script.salt)];
        let input = "std::fs::read_to_string(\"input.txt\").unwrap().trim().to_string()";
        match script.form {
            Form::Itself => text.push_str(&named("build.rs")),
            Form::File => {
                text.push_str(&named("input.txt"));
                pieces.push(input.to_owned());
            }
            Form::Nothing => pieces.push(input.to_owned()),
            Form::Directory => {
                text.push_str(&named("inputs"));
                pieces.push(
                    "{ let mut all: Vec<String> = std::fs::read_dir(\"inputs\").unwrap()\
                     .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap().trim().to_string())\
                     .collect(); all.sort(); all.join(\"+\") }"
                        .to_owned(),
                );
            }
            Form::Variable => {
                let _ = writeln!(
                    text,
                    "    println!(\"cargo::rerun-if-env-changed={SHADE}\");"
                );
                pieces.push(format!(
                    "format!(\"shade={{:?}}\", std::env::var(\"{SHADE}\").ok())"
                ));
            }
        }
        if let Some(look) = script.look {
            pieces.push(look_expression(look, "../shared"));
        }
        pieces.extend(script.uses.keys().map(|other| self.call(*other)));
        let _ = writeln!(
            text,
            "    let text = [\n        {}\n    ].join(\" \");",
            pieces.join(",\n        ")
        );
        text.push_str(if script.writes {
            "    let made = std::path::Path::new(&std::env::var(\"OUT_DIR\").unwrap()).join(\"made.rs\");\n    \
             std::fs::write(made, format!(\"const MADE: &str = {text:?};\\n\")).unwrap();\n}\n"
        } else {
            "    println!(\"cargo::rustc-env=FROM_SCRIPT={text}\");\n}\n"
        });
        text
    }
}

/// The path of a package's root source.
pub(crate) fn root_file(package: &Package) -> &'static str {
    match package.kind {
        Kind::Program => "src/main.rs",
        Kind::Library | Kind::Macro => "src/lib.rs",
    }
}

/// An expression of what is seen in the directory `shared`.
fn look_expression(look: Look, shared: &str) -> String {
    match look {
        Look::Content => format!(
            "std::fs::read_to_string(\"{shared}/table.txt\")\
             .map_or(\"no table\".to_string(), |text| format!(\"table={{}}\", text.trim()))"
        ),
        Look::Existence => format!(
            "format!(\"there={{}}\", std::path::Path::new(\"{shared}/table.txt\").exists())"
        ),
        Look::Listing => format!(
            "format!(\"listed={{}}\", std::fs::read_dir(\"{shared}/list\").unwrap().count())"
        ),
    }
}
