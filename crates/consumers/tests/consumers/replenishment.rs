use consumers::replenishment::{self, PurchaseOrder, PurchaseOrderStatus, ReplenishmentError, group, page};
use contracts::events::{StockDeducted, StockLow};
use contracts::{OrderId, ProductId, PurchaseOrderId};
use messaging::Event;
use stock::NewProduct;

use super::given::{Given, databases, event, won};

const THRESHOLD: i64 = 10;

/// Creates a product with `available` units in stock.
async fn product(given: &Given, available: i64) -> ProductId {
    let created = given.db.write(move |tx| stock::create(tx, &NewProduct::new("tea", won(100), available, THRESHOLD)?));
    created.await.expect("a product").id
}

/// Returns the event of a sale with `available` units left.
fn deducted(product_id: ProductId, stock_version: i64, available: i64) -> Event {
    event(&StockDeducted {
        product_id,
        stock_version,
        order_id: OrderId::new(),
        quantity: 1,
        available,
        low_stock_threshold: THRESHOLD,
    })
}

async fn orders(given: &Given) -> Vec<PurchaseOrder> {
    given.read(|conn| page(conn, None, None, 100)).await
}

#[tokio::test]
async fn a_product_under_its_threshold_is_ordered_and_the_admins_are_told() {
    for given in databases().await {
        let tea = product(&given, 7).await;
        given.handle(group(), vec![deducted(tea, 2, 7)]).await;
        let [order] = &orders(&given).await[..] else { panic!("{}: one purchase order", given.name) };
        // twice the threshold, and the three that are missing to it
        assert_eq!((order.product_id, order.quantity), (tea, 23), "{}", given.name);
        assert_eq!((order.status, order.received_at), (PurchaseOrderStatus::Open, None), "{}", given.name);
        let told = StockLow {
            purchase_order_id: order.id,
            product_id: tea,
            stock_version: 2,
            available: 7,
            low_stock_threshold: THRESHOLD,
            ordered: 23,
        };
        assert_eq!(given.emitted::<StockLow>(), [told], "{}", given.name);
    }
}

#[tokio::test]
async fn a_product_at_its_threshold_or_without_one_is_not_ordered() {
    for given in databases().await {
        let tea = product(&given, THRESHOLD).await;
        given.handle(group(), vec![deducted(tea, 2, THRESHOLD)]).await;
        let unwatched = given.db.write(|tx| stock::create(tx, &NewProduct::new("rice", won(100), 0, 0)?));
        let rice = unwatched.await.expect("a product").id;
        let empty = StockDeducted {
            product_id: rice,
            stock_version: 2,
            order_id: OrderId::new(),
            quantity: 1,
            available: 0,
            low_stock_threshold: 0,
        };
        given.handle(group(), vec![event(&empty)]).await;
        assert_eq!(orders(&given).await, [], "{}", given.name);
        assert_eq!(given.emitted::<StockLow>(), [], "{}", given.name);
    }
}

#[tokio::test]
async fn only_the_newest_event_of_a_product_in_a_batch_counts() {
    for given in databases().await {
        let (refilled, low) = (product(&given, 50).await, product(&given, 4).await);
        let batch = vec![deducted(low, 4, 4), deducted(refilled, 2, 3), deducted(refilled, 4, 50), deducted(low, 3, 8)];
        given.handle(group(), batch).await;
        let got: Vec<_> = orders(&given).await.iter().map(|order| (order.product_id, order.quantity)).collect();
        assert_eq!(got, [(low, 26)], "{}", given.name);
    }
}

#[tokio::test]
async fn one_purchase_order_a_product_is_open_whatever_is_handled_at_once() {
    for given in databases().await {
        let mut products = Vec::new();
        for _ in 0..5 {
            products.push(product(&given, 1).await);
        }
        let batch = |i: usize| {
            let mut batch: Vec<Event> = products.iter().map(|tea| deducted(*tea, 2 + i as i64, 1)).collect();
            batch.rotate_left(i % 5);
            batch
        };
        given.handle_at_once(group, (0..20).map(batch).collect()).await;
        given.handle(group(), batch(0)).await;
        let mut ordered: Vec<_> = orders(&given).await.iter().map(|order| order.product_id).collect();
        ordered.sort();
        assert_eq!(ordered, products, "{}", given.name);
        assert_eq!(given.emitted::<StockLow>().len(), 5, "{}", given.name);
    }
}

