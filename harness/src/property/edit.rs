//! What happens to a workspace between two builds.

use super::workspace::{Form, Id, Kind, Module, Package, Script, Workspace};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Files or variables change.
    Change(Change),
    /// The same, and the files that are written over keep their modification times.
    Quietly(Change),
    /// Everything is as it was so many steps ago.
    Back(usize),
    /// A source file gets a new modification time, and nothing else.
    Touch(Id),
    /// The checkout is copied, and work goes on in the copy.
    Copy,
    /// `.vx` is removed.
    RemoveOutputs,
    /// The daemons are ended.
    Stop,
    /// A source file is broken, a build fails, and the file is as it was.
    Break(Id),
}

/// A change of what a build depends on, or of what it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Constant(Id, u32),
    Comment(Id, u32),
    About(Id, u32),
    Notes(Id, u32),
    /// Its function gets another name, there and where it is called.
    Rename(Id),
    AddModule(Id, u8),
    RemoveModule(Id, u8),
    MoveModule(Id, u8),
    ModuleValue(Id, u8, u32),
    /// The file of its `include_str!`.
    Words(Id, u32),
    /// The file its build script reads.
    Input(Id, u32),
    /// A second file in the directory its build script reads comes or goes.
    MoreInput(Id),
    /// Its build script itself.
    Salt(Id, u32),
    /// Whether the feature is on by default.
    DefaultFeature(Id),
    /// Whether the first package asks for the second's feature.
    AskFeature(Id, Id),
    AddUse(Id, Id),
    RemoveUse(Id, Id),
    /// A build script that reads a file.
    AddScript(Id),
    RemoveScript(Id),
    /// A new member, which the program uses.
    AddPackage(Id),
    Optimised,
    Unchecked,
    Lines,
    /// The variable of `option_env!`.
    Tint(Option<u32>),
    /// The variable build scripts name.
    Shade(Option<u32>),
    /// The undeclared file.
    Table(Option<u32>),
    /// A second file in the undeclared directory comes or goes.
    List,
}

impl Change {
    /// The workspace after it; nothing when it can't be made there.
    pub(crate) fn apply(self, workspace: &Workspace) -> Option<Workspace> {
        let mut after = workspace.clone();
        self.alter(&mut after)?;
        (after != *workspace).then_some(after)
    }

    fn alter(self, workspace: &mut Workspace) -> Option<()> {
        match self {
            Self::Optimised => workspace.profile.optimised ^= true,
            Self::Unchecked => workspace.profile.unchecked ^= true,
            Self::Lines => workspace.profile.lines ^= true,
            Self::Tint(value) => workspace.variables.tint = value,
            Self::Shade(value) => workspace.variables.shade = value,
            Self::Table(value) => workspace.shared.table = value,
            Self::List => workspace.shared.listed ^= true,
            Self::AddUse(from, to) => {
                let library = workspace.packages.get(&to)?.kind != Kind::Program;
                let user = workspace.packages.get_mut(&from)?;
                if from >= to || !library || user.uses.contains_key(&to) {
                    return None;
                }
                user.uses.insert(to, false);
            }
            Self::AddPackage(id) => {
                if workspace.packages.contains_key(&id) {
                    return None;
                }
                let package = Package::plain(Kind::Library);
                workspace.packages.insert(id, package);
                let program = workspace.packages.get_mut(&Id::PROGRAM)?;
                program.uses.insert(id, false);
            }
            _ => return self.alter_package(workspace),
        }
        Some(())
    }

    fn alter_package(self, workspace: &mut Workspace) -> Option<()> {
        let package = workspace.packages.get_mut(&self.package()?)?;
        let script =
            |script: &mut Option<Script>, form: fn(Form) -> bool, change: &dyn Fn(&mut Script)| {
                let script = script.as_mut().filter(|script| form(script.form))?;
                change(script);
                Some(())
            };
        match self {
            Self::Constant(_, value) => package.constant = value,
            Self::Comment(_, value) => package.comment = value,
            Self::About(_, value) => package.about = value,
            Self::Notes(_, value) => package.notes = value,
            Self::Rename(_) => package.generation += 1,
            Self::AddModule(_, number) => {
                let module = Module {
                    value: 10,
                    nested: false,
                };
                if package.modules.insert(number, module).is_some() {
                    return None;
                }
            }
            Self::RemoveModule(_, number) => {
                package.modules.remove(&number)?;
            }
            Self::MoveModule(_, number) => package.modules.get_mut(&number)?.nested ^= true,
            Self::ModuleValue(_, number, value) => {
                package.modules.get_mut(&number)?.value = value;
            }
            Self::Words(_, value) => *package.words.as_mut()? = value,
            Self::Input(_, value) => {
                let reads = |form| matches!(form, Form::File | Form::Directory | Form::Nothing);
                script(&mut package.script, reads, &|script| script.input = value)?;
            }
            Self::MoreInput(_) => {
                let lists = |form| form == Form::Directory;
                script(&mut package.script, lists, &|script| script.more ^= true)?;
            }
            Self::Salt(_, value) => {
                script(&mut package.script, |_| true, &|script| script.salt = value)?;
            }
            Self::AddScript(_) => {
                if package.script.is_some() {
                    return None;
                }
                package.script = Some(Script::plain());
            }
            Self::RemoveScript(_) => package.script = None,
            Self::DefaultFeature(_) => *package.extra.as_mut()? ^= true,
            Self::AskFeature(_, to) => *package.uses.get_mut(&to)? ^= true,
            Self::RemoveUse(_, to) => {
                package.uses.remove(&to)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// The package it is about.
    fn package(self) -> Option<Id> {
        match self {
            Self::Constant(id, _)
            | Self::Comment(id, _)
            | Self::About(id, _)
            | Self::Notes(id, _)
            | Self::Rename(id)
            | Self::AddModule(id, _)
            | Self::RemoveModule(id, _)
            | Self::MoveModule(id, _)
            | Self::ModuleValue(id, _, _)
            | Self::Words(id, _)
            | Self::Input(id, _)
            | Self::MoreInput(id)
            | Self::Salt(id, _)
            | Self::DefaultFeature(id)
            | Self::AskFeature(id, _)
            | Self::AddUse(id, _)
            | Self::RemoveUse(id, _)
            | Self::AddScript(id)
            | Self::RemoveScript(id) => Some(id),
            Self::Optimised
            | Self::Unchecked
            | Self::Lines
            | Self::Tint(_)
            | Self::Shade(_)
            | Self::Table(_)
            | Self::List
            | Self::AddPackage(_) => None,
        }
    }
}
