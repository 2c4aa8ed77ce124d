//! `[[candidates]]`.

use super::check_name;
use crate::config::experiment::{Candidate, Data, DataKind, DetectorSpace, Scope};
use crate::config::section::{Section, Violations};
use crate::config::tree::Value;

pub(super) fn check_candidates(
    document: &mut Section<'_>,
    kind: Option<DataKind>,
    data: Option<&Data>,
    out: &mut Violations,
) -> Vec<Candidate> {
    let sections = document.tables("candidates", out);
    if sections.is_empty() && !document.has("candidates") {
        out.push(
            None,
            "candidates",
            "is missing; add a [[candidates]] table with a `detector`",
        );
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    for mut section in sections {
        section.require("detector", out);
        let choices = [("isolation_forest", true), ("max_z", false)];
        let is_forest = section.choice("detector", &choices, out);
        let default_name = match is_forest {
            Some(false) => "max_z",
            _ => "isolation_forest",
        };
        let name = section
            .string("name", out)
            .unwrap_or_else(|| default_name.to_owned());
        check_name(&section, "name", &name, out);
        if candidates.iter().any(|other| other.name == name) {
            section.report(
                "name",
                format!("is `{name}`, the name of another candidate"),
                out,
            );
        }
        let scope = section
            .choice(
                "scope",
                &[("global", Scope::Global), ("per_symbol", Scope::PerSymbol)],
                out,
            )
            .unwrap_or(Scope::Global);
        let without_symbols = kind == Some(DataKind::Features)
            && data.is_some_and(|data| data.symbol_column.is_none());
        if scope == Scope::PerSymbol && without_symbols {
            section.report(
                "scope",
                "is `per_symbol`, but the table has no `data.symbol_column`",
                out,
            );
        }
        let detector = match is_forest {
            Some(true) => DetectorSpace::IsolationForest {
                n_trees: count_space(&mut section, "n_trees", 1, 100_000, 100, out),
                sample_size: count_space(&mut section, "sample_size", 2, 16_777_216, 256, out),
                max_depth: optional_count_space(&mut section, "max_depth", 1, 64, out),
                max_features: optional_count_space(&mut section, "max_features", 1, 100_000, out),
            },
            Some(false) => DetectorSpace::MaxZ,
            None => continue,
        };
        section.finish(out);
        candidates.push(Candidate {
            name,
            scope,
            detector,
        });
    }
    candidates
}

fn count_space(
    section: &mut Section<'_>,
    key: &'static str,
    low: usize,
    high: usize,
    default: usize,
    out: &mut Violations,
) -> Vec<usize> {
    let expected = format!("an integer from {low} to {high}");
    let values = section.space(key, &expected, |value| as_count(value, low, high), out);
    values
        .filter(|values| !values.is_empty())
        .unwrap_or_else(|| vec![default])
}

fn optional_count_space(
    section: &mut Section<'_>,
    key: &'static str,
    low: usize,
    high: usize,
    out: &mut Violations,
) -> Vec<Option<usize>> {
    let expected = format!("an integer from {low} to {high}");
    let values = section.space(
        key,
        &expected,
        |value| as_count(value, low, high).map(Some),
        out,
    );
    values
        .filter(|values| !values.is_empty())
        .unwrap_or_else(|| vec![None])
}

fn as_count(value: &Value, low: usize, high: usize) -> Option<usize> {
    match value {
        Value::Integer(integer) => usize::try_from(*integer)
            .ok()
            .filter(|count| (low..=high).contains(count)),
        _ => None,
    }
}
