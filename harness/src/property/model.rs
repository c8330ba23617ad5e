//! What the program of a workspace prints, and what a change of it may have compiled: said from
//! the values alone, without a compiler.

use std::collections::BTreeSet;

use super::workspace::{Form, Id, Kind, Look, Package, Script, Workspace};

/// What a package is compiled for. Its features may differ between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The program.
    Target,
    /// Macros and build scripts.
    Host,
}

/// The packages with the feature `extra`, by what they are compiled for.
type Extra = BTreeSet<(Id, Place)>;

impl Workspace {
    /// What the program prints.
    pub(crate) fn output(&self) -> String {
        let program = self.piece(&self.extra(), Id::PROGRAM, Place::Target);
        format!("{program}\n")
    }

    /// What cargo's resolver makes of the features, version 3.
    fn extra(&self) -> Extra {
        let mut reached = BTreeSet::new();
        let mut extra = Extra::new();
        let mut open = Vec::new();
        for (&id, package) in &self.packages {
            open.push((id, Place::Target, false));
            if package.kind == Kind::Macro {
                // A member that is a macro counts for both: it may have tests, too.
                open.push((id, Place::Host, false));
            }
        }
        while let Some((id, place, asked)) = open.pop() {
            let package = self.package(id);
            if package.extra == Some(true) || (asked && package.extra.is_some()) {
                extra.insert((id, place));
            }
            if !reached.insert((id, place)) {
                continue;
            }
            let scripts = package.script.iter().flat_map(|script| &script.uses);
            open.extend(scripts.map(|(other, asked)| (*other, Place::Host, *asked)));
            open.extend(package.uses.iter().map(|(other, asked)| {
                let for_host = self.package(*other).kind == Kind::Macro;
                let place = if for_host { Place::Host } else { place };
                (*other, place, *asked)
            }));
        }
        extra
    }

    /// What a package's function gives.
    fn piece(&self, extra: &Extra, id: Id, place: Place) -> String {
        let package = self.package(id);
        let place = match package.kind {
            Kind::Macro => Place::Host,
            Kind::Program | Kind::Library => place,
        };
        let mut pieces = vec![format!("{}(", id.name()), format!("sum={}", self.sum(id))];
        for (number, module) in &package.modules {
            pieces.push(format!("m{number}={}", module.value));
        }
        if let Some(words) = package.words {
            pieces.push(format!("words={words}"));
        }
        if package.tint {
            let tint = self.variables.tint.map(|tint| tint.to_string());
            pieces.push(format!("tint={tint:?}"));
        }
        if package.extra.is_some() {
            pieces.push(format!("extra={}", extra.contains(&(id, place))));
        }
        pieces.push(format!("about={}", package.about));
        pieces.push(format!("assertions={}", !self.profile.unchecked));
        if let Some(script) = &package.script {
            pieces.push(format!("script=<{}>", self.script(extra, script)));
        }
        if let Some(look) = package.look {
            pieces.push(self.seen(look));
        }
        for other in package.uses.keys() {
            pieces.push(self.piece(extra, *other, place));
        }
        pieces.push(")".to_owned());
        pieces.join(" ")
    }

    fn sum(&self, id: Id) -> u32 {
        let package = self.package(id);
        let modules: u32 = package.modules.values().map(|module| module.value).sum();
        let libraries = package
            .uses
            .keys()
            .filter(|other| self.package(**other).kind == Kind::Library);
        let others: u32 = libraries.map(|other| self.sum(*other)).sum();
        package.constant + modules + others
    }

    fn script(&self, extra: &Extra, script: &Script) -> String {
        let mut pieces = vec![format!("salt={}", script.salt)];
        match script.form {
            Form::Itself => {}
            Form::File | Form::Nothing => pieces.push(script.input.to_string()),
            Form::Directory => pieces.push(match script.more {
                true => format!("{}+more", script.input),
                false => script.input.to_string(),
            }),
            Form::Variable => {
                let shade = self.variables.shade.map(|shade| shade.to_string());
                pieces.push(format!("shade={shade:?}"));
            }
        }
        if let Some(look) = script.look {
            pieces.push(self.seen(look));
        }
        for other in script.uses.keys() {
            pieces.push(self.piece(extra, *other, Place::Host));
        }
        pieces.join(" ")
    }

    fn seen(&self, look: Look) -> String {
        let shared = &self.shared;
        match look {
            Look::Content => match shared.table {
                Some(table) => format!("table={table}"),
                None => "no table".to_owned(),
            },
            Look::Existence => format!("there={}", shared.table.is_some()),
            Look::Listing => format!("listed={}", 1 + u8::from(shared.listed)),
        }
    }

