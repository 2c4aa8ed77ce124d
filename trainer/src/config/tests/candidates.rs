//! `[[candidates]]`, `[search]`, `[drift]`.

use super::*;

#[test]
fn a_forest_has_a_form_and_a_scoring_or_several_to_search_over() {
    for name in ["classic", "extended", "sci_forest", "fair_cut"] {
        let experiment = load_text(MINIMAL, &[&format!("candidates.0.form={name}")]).unwrap();
        assert_eq!(values(&experiment, "form"), [name]);
    }
    let all = [
        "candidates.0.form=[\"extended\", \"fair_cut\"]",
        "candidates.0.scoring=[\"path_length\", \"density\"]",
        "candidates.0.extension_level=[0, 2]",
        "candidates.0.n_candidates=[1, 5]",
        "candidates.0.hyperplane_columns=3",
        "candidates.0.penalize_range=[true, false]",
    ];
    let experiment = load_text(MINIMAL, &all).unwrap();
    for (key, expected) in [
        ("form", json!(["extended", "fair_cut"])),
        ("scoring", json!(["path_length", "density"])),
        ("extension_level", json!([0, 2])),
        ("n_candidates", json!([1, 5])),
        ("hyperplane_columns", json!([3])),
        ("penalize_range", json!([true, false])),
    ] {
        assert_eq!(json!(values(&experiment, key)), expected, "{key}");
    }
}

/// An experiment whose one candidate has these lines, the first in line 9.
fn with_candidate(lines: &str) -> String {
    MINIMAL.replace("detector = \"isolation_forest\"\n", lines)
}

