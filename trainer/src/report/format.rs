//! Numbers, times and text as a reader wants them.

use jiff::{Timestamp, tz::TimeZone};

use super::data::{Estimate, Unit};

/// Text with what HTML would take for markup made harmless, for content and for quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Digits after the point fixed, thousands apart, a real minus sign; far out in scientific notation.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "undefined".to_owned();
    }
    if value.abs() >= 1e9 || decimals > 10 {
        return format!("{value:.3e}").replace('-', "−");
    }
    let digits = format!("{:.*}", decimals, value.abs());
    let (whole, rest) = digits
        .split_once('.')
        .map_or((digits.as_str(), ""), |(w, r)| (w, r));
    let mut out = String::new();
    if value < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push('−');
    }
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}

/// Up to four significant digits, for values of unknown size.
pub(super) fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return fixed(value, 0);
    }
    let magnitude = value.abs().log10().floor();
    if magnitude < -8.0 {
        return format!("{value:.3e}").replace('-', "−");
    }
    trimmed(fixed(value, (3.0 - magnitude).clamp(0.0, 10.0) as usize))
}

/// Without zeros at the end of a fraction.
fn trimmed(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Two significant digits, below a hundred at least one decimal, and no zeros behind them, for rates in a sentence.
pub(super) fn significant_short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return fixed(value, 0);
    }
    let magnitude = value.abs().log10().floor();
    let least = if magnitude < 2.0 { 1.0 } else { 0.0 };
    trimmed(fixed(value, (1.0 - magnitude).clamp(least, 6.0) as usize))
}

/// A count, thousands apart.
pub(super) fn count(value: f64) -> String {
    fixed(value, 0)
}

/// A fraction of one as a percentage, with a decimal where it is small or close to all.
pub(super) fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    let decimals =
        usize::from((percent > 0.0 && percent < 9.95) || (percent > 99.0 && percent < 100.0));
    format!("{} %", fixed(percent, decimals))
}

/// Seconds as a duration.
pub(super) fn duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "−" } else { "" };
    let s = seconds.abs();
    let text = match s {
        _ if !s.is_finite() => return "undefined".to_owned(),
        _ if s == 0.0 => "0 s".to_owned(),
        _ if s < 10.0 => format!("{} s", fixed(s, 1).trim_end_matches(".0")),
        _ if s < 60.0 => format!("{s:.0} s"),
        _ if s < 7_200.0 => format!("{} min", fixed(s / 60.0, 1).trim_end_matches(".0")),
        _ if s < 172_800.0 => format!("{} h", fixed(s / 3_600.0, 1).trim_end_matches(".0")),
        _ => format!("{} d", fixed(s / 86_400.0, 1).trim_end_matches(".0")),
    };
    format!("{sign}{text}")
}

/// A number in its unit.
pub(super) fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Score => fixed(value, 3),
        Unit::Percent => percent(value),
        Unit::Count => count(value),
        Unit::PerSymbolDay => fixed(value, 2),
        Unit::Seconds => duration(value),
    }
}

/// An estimate as plain text.
pub(super) fn estimate(estimate: &Estimate, unit: Unit) -> String {
    match estimate {
        Estimate::Value { value, interval } if value.is_finite() => match interval {
            Some(range) if finite(*range) => {
                format!("{} ({})", number(*value, unit), interval_text(*range, unit))
            }
            _ => number(*value, unit),
        },
        Estimate::Value { .. } => "undefined: not a finite number".to_owned(),
        Estimate::Undefined { reason } => format!("undefined: {reason}"),
    }
}

pub(super) fn finite((low, high): (f64, f64)) -> bool {
    low.is_finite() && high.is_finite()
}

/// Low and high, the unit written once.
pub(super) fn interval_text((low, high): (f64, f64), unit: Unit) -> String {
    let (low, high) = (number(low, unit), number(high, unit));
    let low = if unit == Unit::Percent {
        low.trim_end_matches(" %").to_owned()
    } else {
        low
    };
    format!("{low}–{high}")
}

/// A UTC time to the second, or to the microsecond where it has a fraction.
pub(super) fn time(micros: i64) -> String {
    let Ok(stamp) = Timestamp::from_microsecond(micros) else {
        return format!("{micros} µs");
    };
    let pattern = if micros.rem_euclid(1_000_000) == 0 {
        "%Y-%m-%d %H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S%.6f"
    };
    stamp.to_zoned(TimeZone::UTC).strftime(pattern).to_string()
}

/// A size in bytes, binary units.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!(
        "{} {}",
        fixed(value, usize::from(unit > 0 && value < 100.0)),
        UNITS[unit]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(fixed(1_234_567.891, 2), "1,234,567.89");
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(-12.5, 1), "−12.5");
        assert_eq!(significant(1.5e-8), "0.000000015");
        assert_eq!(significant(1e-12), "1.000e−12");
        assert_eq!(significant(98_765.4), "98,765");
        assert_eq!(percent(34.0 / 41.0), "83 %");
        assert_eq!(percent(0.012), "1.2 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(duration(90.0), "1.5 min");
        assert_eq!(duration(180.0), "3 min");
        assert_eq!(bytes(4_404_019), "4.2 MiB");
    }

    #[test]
    fn undefined_is_said() {
        assert_eq!(
            estimate(&Estimate::exact(f64::NAN), Unit::Score),
            "undefined: not a finite number"
        );
        assert_eq!(
            estimate(&Estimate::undefined("no positive row"), Unit::Score),
            "undefined: no positive row"
        );
        assert_eq!(
            estimate(&Estimate::with_interval(0.83, 0.7, 0.92), Unit::Percent),
            "83 % (70–92 %)"
        );
        assert_eq!(
            estimate(
                &Estimate::with_interval(0.83, f64::NAN, 0.92),
                Unit::Percent
            ),
            "83 %"
        );
    }

    #[test]
    fn times() {
        assert_eq!(time(1_514_764_800_000_000), "2018-01-01 00:00:00");
        assert_eq!(time(1_514_764_800_000_001), "2018-01-01 00:00:00.000001");
        assert_eq!(time(i64::MAX), format!("{} µs", i64::MAX));
    }

    #[test]
    fn markup_is_harmless() {
        assert_eq!(
            escape("<a href=\"x\">'&\u{0}"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\u{fffd}"
        );
    }
}
