//! From a TOML tree to a checked [`Experiment`]: every violation at once. One file per group of
//! sections.

mod candidates;
mod data;
mod drift;
mod evaluate;
mod features;
mod search;
mod space;
mod split;

use super::experiment::Experiment;
use super::section::{Section, Violations};
use super::tree::Node;

use candidates::check_candidates;
use data::{check_data, check_simulate};
use drift::check_drift;
use evaluate::{check_evaluate, check_register};
use features::{check_features, check_inject};
use search::check_search;
pub(crate) use space::did_you_mean;
use split::check_split;

/// Checks the whole document.
pub(super) fn check(root: &Node, out: &mut Violations) -> Option<Experiment> {
    let mut document = Section::root(root);
    let mut head = document.table("experiment", out);
    let name = head.required_string("name", out);
    if let Some(name) = &name {
        check_name(&head, "name", name, out);
    }
    let seed = head.integer("seed", 0..=i64::MAX, out).unwrap_or(42);
    head.finish(out);

    let data_section = document.table("data", out);
    let simulate = check_simulate(document.table("simulate", out), out);
    let data = check_data(data_section, simulate, out);
    let kind = data.as_ref().map(|data| data.kind);
    let features = check_features(document.table("features", out), data.as_ref(), out);
    let inject = check_inject(document.table("inject", out), kind, out);
    let split = check_split(document.table("split", out), data.as_ref(), out);
    let candidates = check_candidates(&mut document, kind, data.as_ref(), out);
    let search = check_search(document.table("search", out), out);
    let evaluate = check_evaluate(document.table("evaluate", out), data.as_ref(), out);
    let drift = check_drift(document.table("drift", out), out);
    let register = check_register(document.table("register", out), out);
    document.finish(out);
    if !out.is_empty() {
        return None;
    }
    Some(Experiment {
        name: name?,
        seed: seed.unsigned_abs(),
        data: data?,
        features: features?,
        inject,
        split: split?,
        candidates,
        search,
        evaluate: evaluate?,
        drift,
        register,
    })
}

fn check_name(section: &Section<'_>, key: &str, name: &str, out: &mut Violations) {
    if name.len() > 250 || name.contains(['/', ':', '\n']) {
        section.report(
            key,
            format!("is `{name}`; a name has at most 250 bytes and none of `/`, `:`"),
            out,
        );
    }
}

fn count(integer: i64) -> usize {
    usize::try_from(integer).unwrap_or(0)
}