#[tokio::test]
async fn an_event_read_when_stock_is_already_there_orders_nothing() {
    for given in databases().await {
        let (tea, rice) = (product(&given, 100).await, product(&given, 2).await);
        given.handle(group(), vec![deducted(tea, 2, 1), deducted(rice, 2, 2)]).await;
        let told: Vec<_> = given.emitted::<StockLow>().into_iter().map(|low| low.product_id).collect();
        let ordered: Vec<_> = orders(&given).await.iter().map(|order| order.product_id).collect();
        assert_eq!((told, ordered), (vec![rice], vec![rice]), "{}", given.name);
    }
}

#[tokio::test]
async fn a_batch_that_was_rolled_back_orders_once_when_it_comes_again() {
    for given in databases().await {
        let tea = product(&given, 7).await;
        let batch = vec![deducted(tea, 2, 7)];
        given.handle_and_roll_back(group(), batch.clone()).await;
        assert_eq!(orders(&given).await, [], "{}", given.name);
        given.handle(group(), batch.clone()).await;
        given.handle(group(), batch).await;
        assert_eq!(orders(&given).await.len(), 1, "{}", given.name);
        assert_eq!(given.emitted::<StockLow>().len(), 1, "{}", given.name);
    }
}

#[tokio::test]
async fn receiving_adds_the_goods_to_stock_once_whoever_asks_at_the_same_time() {
    for given in databases().await {
        let tea = product(&given, 7).await;
        given.handle(group(), vec![deducted(tea, 2, 7)]).await;
        let id = orders(&given).await[0].id;
        let receipts = (0..8).map(|_| given.db.write(move |tx| replenishment::receive(tx, id)));
        let (received, refused): (Vec<_>, Vec<_>) =
            futures::future::join_all(receipts).await.into_iter().partition(Result::is_ok);
        assert_eq!(received.len(), 1, "{}", given.name);
        let again = |r: &Result<_, _>| matches!(r, Err(ReplenishmentError::AlreadyReceived));
        assert!(refused.iter().all(again), "{}: {refused:?}", given.name);
        let stocked = given.read(move |conn| stock::get(conn, tea)).await.expect("the product");
        assert_eq!(stocked.available, 30, "{}", given.name);
        assert_eq!(orders(&given).await[0].status, PurchaseOrderStatus::Received, "{}", given.name);
    }
}

#[tokio::test]
async fn once_received_the_next_shortage_is_ordered_anew() {
    for given in databases().await {
        let tea = product(&given, 7).await;
        given.handle(group(), vec![deducted(tea, 2, 7)]).await;
        let id = orders(&given).await[0].id;
        given.db.write(move |tx| replenishment::receive(tx, id)).await.expect("received");
        given.db.write(move |tx| stock::adjust(tx, tea, -25, "sold elsewhere")).await.expect("adjusted");
        given.handle(group(), vec![deducted(tea, 5, 5)]).await;
        let open = given.read(|conn| page(conn, Some(PurchaseOrderStatus::Open), None, 100)).await;
        assert_eq!(open.iter().map(|order| order.quantity).collect::<Vec<_>>(), [25], "{}", given.name);
        assert_eq!(orders(&given).await.len(), 2, "{}", given.name);
    }
}

#[tokio::test]
async fn a_purchase_order_nobody_knows_is_not_found() {
    for given in databases().await {
        let unknown = given.db.write(|tx| replenishment::receive(tx, PurchaseOrderId::new())).await;
        assert!(matches!(unknown, Err(ReplenishmentError::NotFound)), "{}: {unknown:?}", given.name);
    }
}
