//! Runs a plan plainly, without isolation: fixed places become directories by replacing text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vx_core::places;
use vx_plan::{
    BuildOutput, CompileInputs, HostSource, Invocation, Mode, PackageRoot, compile, needs, out_dir,
    outputs, package_files, parse_build_output, parse_dep_info, run_build_script,
};

use super::Planned;

/// A plan that was run.
pub struct Executed {
    pub target: PathBuf,
    pub invocations: Vec<Invocation>,
    pub inputs: CompileInputs,
    /// Final outputs by name.
    pub finals: BTreeMap<String, PathBuf>,
}

struct Mapping(Vec<(String, String)>);

impl Mapping {
    fn of(planned: &Planned, target: &Path, out: &Path) -> Self {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut pairs = vec![
            (
                places::CHECKOUT.to_owned(),
                text(&planned.workspace.checkout),
            ),
            (
                places::TOOLCHAIN.to_owned(),
                text(&planned.workspace.toolchain.sysroot),
            ),
            (places::TARGET.to_owned(), text(target)),
            (places::OUT.to_owned(), text(out)),
        ];
        for (index, package) in planned.plan.packages.iter().enumerate() {
            let place = match &package.root {
                PackageRoot::Checkout { .. } => continue,
                PackageRoot::Archive { place, .. } | PackageRoot::Tree { place, .. } => place,
            };
            let host = match package_files(&planned.workspace, &planned.plan, index).unwrap() {
                HostSource::Directory(dir) | HostSource::Checkout(dir) => dir,
                // The archive is unpacked where cargo found the package.
                HostSource::Archive(_) => planned
                    .workspace
                    .host_paths(&package.found_at)
                    .into_iter()
                    .next()
                    .unwrap(),
            };
            pairs.push((place.clone(), text(&host)));
        }
        // The longest first, so that no name is cut short.
        pairs.sort_by_key(|(place, _)| std::cmp::Reverse(place.len()));
        Self(pairs)
    }

    fn to_host(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (place, host)| {
            text.replace(place, host)
        })
    }

    fn to_place(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (place, host)| {
            text.replace(host, place)
        })
    }
}

/// Runs all units in an order their dependencies allow.
pub fn execute(planned: &Planned, dir: &Path) -> Executed {
    let plan = &planned.plan;
    let target = dir.join("target");
    let mut executed = Executed {
        target: target.clone(),
        invocations: vec![
            Invocation {
                argv: vec![],
                env: BTreeMap::new(),
                cwd: String::new()
            };
            plan.units.len()
        ],
        inputs: CompileInputs::default(),
        finals: BTreeMap::new(),
    };
    let mut done = vec![false; plan.units.len()];
    for unit in 0..plan.units.len() {
        visit(planned, dir, unit, &mut done, &mut executed);
    }
    executed
}

fn visit(planned: &Planned, dir: &Path, unit: usize, done: &mut [bool], executed: &mut Executed) {
    if std::mem::replace(&mut done[unit], true) {
        return;
    }
    for dep in &planned.plan.units[unit].deps {
        visit(planned, dir, dep.unit, done, executed);
    }
    let out = dir.join(format!("out-{unit}"));
    std::fs::create_dir_all(&out).unwrap();
    let mapping = Mapping::of(planned, &executed.target, &out);
    check_needs(planned, unit, executed, &mapping);
    match planned.plan.units[unit].mode {
        Mode::Compile => run_compile(planned, unit, &out, &mapping, executed),
        Mode::RunBuildScript => run_script(planned, unit, &mapping, executed),
    }
}

/// Everything a unit is said to need is there.
fn check_needs(planned: &Planned, unit: usize, executed: &Executed, mapping: &Mapping) {
    let needs = needs(&planned.plan, unit);
    for dep in needs
        .rmeta
        .iter()
        .chain(&needs.rlib)
        .chain(&needs.dylib)
        .chain(&needs.build_script_binary)
    {
        for file in outputs(&planned.plan, *dep)
            .iter()
            .filter(|file| !file.optional)
        {
            let path = mapping.to_host(&file.place);
            assert!(Path::new(&path).exists(), "{path} is missing");
        }
    }
    let scripts = needs
        .own_build_script
        .iter()
        .chain(&needs.native_out_dirs)
        .chain(&needs.links_metadata);
    for script in scripts {
        assert!(executed.inputs.build_outputs.contains_key(script));
    }
}

fn run_compile(
    planned: &Planned,
    unit: usize,
    out: &Path,
    mapping: &Mapping,
    executed: &mut Executed,
) {
    let invocation = compile(&planned.plan, unit, &executed.inputs);
    let output = run(planned, &invocation, mapping);
    assert!(
        output.status.success(),
        "{:?}\n{}",
        invocation.argv,
        String::from_utf8_lossy(&output.stderr)
    );
    for file in outputs(&planned.plan, unit) {
        let made = out.join(&file.name);
        if !made.exists() {
            assert!(file.optional, "{} was not made", file.name);
            continue;
        }
        if file.name.ends_with(".d") {
            let info = parse_dep_info(&std::fs::read(&made).unwrap()).unwrap();
            assert!(!info.files.is_empty());
        }
        let place = PathBuf::from(mapping.to_host(&file.place));
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(&made, &place).unwrap();
        if let Some(name) = file.final_name {
            executed.finals.insert(name, place);
        }
    }
    executed.invocations[unit] = invocation;
}

fn run_script(planned: &Planned, unit: usize, mapping: &Mapping, executed: &mut Executed) {
    let mut output = BuildOutput::default();
    if planned.plan.units[unit].overridden.is_none() {
        std::fs::create_dir_all(mapping.to_host(&out_dir(&planned.plan, unit))).unwrap();
        let invocation = run_build_script(&planned.plan, unit, &executed.inputs);
        let ran = run(planned, &invocation, mapping);
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        let stdout = mapping.to_place(&String::from_utf8_lossy(&ran.stdout));
        output = parse_build_output(&planned.plan, unit, stdout.as_bytes()).unwrap();
        executed.invocations[unit] = invocation;
    }
    executed.inputs.build_outputs.insert(unit, output);
}

fn run(planned: &Planned, invocation: &Invocation, mapping: &Mapping) -> Output {
    let mut env: BTreeMap<String, String> = invocation
        .env
        .iter()
        .map(|(name, value)| (name.clone(), mapping.to_host(value)))
        .collect();
    for name in ["PATH", "HOME"] {
        env.entry(name.to_owned())
            .or_insert_with(|| planned.request.env[name].clone());
    }
    let argv: Vec<String> = invocation
        .argv
        .iter()
        .map(|arg| mapping.to_host(arg))
        .collect();
    Command::new(&argv[0])
        .args(&argv[1..])
        .current_dir(mapping.to_host(&invocation.cwd))
        .env_clear()
        .envs(env)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", argv[0]))
}
