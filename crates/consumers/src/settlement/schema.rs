diesel::table! {
    settlement_day (day) {
        day -> Date,
        gross -> BigInt,
        discount -> BigInt,
        refunded -> BigInt,
        payments -> BigInt,
    }
}
