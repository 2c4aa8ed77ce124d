//! The simulator: deterministic, independent symbols, the stylized facts of markets.

use market::{
    Arrivals, Candle, HOUR_US, Interval, SECOND_US, SimulateConfig, SimulatedSymbol, Trade,
    ValidSimulateConfig,
};

const MONDAY: i64 = 1_704_067_200_000_000;

fn config(seed: u64, names: &[&str], hours: i64, trades_per_second: f64) -> ValidSimulateConfig {
    SimulateConfig {
        seed,
        symbols: names
            .iter()
            .map(|name| SimulatedSymbol::new(*name, 25_000.0))
            .collect(),
        start: MONDAY,
        duration: hours * HOUR_US,
        trades_per_second,
        arrivals: Arrivals::Hawkes,
        regimes: Vec::new(),
    }
    .check()
    .unwrap()
}

#[test]
fn the_same_seed_gives_the_same_trades_whatever_the_other_symbols_are() {
    let trades = |config: ValidSimulateConfig| config.trades("A").unwrap().collect::<Vec<Trade>>();
    let alone = trades(config(1, &["A"], 3, 1.0));
    assert_eq!(alone, trades(config(1, &["B", "A"], 3, 1.0)));
    assert_ne!(alone, trades(config(2, &["A"], 3, 1.0)));
    let other: Vec<Trade> = config(1, &["A", "B"], 3, 1.0)
        .trades("B")
        .unwrap()
        .collect();
    assert_ne!(alone, other);
    assert!(config(1, &["A"], 1, 1.0).trades("C").is_none());
    let text = serde_json::to_string(&config(1, &["A"], 3, 1.0)).unwrap();
    assert_eq!(trades(serde_json::from_str(&text).unwrap()), alone);
    let short = r#"{"name":"A","start_price":25000.0}"#;
    let symbol: SimulatedSymbol = serde_json::from_str(short).unwrap();
    assert_eq!(symbol, SimulatedSymbol::new("A", 25_000.0));
    assert!(serde_json::from_str::<SimulatedSymbol>(&short.replace("name", "nmae")).is_err());
}

#[test]
fn trades_are_well_formed() {
    let config = config(3, &["A"], 168, 0.5);
    let mut last = (MONDAY, 0);
    let mut n_trades = 0;
    let mut n_buys = 0;
    for trade in config.trades("A").unwrap() {
        trade.check().unwrap();
        let id = trade.trade_id.unwrap();
        assert!(trade.event_time >= last.0 && id == last.1 + 1);
        assert!(trade.event_time < MONDAY + 168 * HOUR_US);
        last = (trade.event_time, id);
        let ticks = trade.price / 0.1;
        assert!((ticks - ticks.round()).abs() < 1e-6, "{}", trade.price);
        let lots = trade.quantity / 0.001;
        assert!(
            (lots - lots.round()).abs() < 1e-6 && lots > 0.5,
            "{}",
            trade.quantity
        );
        n_trades += 1;
        n_buys += u64::from(trade.side == market::Side::Buy);
    }
    let expected = 168.0 * 3600.0 * 0.5;
    assert!(
        (f64::from(n_trades) / expected - 1.0).abs() < 0.15,
        "{n_trades} for {expected}"
    );
    assert!((n_buys as f64 / f64::from(n_trades) - 0.5).abs() < 0.02);
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    let mean = mean(values);
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    values
        .windows(lag + 1)
        .map(|window| (window[0] - mean) * (window[lag] - mean))
        .sum::<f64>()
        / variance
}

#[test]
fn returns_show_the_stylized_facts() {
    let config = config(5, &["A"], 28 * 24, 0.3);
    let candles: Vec<Candle> = config.candles("A", Interval::MINUTE).unwrap().collect();
    for pair in candles.windows(2) {
        assert!(pair[0].open_time < pair[1].open_time);
    }
    let returns: Vec<f64> = candles
        .windows(2)
        .map(|pair| (pair[1].close / pair[0].close).ln())
        .collect();
    let center = mean(&returns);
    let moment = |power: i32| {
        mean(
            &returns
                .iter()
                .map(|r| (r - center).powi(power))
                .collect::<Vec<_>>(),
        )
    };
    let kurtosis = moment(4) / moment(2).powi(2);
    assert!(kurtosis > 4.0 && kurtosis < 200.0, "kurtosis {kurtosis}");
    // The configured volatility: half a percent per hour.
    let hourly = (moment(2) * 60.0).sqrt();
    assert!(
        (hourly / 0.005 - 1.0).abs() < 0.25,
        "hourly volatility {hourly}"
    );
    let absolute: Vec<f64> = returns.iter().map(|r| r.abs()).collect();
    for lag in [1, 5, 20] {
        assert!(
            autocorrelation(&absolute, lag) > 0.05,
            "lag {lag}: {}",
            autocorrelation(&absolute, lag)
        );
        assert!(
            autocorrelation(&returns, lag).abs() < 0.06,
            "lag {lag}: {}",
            autocorrelation(&returns, lag)
        );
    }
    let hour = |candle: &Candle| (candle.open_time - MONDAY) / HOUR_US % 24;
    let day = |candle: &Candle| (candle.open_time - MONDAY) / HOUR_US / 24 % 7;
    let mean_count = |keep: &dyn Fn(&Candle) -> bool| {
        let counts: Vec<f64> = candles
            .iter()
            .filter(|candle| keep(candle))
            .map(|candle| candle.trade_count.unwrap() as f64)
            .collect();
        mean(&counts)
    };
    assert!(
        mean_count(&|candle| hour(candle) == 15) > 1.8 * mean_count(&|candle| hour(candle) == 3)
    );
    assert!(mean_count(&|candle| day(candle) < 5) > 1.3 * mean_count(&|candle| day(candle) >= 5));
}

/// Trades come in clusters: counts per ten seconds vary more than a Poisson process's would.
#[test]
fn arrivals_cluster() {
    let counts: Vec<f64> = config(7, &["A"], 1, 20.0)
        .candles("A", Interval::from_micros(SECOND_US).unwrap())
        .unwrap()
        .map(|candle| candle.trade_count.unwrap() as f64)
        .collect();
    let mean = mean(&counts);
    let variance = counts
        .iter()
        .map(|count| (count - mean).powi(2))
        .sum::<f64>()
        / counts.len() as f64;
    assert!(variance > 1.3 * mean, "variance {variance}, mean {mean}");
}

#[test]
fn configuration_reports_every_violation() {
    let error = SimulateConfig {
        seed: 0,
        symbols: vec![
            SimulatedSymbol::new("A", f64::NAN),
            SimulatedSymbol {
                hourly_volatility: 2.0,
                lot: 0.0,
                ..SimulatedSymbol::new("A", 1.0)
            },
        ],
        start: i64::MAX,
        duration: 0,
        trades_per_second: -1.0,
        arrivals: Arrivals::Hawkes,
        regimes: Vec::new(),
    }
    .check()
    .unwrap_err();
    let keys: Vec<_> = error
        .violations
        .iter()
        .map(|violation| violation.key)
        .collect();
    for key in [
        "name",
        "start_price",
        "hourly_volatility",
        "tick",
        "lot",
        "start",
        "duration",
        "trades_per_second",
    ] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
}
