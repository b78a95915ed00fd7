//! Money in the default currency, without digits after the point.

use contracts::{Currency, CurrencyError, Money, MoneyError};
use proptest::prelude::*;
use rust_decimal::Decimal;

fn won(minor: i64) -> Money {
    Money::from_minor(minor)
}

/// Percentages of up to 96 bits, with up to 28 digits after the point.
fn percentages() -> impl Strategy<Value = Decimal> {
    let mantissa = (any::<u128>(), 32..128_u32).prop_map(|(bits, shift)| (bits >> shift) as i128);
    (mantissa, 0..=28_u32)
        .prop_map(|(mantissa, scale)| Decimal::from_i128_with_scale(mantissa, scale) % Decimal::ONE_HUNDRED)
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(minor: i64) {
        prop_assert_eq!(won(minor).to_string().parse::<Money>(), Ok(won(minor)));
        let json = serde_json::to_string(&won(minor)).unwrap();
        prop_assert_eq!(&json, &format!("\"{minor}\""));
        prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), won(minor));
    }

    #[test]
    fn a_text_is_money_or_an_error_and_never_a_panic(text: String) {
        let _ = text.parse::<Money>();
    }

    #[test]
    fn only_plain_decimal_numbers_are_money(text in "[-+.0-9eE_ ]{0,24}") {
        let unsigned = text.strip_prefix('-').unwrap_or(&text);
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let plain = match unsigned.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction),
            None => digits(unsigned),
        };
        prop_assert_eq!(matches!(text.parse::<Money>(), Err(MoneyError::NotDecimal(_))), !plain);
    }

    #[test]
    fn a_percentage_is_the_exact_one_rounded_down(minor: i64, hundredths in 0..=10_000_i64) {
        let share = won(minor).percent(Decimal::new(hundredths, 2)).unwrap();
        let exact = i128::from(minor) * i128::from(hundredths);
        let rest = exact - i128::from(share.minor()) * 10_000;
        prop_assert!((0..10_000).contains(&rest), "{} of it leaves {}", share, rest);
    }

    #[test]
    fn a_percentage_is_never_more_than_the_exact_one(minor in 0..=i64::MAX, percent in percentages()) {
        // what it cannot reckon exactly it refuses
        if let Ok(share) = won(minor).percent(percent) {
            let percent = percent.normalize();
            let scale = 10_i128.pow(percent.scale() + 2);
            let exact = i128::from(minor) * percent.mantissa();
            prop_assert!(share <= won(minor));
            prop_assert!(i128::from(share.minor()) * scale <= exact);
            prop_assert!(exact - i128::from(share.minor()) * scale < scale);
        }
    }

    #[test]
    fn sums_are_exact_or_refused_and_never_wrap(a: i64, b: i64) {
        let expected = |exact: i128| i64::try_from(exact).map(won).map_err(|_| MoneyError::OutOfRange);
        let (wide_a, wide_b) = (i128::from(a), i128::from(b));
        prop_assert_eq!(won(a).add(won(b)), expected(wide_a + wide_b));
        prop_assert_eq!(won(a).subtract(won(b)), expected(wide_a - wide_b));
        prop_assert_eq!(won(a).times(b), expected(wide_a * wide_b));
    }
}

#[test]
fn the_ends_of_the_range_are_money_and_one_further_is_not() {
    assert_eq!("9223372036854775807".parse(), Ok(won(i64::MAX)));
    assert_eq!("-9223372036854775808".parse(), Ok(won(i64::MIN)));
    for beyond in ["9223372036854775808", "-9223372036854775809", "99999999999999999999999999999999999999"] {
        assert_eq!(beyond.parse::<Money>(), Err(MoneyError::OutOfRange));
    }
    assert_eq!(won(i64::MAX).percent(Decimal::from(200)), Err(MoneyError::OutOfRange));
}

#[test]
fn digits_after_the_point_are_refused_zeros_too() {
    // 20.000 is twenty thousand in half of Europe
    for precise in ["0.5", "19900.01", "20.000", "0.0", "0.0000000000000000000000000000000000000001"] {
        assert_eq!(precise.parse::<Money>(), Err(MoneyError::TooPrecise(precise.into(), 0)));
    }
}

#[test]
fn numbers_in_json_are_no_money() {
    for rubbish in ["19900", "1.5", "null", "\"\"", "\"1e3\"", "\" 1\"", "\"+1\"", "\"1,000\"", "\"NaN\""] {
        assert!(serde_json::from_str::<Money>(rubbish).is_err(), "{rubbish}");
    }
}

#[test]
fn the_currency_of_a_process_is_set_once() {
    assert_eq!(Currency::get(), &Currency { code: "KRW".into(), decimals: 0 });
    assert_eq!(Currency::set(Currency { code: "KRW".into(), decimals: 0 }), Ok(()));
    let other = Currency { code: "USD".into(), decimals: 2 };
    assert_eq!(Currency::set(other), Err(CurrencyError::AlreadySet(Currency::get().clone())));
    let absurd = Currency { code: "ABC".into(), decimals: 5 };
    assert_eq!(Currency::set(absurd), Err(CurrencyError::TooManyDecimals(5)));
}
