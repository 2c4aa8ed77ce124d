//! Calibrated scores: monotone, finite, unbounded, and true to the rates they name.

use detectors::Calibrator;
use proptest::prelude::*;

use crate::market::Xorshift;

fn exponential(n: usize, seed: u64) -> Vec<f64> {
    let mut random = Xorshift(seed * 2 + 1);
    (0..n).map(|_| -(1.0 - random.uniform()).ln()).collect()
}

fn pareto(n: usize, shape: f64, seed: u64) -> Vec<f64> {
    let mut random = Xorshift(seed * 2 + 1);
    (0..n)
        .map(|_| (1.0 - random.uniform()).powf(-shape))
        .collect()
}

#[test]
fn fifty_times_beyond_ranks_above_five_times() {
    for scores in [
        exponential(5_000, 1),
        pareto(5_000, 0.4, 2),
        (0..5_000).map(|i| f64::from(i) / 5_000.0).collect(), // bounded, as a forest's
        exponential(12, 3),
        vec![0.5; 1_000],
        vec![2.0],
    ] {
        let calibrator = Calibrator::fit(&scores).unwrap();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let steps: Vec<f64> = [1.0, 5.0, 50.0, 500.0, 1e6, 1e12]
            .map(|times| calibrator.neg_log10_tail(times * largest))
            .into();
        assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
        assert!(steps.iter().all(|t| t.is_finite()));
    }
}

#[test]
fn validation_rows_exceed_a_tail_as_often_as_it_says() {
    for scores in [
        exponential(20_000, 4),
        pareto(20_000, 0.3, 5),
        exponential(20_000, 6).iter().map(|e| (-e).exp()).collect(), // uniform: bounded above
        exponential(20_000, 7).iter().map(|e| e.floor()).collect(),  // heavy ties
    ] {
        let calibrator = Calibrator::fit(&scores).unwrap();
        for p in [0.5, 0.1, 0.01, 0.001] {
            let beyond = scores
                .iter()
                .filter(|s| calibrator.neg_log10_tail(**s) > -f64::log10(p))
                .count() as f64;
            assert!(beyond <= p * 20_000.0 * 1.01 + 1.0, "{beyond} beyond {p}");
        }
    }
    // Without ties the rate is met, not only kept.
    let calibrator = Calibrator::fit(&exponential(20_000, 4)).unwrap();
    let beyond = |p: f64| {
        let scores = exponential(20_000, 4).into_iter();
        scores
            .filter(|s| calibrator.neg_log10_tail(*s) > -p.log10())
            .count()
    };
    assert!((1_990..=2_005).contains(&beyond(0.1)), "{}", beyond(0.1));
    assert!((19..=20).contains(&beyond(0.001)), "{}", beyond(0.001));
}

#[test]
fn the_tail_goes_on_as_the_scores_do() {
    // −log10 p of an exponential score s is s / ln 10; ten thousand rows end near 4.
    let calibrator = Calibrator::fit(&exponential(10_000, 8)).unwrap();
    for t in [5.0, 6.0, 8.0] {
        let found = calibrator.neg_log10_tail(t * std::f64::consts::LN_10);
        assert!((found / t - 1.0).abs() < 0.25, "{found} for {t}");
    }
    // A Pareto score of shape 0.4 has p = s^(−1/0.4). One estimate of a shape is uncertain by
    // about 0.08, the median of 21 by 0.02.
    let fits: Vec<Calibrator> = (0..21)
        .map(|seed| Calibrator::fit(&pareto(20_000, 0.4, 100 + seed)).unwrap())
        .collect();
    let median = |figure: &dyn Fn(&Calibrator) -> f64| {
        let mut figures: Vec<f64> = fits.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[10]
    };
    let shape = median(&Calibrator::shape);
    assert!((shape - 0.4).abs() < 0.08, "{shape}");
    for t in [5.0, 6.0, 8.0] {
        let found = median(&|c| c.neg_log10_tail(10f64.powf(t * 0.4)));
        assert!((found / t - 1.0).abs() < 0.12, "{found} for {t}");
    }
    // A bounded score gets an exponential tail, not an end.
    let uniform: Vec<f64> = (0..10_000).map(|i| f64::from(i) / 1e4).collect();
    assert_eq!(Calibrator::fit(&uniform).unwrap().shape(), 0.0);
}

#[test]
fn memory_is_bounded_and_thinning_is_fine() {
    let scores = exponential(300_000, 10);
    let calibrator = Calibrator::fit(&scores).unwrap();
    assert!(calibrator.n_knots() <= 2_000, "{}", calibrator.n_knots());
    assert_eq!(calibrator.n_scores(), 300_000);
    let mut sorted = scores;
    sorted.sort_by(f64::total_cmp);
    for rank in [10, 100, 1_000, 30_000, 150_000, 299_000] {
        let exact = -(f64::from(rank) / 300_001.0).log10();
        let found = calibrator.neg_log10_tail(sorted[300_000 - rank as usize]);
        assert!((found - exact).abs() < 1e-2, "{found} for {exact}");
    }
}

