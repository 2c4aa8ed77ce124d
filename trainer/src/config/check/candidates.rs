//! `[[candidates]]`.

use detectors::{ForestForm, ForestScoring, IsolationForestConfig};

use super::check_name;
use crate::config::experiment::{Candidate, Data, DataKind, DetectorSpace, ForestSpace, Scope};
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
            Some(true) => DetectorSpace::IsolationForest(Box::new(forest_space(&mut section, out))),
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

const SCORINGS: [(&str, ForestScoring); 3] = [
    ("path_length", ForestScoring::PathLength),
    ("adjusted_depth", ForestScoring::AdjustedDepth),
    ("density", ForestScoring::Density),
];

fn forest_space(section: &mut Section<'_>, out: &mut Violations) -> ForestSpace {
    let forms: Vec<(&str, ForestForm)> = ForestForm::ALL
        .iter()
        .map(|form| (form.name(), *form))
        .collect();
    let form = section.choice_space("form", &forms, ForestForm::Classic, out);
    let scoring = section.choice_space("scoring", &SCORINGS, ForestScoring::PathLength, out);
    let most_level = IsolationForestConfig::MAX_EXTENSION_LEVEL;
    let most_candidates = IsolationForestConfig::MAX_CANDIDATES;
    let most_columns = IsolationForestConfig::MAX_HYPERPLANE_COLUMNS;
    let space = ForestSpace {
        n_trees: count_space(section, "n_trees", 1, 100_000, 100, out),
        sample_size: count_space(section, "sample_size", 2, 16_777_216, 256, out),
        max_depth: optional_count_space(section, "max_depth", 1, 64, out),
        max_features: optional_count_space(section, "max_features", 1, 100_000, out),
        extension_level: optional_count_space(section, "extension_level", 0, most_level, out),
        n_candidates: optional_count_space(section, "n_candidates", 1, most_candidates, out),
        hyperplane_columns: optional_count_space(
            section,
            "hyperplane_columns",
            1,
            most_columns,
            out,
        ),
        penalize_range: boolean_space(section, "penalize_range", out),
        // A value that was refused is no reason to refuse the keys that may go with it.
        form: form.clone().unwrap_or_default(),
        scoring: scoring.clone().unwrap_or_default(),
    };
    let (Some(form), Some(scoring)) = (form, scoring) else {
        return space;
    };
    if !form.contains(&ForestForm::Extended) {
        refuse_key(section, "extension_level", "form", &["extended"], out);
    }
    if !form.iter().any(|form| form.by_gain()) {
        for key in ["n_candidates", "hyperplane_columns", "penalize_range"] {
            refuse_key(section, key, "form", &["sci_forest", "fair_cut"], out);
        }
    } else if scoring
        .iter()
        .all(|scoring| *scoring != ForestScoring::PathLength)
    {
        refuse_key(section, "penalize_range", "scoring", &["path_length"], out);
    }
    space
}

/// Reports `key`, if it was given, which only `choices` of `chooser` have.
fn refuse_key(
    section: &Section<'_>,
    key: &str,
    chooser: &str,
    choices: &[&str],
    out: &mut Violations,
) {
    if section.has(key) {
        let message = format!(
            "has no effect here; only {chooser} `{}` has it",
            choices.join("` or `")
        );
        section.report(key, message, out);
    }
}

fn boolean_space(
    section: &mut Section<'_>,
    key: &'static str,
    out: &mut Violations,
) -> Vec<Option<bool>> {
    let as_boolean = |value: &Value| match value {
        Value::Bool(boolean) => Some(Some(*boolean)),
        _ => None,
    };
    let values = section.space(key, "true or false", as_boolean, out);
    values
        .filter(|values| !values.is_empty())
        .unwrap_or_else(|| vec![None])
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
