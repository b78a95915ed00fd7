use consumers::settlement::{Day, days, group};
use contracts::{Money, ProductId};
use messaging::Event;

use super::given::{Given, Purchase, databases, date, permutations, time, won};

async fn figures(given: &Given) -> Vec<Day> {
    given.read(|conn| days(conn, date("2000-01-01"), date("9999-12-31"))).await
}

/// Returns two payments around midnight; the first is refunded the day after.
fn events() -> Vec<Event> {
    let (late, early) = (time("2026-03-01T23:59:59.999999Z"), time("2026-03-02T00:00:00Z"));
    let first = Purchase::of(ProductId::new(), 3, 3_333).discounted(1_000);
    let second = Purchase::of(ProductId::new(), 1, 19_900);
    vec![first.paid(late), second.paid(early), first.refunded(late, time("2026-03-03T12:00:00Z"))]
}

fn expected() -> Vec<Day> {
    let day = |date, gross, discount, refunded, net, payments| Day {
        date,
        gross: won(gross),
        discount: won(discount),
        refunded: won(refunded),
        net: won(net),
        payments,
    };
    vec![
        day(date("2026-03-03"), 0, 0, 8_999, -8_999, 0),
        day(date("2026-03-02"), 19_900, 0, 0, 19_900, 1),
        day(date("2026-03-01"), 9_999, 1_000, 0, 8_999, 1),
    ]
}

#[tokio::test]
async fn payments_and_refunds_count_on_their_own_utc_days() {
    for given in databases().await {
        given.handle(group(), events()).await;
        assert_eq!(figures(&given).await, expected(), "{}", given.name);
    }
}

#[tokio::test]
async fn the_figures_are_the_same_in_whatever_order_the_topics_are_read() {
    for given in databases().await {
        for order in permutations(&events()) {
            for event in order {
                given.handle(group(), vec![event]).await;
            }
            assert_eq!(figures(&given).await, expected(), "{}", given.name);
            given.clear(group()).await;
        }
    }
}

#[tokio::test]
async fn a_batch_that_was_rolled_back_counts_once_when_it_comes_again() {
    for given in databases().await {
        given.handle_and_roll_back(group(), events()).await;
        assert_eq!(figures(&given).await, [], "{}", given.name);
        given.handle(group(), events()).await;
        assert_eq!(figures(&given).await, expected(), "{}", given.name);
    }
}

#[tokio::test]
async fn a_rebuild_gives_the_same_figures() {
    for given in databases().await {
        given.handle(group(), events()).await;
        let before = figures(&given).await;
        given.clear(group()).await;
        assert_eq!(figures(&given).await, [], "{}", given.name);
        for event in events() {
            given.handle(group(), vec![event]).await;
        }
        assert_eq!(figures(&given).await, before, "{}", given.name);
    }
}

#[tokio::test]
async fn batches_of_several_partitions_at_the_same_time_add_up() {
    let (yesterday, today) = (time("2026-03-01T10:00:00Z"), time("2026-03-02T10:00:00Z"));
    for given in databases().await {
        let purchase = Purchase::of(ProductId::new(), 1, 101);
        // the days in either order, so that batches would wait for each other in a circle if they were not sorted
        let batch = |i: i64| match i % 2 {
            0 => vec![purchase.paid(yesterday), purchase.paid(today)],
            _ => vec![purchase.paid(today), purchase.paid(yesterday)],
        };
        given.handle_at_once(group, (0..40).map(batch).collect()).await;
        let sums: Vec<_> = figures(&given).await.into_iter().map(|day| (day.gross, day.net, day.payments)).collect();
        assert_eq!(sums, [(won(4_040), won(4_040), 40), (won(4_040), won(4_040), 40)], "{}", given.name);
    }
}

#[tokio::test]
async fn the_days_asked_for_include_the_first_and_the_last() {
    for given in databases().await {
        given.handle(group(), events()).await;
        let dates = given.read(|conn| days(conn, date("2026-03-01"), date("2026-03-02"))).await;
        let dates: Vec<_> = dates.into_iter().map(|day| day.date).collect();
        assert_eq!(dates, [date("2026-03-02"), date("2026-03-01")], "{}", given.name);
    }
}

#[tokio::test]
async fn a_sum_out_of_range_fails_the_batch_instead_of_wrapping() {
    for given in databases().await {
        let purchase = Purchase::of(ProductId::new(), 1, i64::MAX);
        let at = time("2026-03-01T10:00:00Z");
        given.handle(group(), vec![purchase.paid(at)]).await;
        assert!(given.try_handle(group(), vec![purchase.paid(at)]).await.is_err(), "{}", given.name);
        assert_eq!(figures(&given).await[0].gross, Money::from_minor(i64::MAX), "{}", given.name);
    }
}