#[test]
fn one_constant_or_tied_scores_are_handled() {
    let one = Calibrator::fit(&[3.0]).unwrap();
    assert!((one.tail_probability(3.0) - 0.5).abs() < 1e-12);
    assert!(one.neg_log10_tail(2.9) < one.neg_log10_tail(3.0));
    assert!(one.neg_log10_tail(3.1) > one.neg_log10_tail(3.0));

    // Nothing of a thousand equal rows was above: a little higher is p = 1 / 1,001.
    let constant = Calibrator::fit(&[0.5; 1_000]).unwrap();
    assert!(constant.neg_log10_tail(0.5) < 1e-3);
    assert!(constant.neg_log10_tail(0.51) > 3.0);
    assert!(constant.neg_log10_tail(0.49) < constant.neg_log10_tail(0.5));

    let zeros = Calibrator::fit(&[0.0, -0.0, 0.0]).unwrap();
    assert_eq!(zeros.neg_log10_tail(0.0), zeros.neg_log10_tail(-0.0));
    assert!(zeros.neg_log10_tail(1.0) > zeros.neg_log10_tail(0.0));
}

#[test]
fn not_a_number_and_infinity_have_a_meaning() {
    let calibrator = Calibrator::fit(&exponential(100, 11)).unwrap();
    assert_eq!(calibrator.neg_log10_tail(f64::NAN), 0.0);
    assert!(calibrator.neg_log10_tail(f64::INFINITY).is_finite());
    assert!(calibrator.neg_log10_tail(f64::INFINITY) > 100.0);
    assert_eq!(calibrator.tail_probability(f64::NEG_INFINITY), 1.0);
    assert!(calibrator.score_at(f64::NAN).is_finite());
    assert!(Calibrator::fit(&[]).is_err());
    let error = Calibrator::fit(&[1.0, f64::NAN]).unwrap_err().to_string();
    assert!(error.contains("row 1"), "{error}");
}

#[test]
fn json_and_bytes_bring_it_back() {
    let calibrator = Calibrator::fit(&exponential(5_000, 12)).unwrap();
    let bytes = calibrator.to_bytes();
    assert_eq!(Calibrator::from_bytes(&bytes).unwrap(), calibrator);
    let json = serde_json::to_string(&calibrator).unwrap();
    let back: Calibrator = serde_json::from_str(&json).unwrap();
    assert_eq!(back.to_bytes(), bytes);
    let hostile = json.replacen("\"low_scale\":", "\"low_scale\":-", 1);
    assert!(serde_json::from_str::<Calibrator>(&hostile).is_err());
    for cut in [0, 7, 8, 100, bytes.len() - 1] {
        assert!(Calibrator::from_bytes(&bytes[..cut]).is_err(), "{cut}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Calibrator::from_bytes(&longer).is_err());
}

fn any_finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()),
        -1e3..1e3,
        (-20i32..20).prop_map(f64::from),
        Just(f64::MAX),
        Just(f64::MIN),
        Just(f64::MIN_POSITIVE),
    ]
}

proptest! {
    #[test]
    fn monotone_and_finite_for_any_finite_input(
        scores in prop::collection::vec(any_finite(), 1..300),
        mut asked in prop::collection::vec(any_finite(), 1..50),
    ) {
        let calibrator = Calibrator::fit(&scores).unwrap();
        asked.extend(&scores);
        asked.sort_by(f64::total_cmp);
        let tails: Vec<f64> = asked.iter().map(|s| calibrator.neg_log10_tail(*s)).collect();
        prop_assert!(tails.iter().all(|t| t.is_finite() && *t >= 0.0), "{tails:?}");
        prop_assert!(tails.is_sorted(), "{asked:?} {tails:?}");
        let bytes = calibrator.to_bytes();
        prop_assert_eq!(Calibrator::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn strictly_monotone_where_floats_can_tell(
        scores in prop::collection::vec(-100.0..100.0, 1..300),
        mut asked in prop::collection::vec((-4_000i32..4_000).prop_map(|v| f64::from(v) / 8.0), 2..50),
    ) {
        let calibrator = Calibrator::fit(&scores).unwrap();
        asked.sort_by(f64::total_cmp);
        asked.dedup();
        let tails: Vec<f64> = asked.iter().map(|s| calibrator.neg_log10_tail(*s)).collect();
        prop_assert!(tails.is_sorted_by(|a, b| a < b), "{asked:?} {tails:?}");
    }

    #[test]
    fn the_inverse_is_one(
        scores in prop::collection::vec(-100.0..100.0, 1..300),
        tail in 1e-3..30.0,
    ) {
        let calibrator = Calibrator::fit(&scores).unwrap();
        let back = calibrator.neg_log10_tail(calibrator.score_at(tail));
        prop_assert!((back - tail).abs() <= 1e-6 * tail.max(1.0), "{tail} came back as {back}");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(calibrator) = Calibrator::from_bytes(&bytes) {
            prop_assert!(calibrator.neg_log10_tail(1.0).is_finite());
        }
    }
}