    /// The packages of which something may be compiled or run in this workspace when everything
    /// of `before` was built: what differs, what is given `variables` that differ, and what
    /// depends on those.
    pub(crate) fn affected(&self, before: &Self, variables: &BTreeSet<Id>) -> BTreeSet<Id> {
        let (extra, old_extra) = (self.extra(), before.extra());
        let looks_differ =
            |look: Option<Look>| look.is_some_and(|look| self.seen(look) != before.seen(look));
        let differs = |id: Id| {
            let package = self.package(id);
            let Some(old) = before.packages.get(&id) else {
                return true;
            };
            let mut read = old.clone();
            read.notes = package.notes;
            let script = package.script.as_ref();
            let used_macros = package
                .all_uses()
                .filter(|other| self.package(*other).kind == Kind::Macro);
            *package != read
                || [Place::Target, Place::Host]
                    .iter()
                    .any(|place| extra.contains(&(id, *place)) != old_extra.contains(&(id, *place)))
                || variables.contains(&id)
                || looks_differ(script.and_then(|script| script.look))
                || used_macros
                    .into_iter()
                    .any(|other| looks_differ(self.package(other).look))
        };
        if self.profile != before.profile {
            return self.packages.keys().copied().collect();
        }
        self.users(|id, _| differs(id))
    }

    /// The packages of which this holds, and those that depend on one in any way.
    pub(crate) fn users(&self, holds: impl Fn(Id, &Package) -> bool) -> BTreeSet<Id> {
        let mut found = BTreeSet::new();
        // Users have lower numbers than what they use.
        for (&id, package) in self.packages.iter().rev() {
            if holds(id, package) || package.all_uses().any(|other| found.contains(&other)) {
                found.insert(id);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::workspace::{Module, Profile, Shared, Variables};
    use super::*;

    /// The program uses a library and a macro, and the macro another library.
    fn workspace() -> Workspace {
        let mut app = Package::plain(Kind::Program);
        app.uses = BTreeMap::from([(Id(1), false), (Id(2), false)]);
        let mut library = Package::plain(Kind::Library);
        library.modules.insert(
            3,
            Module {
                value: 5,
                nested: false,
            },
        );
        let mut maker = Package::plain(Kind::Macro);
        maker.look = Some(Look::Existence);
        maker.uses.insert(Id(3), true);
        let mut deep = Package::plain(Kind::Library);
        deep.extra = Some(false);
        Workspace {
            packages: BTreeMap::from([
                (Id::PROGRAM, app),
                (Id(1), library),
                (Id(2), maker),
                (Id(3), deep),
            ]),
            shared: Shared::default(),
            profile: Profile::default(),
            variables: Variables::default(),
        }
    }

    #[test]
    fn says_what_the_program_prints() {
        let one = "part1( sum=15 m3=5 about=10 assertions=true )";
        let three = "part3( sum=10 extra=true about=10 assertions=true )";
        let two = format!("part2( sum=20 about=10 assertions=true there=false {three} )");
        let expected = format!("app( sum=25 about=10 assertions=true {one} {two} )\n");
        assert_eq!(workspace().output(), expected);
    }

    #[test]
    fn features_of_the_host_are_its_own() {
        let mut workspace = workspace();
        let script = Script {
            uses: BTreeMap::from([(Id(3), true)]),
            ..Script::plain()
        };
        workspace.packages.remove(&Id(2));
        let app = workspace.packages.get_mut(&Id::PROGRAM).unwrap();
        app.uses = BTreeMap::from([(Id(3), false)]);
        app.script = Some(script);
        let extra = workspace.extra();
        assert_eq!(extra, BTreeSet::from([(Id(3), Place::Host)]));
    }

    #[test]
    fn what_a_change_reaches() {
        let before = workspace();
        assert_eq!(before.affected(&before, &BTreeSet::new()), BTreeSet::new());
        let changed = |change: &dyn Fn(&mut Workspace)| {
            let mut after = before.clone();
            change(&mut after);
            let affected = after.affected(&before, &BTreeSet::new());
            affected.into_iter().map(|id| id.0).collect::<Vec<_>>()
        };
        let notes = |workspace: &mut Workspace| {
            workspace.packages.get_mut(&Id(1)).unwrap().notes += 1;
        };
        assert_eq!(changed(&notes), [0; 0]);
        let constant = |workspace: &mut Workspace| {
            workspace.packages.get_mut(&Id(3)).unwrap().constant += 1;
        };
        assert_eq!(changed(&constant), [0, 2, 3]);
        // Who uses the macro looks again; the macro is as it was.
        assert_eq!(changed(&|workspace| workspace.shared.table = Some(10)), [0]);
        assert_eq!(changed(&|workspace| workspace.shared.listed = true), [0; 0]);
        assert_eq!(
            changed(&|workspace| workspace.profile.optimised = true),
            [0, 1, 2, 3]
        );
    }
}
