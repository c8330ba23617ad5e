//! A procedural macro that looks around by itself, for tests.

/// A macro crate, with a macro for each way of looking around. Paths are relative to the
/// package that uses the macro.
const MAGIC: &str = r#"
    //- /magic/Cargo.toml
    [package]
    name = "magic"
    version = "0.1.0"
    edition = "2024"
    [lib]
    proc-macro = true
    //- /magic/src/lib.rs
    use proc_macro::TokenStream;
    use std::path::PathBuf;
    fn place(input: &TokenStream) -> PathBuf {
        let base = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
        base.join(input.to_string().trim_matches('"'))
    }
    fn literal(text: &str) -> TokenStream { format!("{text:?}").parse().unwrap() }
    /// A variable's value.
    #[proc_macro]
    pub fn variable(input: TokenStream) -> TokenStream {
        literal(&std::env::var(input.to_string().trim_matches('"')).unwrap_or("unset".to_owned()))
    }
    /// What a file holds.
    #[proc_macro]
    pub fn text(input: TokenStream) -> TokenStream {
        literal(std::fs::read_to_string(place(&input)).unwrap().trim())
    }
    /// Whether there is something at a path.
    #[proc_macro]
    pub fn there(input: TokenStream) -> TokenStream {
        literal(if place(&input).exists() { "there" } else { "not there" })
    }
    /// The names in a directory.
    #[proc_macro]
    pub fn names(input: TokenStream) -> TokenStream {
        let mut names: Vec<_> = std::fs::read_dir(place(&input)).unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        literal(&names.join(" "))
    }
    /// The names of the files in a directory, and what each holds.
    #[proc_macro]
    pub fn embed(input: TokenStream) -> TokenStream {
        let mut files: Vec<_> = std::fs::read_dir(place(&input)).unwrap()
            .map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let files: Vec<_> = files.iter().map(|path| format!("{}={}",
            path.file_name().unwrap().to_str().unwrap(),
            std::fs::read_to_string(path).unwrap().trim())).collect();
        literal(&files.join(" "))
    }
    /// What kind of file there is, and how large.
    #[proc_macro]
    pub fn kind(input: TokenStream) -> TokenStream {
        let metadata = std::fs::symlink_metadata(place(&input)).unwrap();
        literal(&format!("{} {}", if metadata.is_dir() { "directory" } else if metadata.is_symlink() { "link" } else { "file" }, metadata.len()))
    }
    /// Evaluates `env!` and `include_str!` itself, so that the compiler sees neither.
    #[proc_macro]
    pub fn baked(input: TokenStream) -> TokenStream {
        let input = input.to_string().replace(' ', "");
        let argument = input.split('"').nth(1).unwrap();
        if input.starts_with("env!") {
            return match std::env::var(argument) {
                Ok(value) => literal(&value),
                Err(_) => format!("compile_error!(\"{argument} is not set\")").parse().unwrap(),
            };
        }
        let base = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
        literal(std::fs::read_to_string(base.join("src").join(argument)).unwrap().trim())
    }
    /// A number made of where the package lies.
    #[proc_macro]
    pub fn place_hash(_: TokenStream) -> TokenStream {
        let place = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let hash = place.bytes().fold(14695981039346656037u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(1099511628211)
        });
        literal(&format!("{hash:x}"))
    }
    /// Leaves an item out while a variable is set.
    #[proc_macro_attribute]
    pub fn export(_: TokenStream, item: TokenStream) -> TokenStream {
        if std::env::var_os("VX_CASE_EXPANSION").is_some() { TokenStream::new() } else { item }
    }
"#;

/// A workspace whose program prints an expression. `settings` are lines of the workspace's
/// metadata.
#[must_use]
pub fn printing(expression: &str, settings: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [workspace]
        members = ["app", "magic"]
        resolver = "3"
        {settings}
        //- /app/Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        magic = {{ path = "../magic" }}
        //- /app/src/main.rs
        fn main() {{ println!("{{}}", {expression}); }}
        {MAGIC}
        "#
    )
}

/// Lets actions see a variable.
#[must_use]
pub fn declares(variable: &str) -> String {
    format!("[workspace.metadata.vx]\n        env = [\"{variable}\"]")
}
