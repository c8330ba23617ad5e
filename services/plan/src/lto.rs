//! Who of the graph takes part in LTO, and with what: cargo's rules.
//!
//! A unit is asked by each unit that depends on it, and the answers are merged: what one
//! dependent needs as bitcode and another as objects is made as both.

use std::collections::HashMap;

use crate::model::{Lto, Mode, Unit};

/// Decides for each unit that a root reaches.
pub(crate) fn decide(units: &mut [Unit], roots: &[usize]) {
    let mut decided: HashMap<usize, Lto> = HashMap::new();
    for root in roots {
        let first = of_root(&units[*root]);
        visit(units, &mut decided, *root, &first);
    }
    for (index, lto) in decided {
        units[index].lto = lto;
    }
}

fn can_lto(crate_type: &str) -> bool {
    matches!(crate_type, "bin" | "staticlib" | "cdylib")
}

fn is_dynamic(crate_type: &str) -> bool {
    matches!(crate_type, "dylib" | "cdylib" | "proc-macro")
}

fn needs_object(crate_types: &[&str]) -> bool {
    crate_types
        .iter()
        .any(|name| can_lto(name) || is_dynamic(name))
}

/// rustc can't run LTO with dylibs, so they alone need no bitcode.
fn with_objects(crate_types: &[&str]) -> Lto {
    if crate_types.iter().all(|name| *name == "dylib") {
        Lto::OnlyObject
    } else {
        Lto::ObjectAndBitcode
    }
}

fn of_root(unit: &Unit) -> Lto {
    let crate_types = unit.target.crate_types();
    match unit.profile.lto.as_str() {
        "false" => Lto::OnlyObject,
        "off" => Lto::Off,
        _ if unit.target.for_host() => Lto::OnlyObject,
        _ if needs_object(&crate_types) => with_objects(&crate_types),
        _ => Lto::OnlyBitcode,
    }
}

fn of_unit(unit: &Unit, parent: &Lto) -> Lto {
    let crate_types = unit.target.crate_types();
    if unit.target.for_host() || unit.mode == Mode::RunBuildScript {
        return Lto::OnlyObject;
    }
    if crate_types.iter().all(|name| can_lto(name)) {
        return match unit.profile.lto.as_str() {
            "true" => Lto::Run(None),
            "false" => Lto::OnlyObject,
            "off" => Lto::Off,
            named => Lto::Run(Some(named.to_owned())),
        };
    }
    match (parent, needs_object(&crate_types)) {
        (Lto::Run(_), false) => Lto::OnlyBitcode,
        (Lto::Run(_) | Lto::OnlyBitcode, true) => with_objects(&crate_types),
        (Lto::Off, _) => Lto::Off,
        (parent, _) => parent.clone(),
    }
}

fn merge(new: Lto, old: &Lto) -> Lto {
    match (new, old) {
        (Lto::Run(kind), _) => Lto::Run(kind),
        (_, Lto::Run(kind)) => Lto::Run(kind.clone()),
        (Lto::Off, _) | (_, Lto::Off) => Lto::Off,
        (Lto::OnlyBitcode, Lto::OnlyBitcode) => Lto::OnlyBitcode,
        (Lto::OnlyObject, Lto::OnlyObject) => Lto::OnlyObject,
        _ => Lto::ObjectAndBitcode,
    }
}

fn visit(units: &[Unit], decided: &mut HashMap<usize, Lto>, index: usize, parent: &Lto) {
    let own = of_unit(&units[index], parent);
    let merged = match decided.get(&index) {
        Some(old) => {
            let merged = merge(own, old);
            if merged == *old {
                return;
            }
            merged
        }
        None => own,
    };
    decided.insert(index, merged.clone());
    for dep in &units[index].deps {
        visit(units, decided, dep.unit, &merged);
    }
}
