//! Cargo's configuration, as far as command lines depend on it.
//!
//! Cargo itself heeds the configuration when it makes the unit graph. What is read here is
//! what the graph does not tell: rustflags, linkers, `[env]`, and where each value was
//! written, because relative paths in it are meant from there. A test holds this reader
//! against `cargo config get`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::PlanError;
use crate::host::Host;
use crate::locate::normalize;

/// A value and the file it was written in.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Table(BTreeMap<String, Value>),
    List(Vec<Value>),
    Scalar {
        value: toml::Value,
        origin: Arc<PathBuf>,
    },
}

/// The merged configuration files.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    root: Value,
    /// Files that were read, the most telling first, and included ones.
    pub(crate) files: Vec<PathBuf>,
    /// Files that were looked for in vain.
    pub(crate) absent: Vec<PathBuf>,
    env: BTreeMap<String, String>,
    cwd: PathBuf,
}

/// Lists of one value: a program and its arguments. The nearest file wins as a whole.
const WHOLE_LISTS: &[&str] = &["runner", "credential-provider", "browser"];

impl Config {
    /// Reads all configuration files that cargo would when started in `cwd`.
    pub(crate) fn load(
        host: &Host,
        cwd: &Path,
        cargo_home: &Path,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, PlanError> {
        let mut config = Self {
            root: Value::Table(BTreeMap::new()),
            files: Vec::new(),
            absent: Vec::new(),
            env: env.clone(),
            cwd: cwd.to_owned(),
        };
        let mut dirs: Vec<PathBuf> = cwd.ancestors().map(|dir| dir.join(".cargo")).collect();
        let real = |dir: &Path| host.canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let home = real(cargo_home);
        let seen = |dir: &PathBuf| real(dir) == home;
        if !dirs.iter().any(seen) {
            dirs.push(cargo_home.to_owned());
        }
        for dir in dirs {
            if let Some(file) = config.candidate(host, &dir) {
                let lower = config.read(host, &file, &mut Vec::new())?;
                merge_below(&mut config.root, lower, "");
            }
        }
        Ok(config)
    }

    /// `config` before `config.toml`, as cargo has it.
    fn candidate(&mut self, host: &Host, dir: &Path) -> Option<PathBuf> {
        for name in ["config", "config.toml"] {
            let file = dir.join(name);
            if host.exists(&file) {
                return Some(file);
            }
            self.absent.push(file);
        }
        None
    }

    fn read(
        &mut self,
        host: &Host,
        file: &Path,
        including: &mut Vec<PathBuf>,
    ) -> Result<Value, PlanError> {
        let error = |detail: String| PlanError::Config {
            path: file.to_owned(),
            detail,
        };
        if including.iter().any(|other| other == file) {
            return Err(error("it includes itself".to_owned()));
        }
        let text = host
            .read_to_string(file)
            .map_err(PlanError::io("read", file))?;
        let mut table: toml::Table = toml::from_str(&text).map_err(|e| error(e.to_string()))?;
        self.files.push(file.to_owned());
        let includes = table.remove("include");
        let origin = Arc::new(file.to_owned());
        let mut value = with_origin(toml::Value::Table(table), &origin);
        let Some(includes) = includes else {
            return Ok(value);
        };

        including.push(file.to_owned());
        let mut included = Value::Table(BTreeMap::new());
        for (path, optional) in include_paths(&includes).map_err(error)? {
            // Relative to the file itself, unlike other paths in a configuration.
            let path = file.parent().unwrap_or(Path::new("/")).join(path);
            if optional && !host.exists(&path) {
                self.absent.push(path);
                continue;
            }
            let mut later = self.read(host, &path, including)?;
            std::mem::swap(&mut included, &mut later);
            merge_below(&mut included, later, "");
        }
        including.pop();
        merge_below(&mut value, included, "");
        Ok(value)
    }

    pub(crate) fn get(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.root, |value, key| match value {
            Value::Table(table) => table.get(*key),
            _ => None,
        })
    }

