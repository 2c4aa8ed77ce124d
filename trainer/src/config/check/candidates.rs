//! `[[candidates]]`.

use detectors::DetectorParams;

use super::check_name;
use super::space::detector_space;
use crate::config::experiment::{Candidate, Data, DataKind, Scope};
use crate::config::section::{Section, Violations};

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
    let detectors: Vec<(&str, &'static str)> = DetectorParams::NAMES
        .iter()
        .map(|name| (*name, *name))
        .collect();
    let mut candidates: Vec<Candidate> = Vec::new();
    for mut section in sections {
        section.require("detector", out);
        let detector = section.choice("detector", &detectors, out);
        let name = section
            .string("name", out)
            .unwrap_or_else(|| detector.unwrap_or("candidate").to_owned());
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
        let Some(detector) = detector else { continue };
        let detector = detector_space(&mut section, detector, out);
        section.finish(out);
        candidates.push(Candidate {
            name,
            scope,
            detector,
        });
    }
    candidates
}
