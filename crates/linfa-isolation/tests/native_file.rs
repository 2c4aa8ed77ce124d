//! The native file: a file written by version 1 must load for ever, damaged ones never.

#![allow(clippy::unwrap_used, missing_docs)] // A test may stop at its first failure.

mod common;

use std::path::PathBuf;

use common::uniform_table;
use linfa::ParamGuard;
use linfa_isolation::{
    FORMAT_VERSION, Form, FormatError, IsolationForest, IsolationForestParams, Missing, Scoring,
    Simd,
};
use ndarray::{Array1, Array2, ArrayView2};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", name]
        .iter()
        .collect()
}

fn small_forest() -> IsolationForest {
    fit(IsolationForest::params(20_080_101).n_trees(8))
}

/// One forest for each layout of the sections, and for each kind of kernel.
fn small_forests() -> [IsolationForest; 5] {
    let oblique = IsolationForest::params(1).form(Form::SciForest).n_trees(3);
    let both_ways = IsolationForest::params(1)
        .form(Form::FairCut)
        .missing(Missing::BothWays)
        .n_trees(3);
    let three_terms = IsolationForest::params(1)
        .form(Form::Extended { extension_level: 2 })
        .n_trees(2);
    let density = IsolationForest::params(1)
        .scoring(Scoring::Density)
        .n_trees(3);
    [
        small_forest(),
        fit(oblique),
        fit(density),
        fit(both_ways),
        fit(three_terms),
    ]
}

fn fit(params: IsolationForestParams) -> IsolationForest {
    let params = params.sample_size(40).check().unwrap();
    params.fit_view(uniform_table(120, 3, 7).view()).unwrap()
}

/// The table that a fixture's scores were computed from, and the scores.
fn scored(name: &str) -> (Array2<f64>, Array1<f64>) {
    let text = std::fs::read_to_string(fixture(&format!("{name}.scores.csv"))).unwrap();
    let values: Vec<f64> = text
        .split([',', '\n'])
        .filter(|field| !field.is_empty())
        .map(|field| field.parse().unwrap())
        .collect();
    let table = Array2::from_shape_vec((25, 4), values).unwrap();
    (
        table.slice(ndarray::s![.., ..3]).to_owned(),
        table.column(3).to_owned(),
    )
}

#[test]
fn files_of_all_versions_load_with_equal_scores() {
    for name in [
        "forest.v1",
        "classic.v2",
        "extended.v2",
        "sci_forest.v2",
        "fair_cut.v2",
        "density.v2",
        "adjusted_depth.v2",
    ] {
        let bytes = std::fs::read(fixture(&format!("{name}.bin"))).unwrap();
        let forest = IsolationForest::from_bytes(&bytes).unwrap();
        assert_eq!(forest.n_trees(), 8);
        assert_eq!(forest.sample_size(), 40);
        let (records, scores) = scored(name);
        assert_eq!(
            forest.score_samples(records.view()).unwrap(),
            scores,
            "{name}"
        );
        if name.ends_with("v2") {
            assert!(
                forest.to_bytes() == bytes,
                "{name} is written as it was read"
            );
        }
    }
}