    /// The tables below a table: name and content.
    pub(crate) fn tables(&self, path: &[&str]) -> Vec<(&str, &BTreeMap<String, Value>)> {
        match self.get(path) {
            Some(Value::Table(table)) => table
                .iter()
                .filter_map(|(name, value)| match value {
                    Value::Table(inner) => Some((name.as_str(), inner)),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A string; the variable of its name comes before files.
    pub(crate) fn string(&self, path: &[&str]) -> Option<String> {
        if let Some(value) = self.env.get(&env_name(path)) {
            return Some(value.clone());
        }
        match self.get(path)? {
            Value::Scalar { value, .. } => value.as_str().map(str::to_owned),
            _ => None,
        }
    }

    /// A list of strings, or a string of words; the variable of its name comes last in it.
    pub(crate) fn words(&self, path: &[&str]) -> Option<Vec<String>> {
        let from_file = self.get(path).map(words_of);
        let from_env = self
            .env
            .get(&env_name(path))
            .map(|value| split_words(value));
        match (from_file, from_env) {
            (None, None) => None,
            (file, env) => Some(file.into_iter().chain(env).flatten().collect()),
        }
    }

    /// A program: a bare name is looked up on `PATH`, a path is relative to where it was
    /// written.
    pub(crate) fn program(&self, path: &[&str]) -> Option<String> {
        if let Some(value) = self.env.get(&env_name(path)) {
            return Some(self.program_from(value, &self.cwd));
        }
        self.program_of(self.get(path)?)
    }

    pub(crate) fn program_of(&self, value: &Value) -> Option<String> {
        let Value::Scalar { value, origin } = value else {
            return None;
        };
        Some(self.program_from(value.as_str()?, base_of(origin)))
    }

    fn program_from(&self, value: &str, base: &Path) -> String {
        if value.contains('/') {
            base.join(value).to_string_lossy().into_owned()
        } else {
            value.to_owned()
        }
    }

    /// The `[env]` tables as cargo applies them: a variable that is set already keeps its
    /// value unless forced.
    pub(crate) fn env_table(&self) -> Result<Vec<(String, String)>, PlanError> {
        let Some(Value::Table(table)) = self.get(&["env"]) else {
            return Ok(Vec::new());
        };
        let mut pairs = Vec::new();
        for (name, value) in table {
            if matches!(
                name.as_str(),
                "CARGO_HOME" | "RUSTUP_HOME" | "RUSTUP_TOOLCHAIN"
            ) {
                return Err(PlanError::Config {
                    path: self.files.first().cloned().unwrap_or_default(),
                    detail: format!(
                        "setting the `{name}` environment variable is not supported in the `[env]` configuration table"
                    ),
                });
            }
            let Some((text, origin, relative, force)) = env_value(value) else {
                continue;
            };
            let text = match self.env.get(name) {
                Some(set) if !force => set.clone(),
                _ if relative => base_of(&origin).join(&text).to_string_lossy().into_owned(),
                _ => text,
            };
            pairs.push((name.clone(), text));
        }
        Ok(pairs)
    }

    /// Directories that may hold packages in place of others: those that `[patch]` tables name,
    /// and those of `paths`.
    pub(crate) fn named_directories(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        if let Some(patches) = self.get(&["patch"]) {
            paths_in(patches, &mut found);
        }
        if let Some(Value::List(paths)) = self.get(&["paths"]) {
            found.extend(paths.iter().filter_map(based));
        }
        found
    }

    /// The merged files as plain TOML.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> toml::Value {
        plain(&self.root)
    }
}

/// The variable cargo reads for a key.
pub(crate) fn env_name(path: &[&str]) -> String {
    let mut name = String::from("CARGO");
    for part in path {
        name.push('_');
        name.extend(part.chars().map(|char| match char {
            '-' | '.' => '_',
            other => other.to_ascii_uppercase(),
        }));
    }
    name
}

/// Relative paths are meant from the directory that holds `.cargo`.
fn base_of(origin: &Path) -> &Path {
    origin
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("/"))
}

/// A scalar that is a path, meant from where it was written.
fn based(value: &Value) -> Option<PathBuf> {
    let Value::Scalar { value, origin } = value else {
        return None;
    };
    Some(normalize(&base_of(origin).join(value.as_str()?)))
}

/// Every `path = "…"` in a table.
fn paths_in(value: &Value, found: &mut Vec<PathBuf>) {
    let Value::Table(table) = value else {
        return;
    };
    for (key, value) in table {
        match value {
            Value::Scalar { .. } if key == "path" => found.extend(based(value)),
            other => paths_in(other, found),
        }
    }
}

fn env_value(value: &Value) -> Option<(String, Arc<PathBuf>, bool, bool)> {
    match value {
        Value::Scalar { value, origin } => {
            Some((value.as_str()?.to_owned(), origin.clone(), false, false))
        }
        Value::Table(table) => {
            let flag = |key: &str| match table.get(key) {
                Some(Value::Scalar { value, .. }) => value.as_bool().unwrap_or(false),
                _ => false,
            };
            let Value::Scalar { value, origin } = table.get("value")? else {
                return None;
            };
            Some((
                value.as_str()?.to_owned(),
                origin.clone(),
                flag("relative"),
                flag("force"),
            ))
        }
        Value::List(_) => None,
    }
}

pub(crate) fn words_of(value: &Value) -> Vec<String> {
    match value {
        Value::Scalar { value, .. } => value.as_str().map(split_words).unwrap_or_default(),
        Value::List(items) => items
            .iter()
            .filter_map(|item| match item {
                Value::Scalar { value, .. } => value.as_str().map(str::to_owned),
                _ => None,
            })
            .collect(),
        Value::Table(_) => Vec::new(),
    }
}

fn split_words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn include_paths(value: &toml::Value) -> Result<Vec<(String, bool)>, String> {
    let items = match value {
        toml::Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    items
        .iter()
        .map(|item| match item {
            toml::Value::String(path) => Ok((path.clone(), false)),
            toml::Value::Table(table) => match table.get("path") {
                Some(toml::Value::String(path)) => {
                    let optional = table.get("optional").and_then(toml::Value::as_bool);
                    Ok((path.clone(), optional.unwrap_or(false)))
                }
                _ => Err("an `include` without a `path`".to_owned()),
            },
            _ => Err("`include` must list paths".to_owned()),
        })
        .collect()
}

fn with_origin(value: toml::Value, origin: &Arc<PathBuf>) -> Value {
    match value {
        toml::Value::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, with_origin(value, origin)))
                .collect(),
        ),
        toml::Value::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| with_origin(item, origin))
                .collect(),
        ),
        value => Value::Scalar {
            value,
            origin: origin.clone(),
        },
    }
}

/// Merges a value that has less to say: tables key by key, lists before ours, and of anything
/// else ours stands.
fn merge_below(ours: &mut Value, lower: Value, key: &str) {
    match (ours, lower) {
        (Value::Table(ours), Value::Table(lower)) => {
            for (key, value) in lower {
                match ours.get_mut(&key) {
                    Some(own) => merge_below(own, value, &key),
                    None => {
                        ours.insert(key, value);
                    }
                }
            }
        }
        (Value::List(ours), Value::List(mut lower)) if !WHOLE_LISTS.contains(&key) => {
            lower.append(ours);
            *ours = lower;
        }
        _ => {}
    }
}

#[cfg(test)]
fn plain(value: &Value) -> toml::Value {
    match value {
        Value::Table(table) => toml::Value::Table(
            table
                .iter()
                .map(|(key, value)| (key.clone(), plain(value)))
                .collect(),
        ),
        Value::List(items) => toml::Value::Array(items.iter().map(plain).collect()),
        Value::Scalar { value, .. } => value.clone(),
    }
}

#[cfg(test)]
mod tests;