#[test]
fn every_detector_is_a_candidate_and_every_key_may_be_searched() {
    for name in detectors::DetectorParams::NAMES {
        let text = with_candidate(&format!("detector = \"{name}\"\n"));
        let experiment = load_text(&text, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(experiment.candidates[0].name, *name);
        assert_eq!(experiment.candidates[0].detector.grid().unwrap().len(), 1);
        // A key that no detector has.
        refused(
            &format!("{text}n_threes = 1\n"),
            &[],
            &["x.toml:10:", "`candidates[0].n_threes` is not a known key"],
        );
        let defaults = serde_json::to_value(
            serde_json::from_value::<detectors::DetectorParams>(json!({ "detector": name }))
                .unwrap(),
        )
        .unwrap();
        for key in detectors::DetectorParams::keys(name).unwrap() {
            // The default twice is a space of two points, whatever its type.
            let Some(default) = defaults.get(*key).filter(|_| *key != "members") else {
                continue;
            };
            let text = format!("{text}{key} = [{default}, {default}]\n");
            let experiment = load_text(&text, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                experiment.candidates[0].detector.grid().unwrap().len(),
                2,
                "{name} {key}"
            );
        }
    }
}

#[test]
fn a_wrong_value_of_any_key_is_refused_at_its_line_with_what_is_allowed() {
    for (detector, wrong, parts) in [
        (
            "hbos",
            "n_bins = 0",
            ["is 0; allowed: 2 to 10000", "n_bins"],
        ),
        (
            "hbos",
            "n_bins = 2.5",
            ["is 2.5; allowed: a whole number, ", "n_bins"],
        ),
        (
            "knn",
            "n_neighbors = \"five\"",
            ["is `five`; allowed: a whole number, 1 to ", "n_neighbors"],
        ),
        (
            "knn",
            "distance = \"longest\"",
            ["did you mean `largest`", "distance"],
        ),
        (
            "dbscan",
            "eps = [0.5, 0]",
            ["is 0; allowed: a number above 0", "eps"],
        ),
        (
            "dbscan",
            "eps = nan",
            ["is NaN; allowed: a number above 0", "eps"],
        ),
        (
            "autoencoder",
            "widths = 16",
            ["is 16; allowed: 1 to 8 numbers", "widths"],
        ),
        (
            "autoencoder",
            "widths = [16, 0]",
            ["is `[16, 0]`; allowed: 1 to 8 numbers", "widths"],
        ),
        (
            "autoencoder",
            "learning_rate = true",
            ["is true; allowed: a number above 0", "learning_rate"],
        ),
        (
            "mahalanobis",
            "support = 0.2",
            ["is 0.2; allowed: 0.5 to 1", "support"],
        ),
        (
            "mahalanobis",
            "half_life = 100.0",
            ["only scatter `exponential` has it", "half_life"],
        ),
        (
            "gaussian_mixture",
            "covariance = \"ful\"",
            ["did you mean `full`", "covariance"],
        ),
        (
            "half_space_trees",
            "depth = []",
            ["is an empty search space", "depth"],
        ),
        (
            "candle_z",
            "features = \"return\"",
            ["is `return`; allowed: names", "features"],
        ),
        (
            "sliding_window",
            "quantile = 1.5",
            ["is 1.5; allowed: ", "quantile"],
        ),
        (
            "consensus",
            "members = 3",
            ["is an integer; write each member as", "members"],
        ),
        (
            "consensus",
            "combination = \"mean\"",
            ["which is none of", "combination"],
        ),
        ("max_z", "limit = 3", ["is not a known key", "limit"]),
    ] {
        let text = with_candidate(&format!("detector = \"{detector}\"\n{wrong}\n"));
        refused(&text, &[], &[&["x.toml:10:"][..], &parts[..]].concat());
    }
}

#[test]
fn widths_are_one_value_and_lists_of_them_a_search_space() {
    let text = with_candidate("detector = \"autoencoder\"\nwidths = [16, 4]\n");
    let experiment = load_text(&text, &[]).unwrap();
    assert_eq!(values(&experiment, "widths"), [json!([16, 4])]);
    let text = with_candidate("detector = \"autoencoder\"\nwidths = [[16, 4], [8]]\n");
    let experiment = load_text(&text, &[]).unwrap();
    assert_eq!(values(&experiment, "widths"), [json!([16, 4]), json!([8])]);
}

#[test]
fn members_of_a_consensus_are_tables_with_keys_of_their_own() {
    let text = with_candidate(
        "detector = \"consensus\"\ncombination = [\"fisher\", \"max\"]\n\
         [[candidates.members]]\ndetector = \"knn\"\nn_neighbors = 7\n\
         [[candidates.members]]\ndetector = \"ecod\"\n",
    );
    let experiment = load_text(&text, &[]).unwrap();
    let grid = experiment.candidates[0].detector.grid().unwrap();
    assert_eq!(grid.len(), 2);
    let second = serde_json::to_value(&grid[1]).unwrap();
    assert_eq!(second["combination"], "max");
    assert_eq!(second["members"][0]["n_neighbors"], 7);
    assert_eq!(second["members"][1]["detector"], "ecod");
    for (from, to, parts) in [
        (
            "n_neighbors = 7",
            "n_neighbors = 0",
            [
                "x.toml:13:",
                "`candidates[0].members[0].n_neighbors`",
                "is 0",
            ],
        ),
        (
            "n_neighbors = 7",
            "n_neighbors = [7, 9]",
            ["x.toml:13:", "one value for each key", "members[0]"],
        ),
        (
            "n_neighbors",
            "n_neighbours",
            ["x.toml:13:", "did you mean `n_neighbors`", "members[0]"],
        ),
        (
            "\"ecod\"",
            "\"ecot\"",
            ["x.toml:15:", "did you mean `ecod`", "members[1]"],
        ),
        (
            "\"ecod\"",
            "\"consensus\"",
            ["x.toml:15:", "which is none of", "members[1]"],
        ),
        (
            "[[candidates.members]]\ndetector = \"ecod\"\n",
            "",
            [
                "x.toml:11:",
                "`candidates[0].members`",
                "are 1; allowed: 2 to 32",
            ],
        ),
    ] {
        refused(&text.replace(from, to), &[], &parts);
    }
}

#[test]
fn a_search_is_checked_too() {
    let text = format!(
        "{MINIMAL}[search]\nmethod = \"halving\"\nmax_trials = 9\nmax_time = \"30m\"\n\
         trial_limit = \"90s\"\nthreads = 2\nreduction = 2\n"
    );
    let search = load_text(&text, &[]).unwrap().search;
    let expected = Search {
        method: SearchMethod::Halving,
        max_trials: 9,
        max_time: Some(1_800_000_000),
        trial_limit: Some(90_000_000),
        threads: Some(2),
        reduction: 2,
    };
    assert_eq!(search, expected);
    for (wrong, part) in [
        ("search.method=gird", "did you mean `grid`"),
        ("search.method=grid", "only method `halving` has it"),
        ("search.threads=0", "is 0"),
        ("search.max_time=0s", "no time at all"),
        ("search.trial_limit=soon", "write a duration"),
        ("search.max_trails=3", "did you mean `max_trials`"),
    ] {
        refused(&text, &[wrong], &["search.", part]);
    }
}

#[test]
fn what_drift_limits_are_asked_for_is_checked() {
    let minimal = load_text(MINIMAL, &[]).unwrap().drift;
    assert_eq!(minimal.windows, [1_000, 5_000]);
    let text = format!(
        "{MINIMAL}[drift]\nrun_length = 2000\nwindows = [500, 20_000]\nsilence = \"10m\"\n"
    );
    let expected = Drift {
        run_length: 2_000.0,
        windows: vec![500, 20_000],
        silence: Some(600_000_000),
    };
    assert_eq!(load_text(&text, &[]).unwrap().drift, expected);
    for (wrong, part) in [
        ("drift.run_length=1", "10 to 1000000 windows"),
        ("drift.windows=[5]", "holds 5; allowed: 100 to 10000000"),
        ("drift.windows=[500, 200]", "ascending"),
        ("drift.windows=500", "must be an array of integers"),
        ("drift.silence=soon", "write a duration"),
        (
            "drift.silence=5",
            "is an integer, but must be a duration such as",
        ),
        ("drift.run_lenght=3", "did you mean `run_length`"),
    ] {
        refused(&text, &[wrong], &["drift.", part]);
    }
}

#[test]
fn a_wrong_value_of_a_forests_key_names_its_line_and_the_nearest_one() {
    let lines = |lines: &str| format!("{MINIMAL}{lines}");
    refused(
        &lines("n_trees = 10\nform = \"scy_forest\"\n"),
        &[],
        &[
            "x.toml:11:",
            "`candidates[0].form`",
            "did you mean `sci_forest`",
        ],
    );
    refused(
        &lines("form = [\n  \"extended\",\n  \"fair\",\n]\n"),
        &[],
        &["x.toml:12:", "`fair`", "did you mean `fair_cut`"],
    );
    refused(
        &lines("form = 1\n"),
        &[],
        &["x.toml:10:", "`candidates[0].form` is 1", "`extended`"],
    );
    refused(
        &lines("form = []\n"),
        &[],
        &["x.toml:10:", "`candidates[0].form`", "empty search space"],
    );
    refused(
        &lines("scoring = \"densities\"\n"),
        &[],
        &["x.toml:10:", "did you mean `density`"],
    );
    refused(
        &lines("form = \"extended\"\nextention_level = 1\n"),
        &[],
        &["x.toml:11:", "did you mean `extension_level`"],
    );
    for (form, wrong) in [
        ("extended", "extension_level = 16384"),
        ("extended", "extension_level = -1"),
        ("sci_forest", "n_candidates = 0"),
        ("sci_forest", "n_candidates = 10001"),
        ("fair_cut", "hyperplane_columns = [2, 0]"),
        ("fair_cut", "penalize_range = 1"),
    ] {
        let key = wrong.split_once(' ').unwrap().0;
        refused(
            &lines(&format!("form = \"{form}\"\n{wrong}\n")),
            &[],
            &["x.toml:11:", &format!("`candidates[0].{key}`"), "allowed: "],
        );
    }
}

#[test]
fn keys_that_have_no_effect_on_a_form_are_refused() {
    let extended = "only form `extended` has it";
    let by_gain = "only form `sci_forest` or `fair_cut` has it";
    for (form, key, why) in [
        ("\"classic\"", "extension_level = 1", extended),
        ("\"sci_forest\"", "extension_level = 1", extended),
        ("\"extended\"", "n_candidates = 2", by_gain),
        ("[\"classic\", \"extended\"]", "n_candidates = 2", by_gain),
        ("\"classic\"", "hyperplane_columns = 2", by_gain),
        ("\"extended\"", "penalize_range = true", by_gain),
    ] {
        let name = key.split_once(' ').unwrap().0;
        refused(
            &format!("{MINIMAL}form = {form}\n{key}\n"),
            &[],
            &["x.toml:11:", &format!("`candidates[0].{name}`"), why],
        );
    }
    let text = format!("{MINIMAL}form = \"fair_cut\"\npenalize_range = true\n");
    load_text(&text, &[]).unwrap();
    refused(
        &text,
        &["candidates.0.scoring=density"],
        &[
            "x.toml:11:",
            "`candidates[0].penalize_range`",
            "only scoring `path_length` has it",
        ],
    );
    // Beside a form that has the key, one that hasn't is searched, too.
    let text = format!("{MINIMAL}form = [\"classic\", \"fair_cut\"]\nn_candidates = 2\n");
    load_text(&text, &[]).unwrap();
    // A form that can't be told has every key.
    let text = format!("{MINIMAL}form = \"scy_forest\"\nn_candidates = 2\n");
    let report = load_text(&text, &[]).unwrap_err();
    assert!(!report.contains("n_candidates"), "{report}");
}