/// Fits are part of what stays: a model's bytes are its identity.
#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn the_same_seed_still_grows_the_forests_of_the_fixtures() {
    let extended = Form::Extended { extension_level: 1 };
    for (name, params) in [
        ("forest.v1", IsolationForest::params(20_080_101)),
        ("classic.v2", IsolationForest::params(20_080_101)),
        ("extended.v2", IsolationForest::params(1).form(extended)),
        (
            "sci_forest.v2",
            IsolationForest::params(2).form(Form::SciForest),
        ),
        (
            "fair_cut.v2",
            IsolationForest::params(3)
                .form(Form::FairCut)
                .missing(Missing::BothWays),
        ),
        (
            "density.v2",
            IsolationForest::params(4).scoring(Scoring::Density),
        ),
        (
            "adjusted_depth.v2",
            IsolationForest::params(5).scoring(Scoring::AdjustedDepth),
        ),
    ] {
        let bytes = std::fs::read(fixture(&format!("{name}.bin"))).unwrap();
        let stored = IsolationForest::from_bytes(&bytes).unwrap();
        let params = params.n_trees(8).sample_size(40).check().unwrap();
        let grown = params.fit_view(uniform_table(120, 3, 7).view()).unwrap();
        assert!(grown.to_bytes() == stored.to_bytes(), "{name}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn every_truncation_is_refused() {
    for forest in small_forests() {
        let bytes = forest.to_bytes();
        for len in 0..bytes.len() {
            assert!(IsolationForest::from_bytes(&bytes[..len]).is_err(), "{len}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let refused = IsolationForest::from_bytes(&longer);
        assert!(matches!(refused, Err(FormatError::WrongLength { .. })));
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn every_damaged_byte_is_refused() {
    let bytes = small_forest().to_bytes();
    for position in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= flip;
            assert!(IsolationForest::from_bytes(&damaged).is_err(), "{position}");
        }
    }
}

#[test]
fn newer_and_foreign_files_are_named_as_such() {
    let mut newer = small_forest().to_bytes();
    newer[8] = FORMAT_VERSION as u8 + 1;
    assert_eq!(
        IsolationForest::from_bytes(&newer).unwrap_err().to_string(),
        "format version 3 is newer than the newest known version 2"
    );
    for foreign in [
        &b""[..],
        b"PK\x03\x04",
        b"LINFAISX and more than the header needs",
    ] {
        let refused = IsolationForest::from_bytes(foreign);
        assert!(matches!(refused, Err(FormatError::BadMagic)));
    }
}

/// CRC-32, bit by bit: hostile bytes come with a right checksum.
fn with_checksum(mut payload: Vec<u8>) -> Vec<u8> {
    let mut crc = u32::MAX;
    for &byte in &payload {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    payload.extend_from_slice(&(!crc).to_le_bytes());
    payload
}

/// Loads or refuses, and what loads can be used.
fn load_and_use(bytes: &[u8]) -> bool {
    let Ok(forest) = IsolationForest::from_bytes(bytes) else {
        return false;
    };
    if forest.n_features() > 64 {
        return true;
    }
    let mut records = uniform_table(20, forest.n_features(), 3) * 2.0 - 0.5;
    records.row_mut(1).fill(1e300);
    if forest.missing() == Missing::BothWays {
        records.row_mut(2).fill(f64::NAN);
        records[[3, 0]] = f64::NAN;
    }
    let scores = forest.score_samples(records.view()).unwrap();
    for (row, &score) in records.rows().into_iter().zip(&scores) {
        assert!(0.0 < score && score < 1.0, "{score}");
        assert_eq!(forest.score_one(&row.to_vec()).unwrap(), score);
    }
    let why = forest.contributions(records.view()).unwrap();
    assert_eq!(why.scores, scores);
    let portable = forest.with_simd(Simd::Portable).unwrap();
    assert_eq!(portable.score_samples(records.view()).unwrap(), scores);
    true
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn hostile_numbers_with_a_right_checksum_do_no_harm() {
    for forest in small_forests() {
        let bytes = forest.to_bytes();
        let payload = &bytes[..bytes.len() - 4];
        assert!(load_and_use(&with_checksum(payload.to_vec())));
        // Every 32-bit word in turn becomes a number that indices and lengths might trip over.
        let mut n_accepted = 0;
        for word in (8..payload.len()).step_by(4) {
            for hostile in [0_u32, 1, 2, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX] {
                let mut changed = payload.to_vec();
                changed[word..word + 4].copy_from_slice(&hostile.to_le_bytes());
                n_accepted += usize::from(load_and_use(&with_checksum(changed)));
            }
        }
        assert!(n_accepted > 0, "a seed may be anything");
    }
}

#[test]
fn a_header_that_promises_too_much_claims_no_memory() {
    let mut bytes = small_forest().to_bytes();
    bytes.truncate(72);
    for (n_trees, n_nodes) in [
        (1, u64::MAX),
        (u32::MAX, u64::MAX / 12),
        (1_000_000, 1 << 40),
    ] {
        bytes[12..16].copy_from_slice(&u32::to_le_bytes(n_trees));
        bytes[32..40].copy_from_slice(&u64::to_le_bytes(n_nodes));
        let refused = IsolationForest::from_bytes(&with_checksum(bytes.clone()));
        assert!(matches!(refused, Err(FormatError::WrongLength { .. })));
    }
}

#[test]
fn serde_checks_what_it_reads() {
    let accepted = r#"{"n_features":1,"sample_size":2,"seed":1,"trees":[[
        {"inner":{"feature":0,"threshold":0.5}},{"leaf":{"n_rows":1}},{"leaf":{"n_rows":1}}]]}"#;
    let forest: IsolationForest = serde_json::from_str(accepted).unwrap();
    assert_eq!(forest.depth(), 1);
    for (from, to) in [
        ("\"feature\":0", "\"feature\":1"),
        ("\"n_features\":1", "\"n_features\":0"),
        ("\"sample_size\":2", "\"sample_size\":3"),
        (",{\"leaf\":{\"n_rows\":1}}]", "]"),
        ("\"seed\":1", "\"seed\":1,\"extra\":1"),
    ] {
        let refused: Result<IsolationForest, _> =
            serde_json::from_str(&accepted.replacen(from, to, 1));
        assert!(refused.is_err(), "{to}");
    }
}

/// No fit grows such a tree, but a file may hold one: neither walks nor credits may recurse.
#[test]
fn a_tree_like_a_chain_overflows_no_stack() {
    let n_splits = if cfg!(miri) { 500 } else { 100_000 };
    let step = r#"{"inner":{"feature":0,"threshold":0.5}},{"leaf":{"n_rows":1}},"#;
    let json = format!(
        r#"{{"n_features":2,"sample_size":{},"seed":1,"missing":"both_ways","trees":[[
            {{"inner":{{"feature":0,"threshold":0.5}}}},{}{{"leaf":{{"n_rows":1}}}},{{"leaf":{{"n_rows":1}}}}]]}}"#,
        n_splits + 1,
        step.repeat(n_splits - 1),
    );
    let forest: IsolationForest = serde_json::from_str(&json).unwrap();
    assert_eq!(forest.depth(), n_splits);
    let forest = IsolationForest::from_bytes(&forest.to_bytes()).unwrap();
    for row in [[f64::NAN, 0.0], [0.0, 0.0], [1.0, f64::NAN]] {
        let score = forest.score_one(&row).unwrap();
        let why = forest.contributions(ArrayView2::from(&[row])).unwrap();
        assert_eq!(why.scores[0], score);
        assert!((why.total().sum() - score).abs() < 1e-12);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!load_and_use(&bytes));
        for version in [1, 2] {
            let mut with_magic = b"LINFAISO".to_vec();
            with_magic.extend([version, 0, 0, 0]);
            with_magic.extend(&bytes);
            load_and_use(&with_checksum(with_magic));
        }
    }

    #[test]
    fn random_changes_with_a_right_checksum_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        which in 0_usize..5,
    ) {
        let bytes = small_forests()[which].to_bytes();
        let mut payload = bytes[..bytes.len() - 4].to_vec();
        for (position, value) in changes {
            let position = position.index(payload.len());
            payload[position] = value;
        }
        load_and_use(&with_checksum(payload));
    }
}
