//! Numbers as JSON, as `serde_json` writes them, but quicker where they are decimals.

/// Powers of ten that a binary64 holds exactly.
const SCALES: [(f64, u32); 2] = [(1e8, 8), (1e4, 4)];
/// Decimals of up to 15 digits are told apart by their nearest binary64 values: the digits that
/// give a value back are then the only ones of that length, and the shortest but for zeros.
const LARGEST: f64 = 1e15;
/// Below it `serde_json` writes an exponent.
const SMALLEST: f64 = 1e-5;

/// Appends a finite number in the fewest digits that read back as the same number.
pub(super) fn write_number(value: f64, out: &mut Vec<u8>) {
    let magnitude = value.abs();
    if (SMALLEST..LARGEST).contains(&magnitude) {
        for (scale, n_decimals) in SCALES {
            let scaled = (magnitude * scale).round();
            // The division is rounded to nearest, so it gives the value that these digits stand for.
            if scaled < LARGEST && scaled / scale == magnitude {
                if value < 0.0 {
                    out.push(b'-');
                }
                return write_decimal(scaled as u64, n_decimals, out);
            }
        }
    }
    // Writing to a Vec doesn't fail, and neither do finite numbers.
    serde_json::to_writer(out, &value).ok();
}

/// `digits` / 10^`n_decimals` without zeros at the end, but with one decimal at least.
fn write_decimal(mut digits: u64, mut n_decimals: u32, out: &mut Vec<u8>) {
    while n_decimals > 1 && digits.is_multiple_of(10) {
        digits /= 10;
        n_decimals -= 1;
    }
    let scale = 10_u64.pow(n_decimals);
    write_integer(digits / scale, out);
    out.push(b'.');
    let mut decimals = [b'0'; 8];
    let mut rest = digits % scale;
    for place in decimals[..n_decimals as usize].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&decimals[..n_decimals as usize]);
}

/// Appends a whole number.
pub(super) fn write_integer(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        if value >= 100 && first >= 2 {
            let pair = (value % 100) as usize * 2;
            value /= 100;
            first -= 2;
            digits[first..first + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
            continue;
        }
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// `00` to `99`.
static PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut n = 0;
    while n < 100 {
        pairs[2 * n] = b'0' + (n / 10) as u8;
        pairs[2 * n + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        write_number(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_numbers() {
        for value in [
            0.0,
            -0.0,
            1.0,
            0.1,
            0.5,
            50_000.12,
            1e-8,
            1.5e-7,
            1e-5,
            9.999_999e-6,
            0.000_01,
            123_456_789.25,
            1e14,
            1e15,
            1e16,
            1e18,
            0.3,
            0.1 + 0.2,
            1.0 / 3.0,
            99_999_999.999_999_99,
            -7.25,
            2e-18,
        ] {
            assert_eq!(written(value), serde_json::to_string(&value).unwrap());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn decimals_are_as_serde_json_has_them(digits in 0_u64..10_000_000_000_000_000, places in 0_i32..12) {
            let value = digits as f64 / 10_f64.powi(places);
            prop_assert_eq!(written(value), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn any_number_is_as_serde_json_has_it(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(written(value), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn integers_too(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            write_integer(value, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
