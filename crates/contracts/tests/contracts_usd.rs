//! Money with two digits after the point. A process has one currency, so these tests run in a separate process.

use std::sync::Once;

use contracts::{Currency, Money, MoneyError};
use proptest::prelude::*;
use rust_decimal::Decimal;

fn cents(minor: i64) -> Money {
    static DOLLARS: Once = Once::new();
    DOLLARS.call_once(|| {
        Currency::set(Currency { code: "USD".into(), decimals: 2 }).expect("nothing in this process used another");
    });
    Money::from_minor(minor)
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(minor: i64) {
        let text = cents(minor).to_string();
        prop_assert_eq!(text.parse::<Money>(), Ok(cents(minor)));
        prop_assert_eq!(text.split_once('.').map(|(_, fraction)| fraction.len()), Some(2));
    }

    #[test]
    fn a_percentage_is_rounded_down_to_the_cent(minor in 0..=i64::MAX, percent in 1..=100_i64) {
        let share = cents(minor).percent(Decimal::from(percent)).unwrap();
        prop_assert_eq!(i128::from(share.minor()), i128::from(minor) * i128::from(percent) / 100);
    }
}

#[test]
fn amounts_show_their_cents() {
    assert_eq!(cents(19_900).to_string(), "199.00");
    assert_eq!(cents(5).to_string(), "0.05");
    assert_eq!(cents(-5).to_string(), "-0.05");
    assert_eq!(serde_json::to_string(&cents(19_900)).unwrap(), "\"199.00\"");
}

#[test]
fn amounts_may_leave_cents_out_but_not_add_to_them() {
    let money = cents(19_900);
    assert_eq!("199".parse(), Ok(money));
    assert_eq!("199.0".parse(), Ok(money));
    assert_eq!("199.000".parse::<Money>(), Err(MoneyError::TooPrecise("199.000".into(), 2)));
    assert_eq!("199.001".parse::<Money>(), Err(MoneyError::TooPrecise("199.001".into(), 2)));
    assert_eq!("92233720368547758.07".parse(), Ok(cents(i64::MAX)));
    assert_eq!("92233720368547758.08".parse::<Money>(), Err(MoneyError::OutOfRange));
}

#[test]
fn ten_percent_of_nineteen_ninety_nine_is_one_ninety_nine() {
    assert_eq!(cents(1_999).percent(Decimal::TEN), Ok(cents(199)));
}
