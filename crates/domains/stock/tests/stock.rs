//! The rules of the catalogue and of the stock, on every database.

use contracts::events::OrderLine;
use contracts::{Money, OrderId, ProductId};
use db::Database;
use stock::{Cursor, MAX_PRICE, MAX_UNITS, NewProduct, Product, ProductChange, ProductQuery, Sort, StockError};
use tokio::task::JoinSet;

async fn product(db: &Database, name: &str, price: i64, stock: i64) -> Product {
    let new = NewProduct::new(name, Money::from_minor(price), stock, 0).unwrap();
    db.write(move |tx| stock::create(tx, &new)).await.unwrap()
}

async fn reserve(db: &Database, wanted: &[(ProductId, i64)]) -> Result<Vec<OrderLine>, StockError> {
    let wanted = wanted.to_vec();
    db.write(move |tx| stock::reserve(tx, OrderId::new(), &wanted)).await
}

async fn available(db: &Database, id: ProductId) -> i64 {
    get(db, id).await.available
}

async fn get(db: &Database, id: ProductId) -> Product {
    db.read(move |conn| stock::get(conn, id)).await.unwrap().expect("it was created")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_takes_all_its_products_or_none() {
    for shop in testkit::databases().await {
        let (much, little) = (product(&shop.db, "much", 100, 10).await, product(&shop.db, "little", 100, 1).await);
        let refused = reserve(&shop.db, &[(much.id, 5), (little.id, 2)]).await.unwrap_err();
        let StockError::Insufficient { product, available: left, wanted, .. } = refused else { panic!("{refused}") };
        assert_eq!((product, left, wanted), (little.id, 1, 2), "{}", shop.name);
        assert_eq!(available(&shop.db, much.id).await, 10, "{}", shop.name);

        let lines = reserve(&shop.db, &[(little.id, 1), (much.id, 5)]).await.unwrap();
        assert_eq!(
            lines.iter().map(|line| (&*line.name, line.quantity)).collect::<Vec<_>>(),
            [("much", 5), ("little", 1)]
        );
        assert_eq!((available(&shop.db, much.id).await, available(&shop.db, little.id).await), (5, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_units_go_to_exactly_ten_of_fifty_orders() {
    for shop in testkit::databases().await {
        let product = product(&shop.db, "rare", 100, 10).await;
        let mut orders = JoinSet::new();
        for _ in 0..50 {
            let db = shop.db.clone();
            orders.spawn(async move { reserve(&db, &[(product.id, 1)]).await });
        }
        let results = orders.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10, "{}", shop.name);
        for refused in results.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, StockError::Insufficient { available: 0, .. }), "{}: {refused}", shop.name);
        }
        assert_eq!(available(&shop.db, product.id).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_name_the_same_products_in_opposite_order_all_get_through() {
    for shop in testkit::databases().await {
        let (one, two) = (product(&shop.db, "one", 100, 1_000).await.id, product(&shop.db, "two", 100, 1_000).await.id);
        let mut orders = JoinSet::new();
        for round in 0..40 {
            let db = shop.db.clone();
            let wanted = if round % 2 == 0 { [(one, 1), (two, 1)] } else { [(two, 1), (one, 1)] };
            orders.spawn(async move { reserve(&db, &wanted).await.map(drop) });
        }
        for result in orders.join_all().await {
            result.unwrap();
        }
        assert_eq!((available(&shop.db, one).await, available(&shop.db, two).await), (960, 960), "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_can_be_sold_again_even_off_sale() {
    for shop in testkit::databases().await {
        let product = product(&shop.db, "returned", 100, 3).await;
        let order = OrderId::new();
        let lines = shop.db.write(move |tx| stock::reserve(tx, order, &[(product.id, 3)])).await.unwrap();
        shop.db.write(move |tx| stock::change(tx, product.id, &ProductChange::on_sale(false))).await.unwrap();
        shop.db.write(move |tx| stock::restore(tx, order, &lines)).await.unwrap();
        assert_eq!(available(&shop.db, product.id).await, 3, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_products_on_sale_are_sold() {
    for shop in testkit::databases().await {
        let hidden = product(&shop.db, "hidden", 100, 3).await.id;
        shop.db.write(move |tx| stock::change(tx, hidden, &ProductChange::on_sale(false))).await.unwrap();
        let refused = reserve(&shop.db, &[(hidden, 1)]).await.unwrap_err();
        assert!(matches!(refused, StockError::NotOnSale { product, .. } if product == hidden), "{refused}");
        let refused = reserve(&shop.db, &[(ProductId::new(), 1)]).await.unwrap_err();
        assert!(matches!(refused, StockError::Unknown { .. }), "{refused}");
        for quantity in [0, -1, i64::MIN, i64::MAX] {
            let refused = reserve(&shop.db, &[(hidden, quantity)]).await.unwrap_err();
            assert!(matches!(refused, StockError::Invalid { field: "quantity", .. }), "{refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_adjusted_within_zero_and_the_limit_and_the_books_agree() {
    for shop in testkit::databases().await {
        let id = product(&shop.db, "counted", 100, 10).await.id;
        let adjust = |delta: i64| shop.db.write(move |tx| stock::adjust(tx, id, delta, "stocktaking"));
        assert_eq!(adjust(5).await.unwrap(), 15);
        assert_eq!(adjust(-15).await.unwrap(), 0);
        assert!(matches!(adjust(-1).await, Err(StockError::Insufficient { available: 0, wanted: 1, .. })));
        assert_eq!(adjust(MAX_UNITS).await.unwrap(), MAX_UNITS);
        assert!(matches!(adjust(1).await, Err(StockError::TooMany { .. })));
        for delta in [0, i64::MIN, i64::MAX, MAX_UNITS + 1] {
            assert!(matches!(adjust(delta).await, Err(StockError::Invalid { field: "delta", .. })));
        }
        reserve(&shop.db, &[(id, 7)]).await.unwrap();
        let unknown = shop.db.write(|tx| stock::adjust(tx, ProductId::new(), 1, "found")).await;
        assert!(matches!(unknown, Err(StockError::Unknown { .. })));

        let books = shop.db.read(stock::balances).await.unwrap();
        assert_eq!(books.len(), 1, "{}", shop.name);
        assert_eq!((books[0].received, books[0].available), (MAX_UNITS, MAX_UNITS - 7), "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_leaves_what_it_does_not_name() {
    for shop in testkit::databases().await {
        let before = product(&shop.db, "  Old name ", 100, 10).await;
        let change = ProductChange::new(None, Some(Money::from_minor(250)), Some(4), None).unwrap();
        let after = shop.db.write(move |tx| stock::change(tx, before.id, &change)).await.unwrap();
        assert_eq!((after.price, after.low_stock_threshold), (Money::from_minor(250), 4), "{}", shop.name);
        assert_eq!((&*after.name, after.available, after.on_sale, after.version), ("Old name", 10, true, 2));
        assert_eq!(get(&shop.db, before.id).await, after);

        let rename = ProductChange::new(Some("New NAME"), None, None, None).unwrap();
        shop.db.write(move |tx| stock::change(tx, before.id, &rename)).await.unwrap();
        assert_eq!(names(&shop.db, &search("new name")).await, ["New NAME"], "{}", shop.name);
        let unknown = shop.db.write(|tx| stock::change(tx, ProductId::new(), &ProductChange::default())).await;
        assert!(matches!(unknown, Err(StockError::Unknown { .. })));
    }
}

#[test]
fn a_product_has_a_name_and_amounts_within_the_limits() {
    let field = |result: Result<NewProduct, StockError>| match result {
        Ok(_) => "",
        Err(StockError::Invalid { field, .. }) => field,
        Err(other) => panic!("{other}"),
    };
    let won = Money::from_minor;
    assert_eq!(field(NewProduct::new(&"가".repeat(200), Money::ZERO, 0, 0)), "");
    assert_eq!(field(NewProduct::new("a", MAX_PRICE, MAX_UNITS, MAX_UNITS)), "");
    for name in ["", "   ", &"a".repeat(201), "a\0b", "a\nb"] {
        assert_eq!(field(NewProduct::new(name, won(1), 1, 0)), "name", "{name:?}");
    }
    for price in [-1, i64::MIN, MAX_PRICE.minor() + 1, i64::MAX] {
        assert_eq!(field(NewProduct::new("a", won(price), 1, 0)), "price", "{price}");
    }
    for units in [-1, i64::MIN, MAX_UNITS + 1, i64::MAX] {
        assert_eq!(field(NewProduct::new("a", won(1), units, 0)), "stock", "{units}");
        assert_eq!(field(NewProduct::new("a", won(1), 1, units)), "low_stock_threshold", "{units}");
    }
}

fn search(text: &str) -> ProductQuery {
    ProductQuery { text: Some(text.into()), ..ProductQuery::default() }
}

async fn names(db: &Database, query: &ProductQuery) -> Vec<String> {
    let query = query.clone();
    let found = db.read(move |conn| stock::page(conn, &query, 100)).await.unwrap();
    let mut names: Vec<String> = found.into_iter().map(|product| product.name).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_part_of_a_name_in_either_case_and_takes_every_letter_literally() {
    for shop in testkit::databases().await {
        for name in
            ["Crème Brûlée", "CRÈME fraîche", "100% cotton", "100 cotton", "a_b", "aXb", r"back\slash", "한라봉 5kg"]
        {
            product(&shop.db, name, 100, 1).await;
        }
        let found = async |text: &str| names(&shop.db, &search(text)).await;
        assert_eq!(found("crème").await, ["CRÈME fraîche", "Crème Brûlée"], "{}", shop.name);
        assert_eq!(found("BRÛL").await, ["Crème Brûlée"], "{}", shop.name);
        assert_eq!(found("100%").await, ["100% cotton"], "{}", shop.name);
        assert_eq!(found("a_b").await, ["a_b"], "{}", shop.name);
        assert_eq!(found(r"k\s").await, [r"back\slash"], "{}", shop.name);
        assert_eq!(found("라봉").await, ["한라봉 5kg"], "{}", shop.name);
        assert_eq!(found("  ").await.len(), 8, "{}", shop.name);
        assert!(found("nothing\0").await.is_empty());
        assert!(found(&"%".repeat(100_000)).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_every_sort_show_each_product_once_and_in_order() {
    for shop in testkit::databases().await {
        for (name, price) in [("b", 300), ("A", 100), ("c", 300), ("a", 200), ("B", 300), ("Ä", 100), ("a", 200)] {
            product(&shop.db, name, price, 1).await;
        }
        assert_eq!(paged(&shop.db, Sort::Newest).await, ["a200", "Ä100", "B300", "a200", "c300", "A100", "b300"]);
        let by_price = ["A100", "Ä100", "a200", "a200", "b300", "c300", "B300"];
        assert_eq!(paged(&shop.db, Sort::PriceAsc).await, by_price, "{}", shop.name);
        assert!(paged(&shop.db, Sort::PriceDesc).await.iter().eq(by_price.iter().rev()), "{}", shop.name);
        let by_name = ["A100", "a200", "a200", "b300", "B300", "c300", "Ä100"];
        assert_eq!(paged(&shop.db, Sort::Name).await, by_name, "{}", shop.name);

        let foreign = Some(Cursor::Newest(ProductId::new()));
        let query = ProductQuery { after: foreign, sort: Sort::Name, text: None };
        assert!(names(&shop.db, &query).await.is_empty(), "{}", shop.name);
    }
}

/// Returns all products, read two by two, as name and price.
async fn paged(db: &Database, sort: Sort) -> Vec<String> {
    let (mut shown, mut after) = (Vec::new(), None);
    loop {
        let query = ProductQuery { text: None, sort, after };
        let page = db.read(move |conn| stock::page(conn, &query, 2)).await.unwrap();
        let Some(last) = page.last() else { return shown };
        after = Some(last.cursor(sort));
        shown.extend(page.iter().map(|product| format!("{}{}", product.name, product.price.minor())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_products_are_entered_at_once_each_with_its_stock_in_the_books() {
    for shop in testkit::databases().await {
        let new: Vec<_> =
            (0..2_500).map(|n| NewProduct::new(&format!("p{n}"), Money::from_minor(n), n, 0).unwrap()).collect();
        let made = shop.db.write(move |tx| stock::create_many(tx, &new)).await.unwrap();
        let books = shop.db.read(stock::balances).await.unwrap();
        assert_eq!((made.len(), books.len()), (2_500, 2_500), "{}", shop.name);
        assert!(books.iter().all(|book| book.received == book.available), "{}", shop.name);
        let some = [made[7].id, made[2_499].id, ProductId::new()];
        let found = shop.db.read(move |conn| stock::by_ids(conn, &some)).await.unwrap();
        assert_eq!(found.len(), 2, "{}", shop.name);
        assert!(shop.db.read(|conn| stock::by_ids(conn, &[])).await.unwrap().is_empty());
    }
}
