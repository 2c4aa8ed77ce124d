//! Symbols as they are traded: their steps of price and quantity, and about what they cost.

use market::SimulatedSymbol;

/// Name, price, tick, lot, hourly volatility, median quantity: as Binance's spot market lists them,
/// with prices and sizes of early 2025, rounded.
const LISTED: [(&str, f64, f64, f64, f64, f64); 20] = [
    ("BTCUSDT", 95_000.0, 0.01, 0.000_01, 0.005, 0.002),
    ("ETHUSDT", 2_700.0, 0.01, 0.000_1, 0.006, 0.05),
    ("BNBUSDT", 620.0, 0.01, 0.001, 0.005, 0.1),
    ("SOLUSDT", 190.0, 0.01, 0.001, 0.008, 0.8),
    ("XRPUSDT", 2.6, 0.000_1, 0.1, 0.008, 100.0),
    ("DOGEUSDT", 0.25, 0.000_01, 1.0, 0.009, 600.0),
    ("ADAUSDT", 0.75, 0.000_1, 0.1, 0.009, 150.0),
    ("TRXUSDT", 0.24, 0.000_1, 0.1, 0.005, 500.0),
    ("AVAXUSDT", 25.0, 0.01, 0.01, 0.008, 5.0),
    ("LINKUSDT", 18.0, 0.01, 0.01, 0.008, 5.0),
    ("DOTUSDT", 5.0, 0.001, 0.01, 0.008, 20.0),
    ("LTCUSDT", 120.0, 0.01, 0.001, 0.007, 0.8),
    ("BCHUSDT", 320.0, 0.1, 0.001, 0.007, 0.3),
    ("NEARUSDT", 3.3, 0.001, 0.1, 0.009, 30.0),
    ("FILUSDT", 3.3, 0.001, 0.01, 0.009, 30.0),
    ("ATOMUSDT", 4.7, 0.001, 0.01, 0.008, 20.0),
    ("ALGOUSDT", 0.28, 0.000_1, 1.0, 0.009, 300.0),
    ("PEPEUSDT", 0.000_009_6, 1e-8, 1.0, 0.012, 5_000_000.0),
    ("SHIBUSDT", 0.000_015_5, 1e-8, 1.0, 0.009, 3_000_000.0),
    ("ETHBTC", 0.028, 0.000_01, 0.000_1, 0.003, 0.1),
];

/// The symbol of this name: as it is listed, else a coin of 10 with half a percent an hour.
pub fn symbol(name: &str) -> SimulatedSymbol {
    match LISTED.iter().find(|listed| listed.0 == name) {
        Some(&(name, price, tick, lot, volatility, quantity)) => SimulatedSymbol {
            hourly_volatility: volatility,
            tick,
            lot,
            median_quantity: quantity,
            ..SimulatedSymbol::new(name, price)
        },
        None => SimulatedSymbol {
            tick: 0.001,
            lot: 0.01,
            median_quantity: 10.0,
            ..SimulatedSymbol::new(name, 10.0)
        },
    }
}

/// Names from a list, or so many of them: those that are listed first, then made-up ones.
///
/// # Errors
/// When a name is empty or not one word, or the number is out of range.
pub fn names(text: &str) -> Result<Vec<String>, String> {
    const MOST: usize = 10_000;
    if let Ok(number) = text.parse::<usize>() {
        if !(1..=MOST).contains(&number) {
            return Err(format!("a number of symbols is 1 to {MOST}"));
        }
        let listed = LISTED.iter().map(|listed| listed.0.to_owned());
        let made_up = (1..).map(|idx| format!("SIM{idx:05}USDT"));
        return Ok(listed.chain(made_up).take(number).collect());
    }
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',').map(str::trim) {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("`{name}` is no symbol"));
        }
        if names.iter().any(|known| known == name) {
            return Err(format!("symbol `{name}` is named twice"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_numbers() {
        assert_eq!(names("A,B").unwrap(), ["A", "B"]);
        assert_eq!(names("2").unwrap(), ["BTCUSDT", "ETHUSDT"]);
        let many = names("25").unwrap();
        assert_eq!((many.len(), many[24].as_str()), (25, "SIM00005USDT"));
        for wrong in ["", "A,,B", "A,A", "0", "A B"] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
    }
}
