//! Products out of a CSV file.

use std::path::Path;

use contracts::Money;
use csv::StringRecord;
use indicatif::{ProgressBar, ProgressStyle};
use program::process::Failure;
use runtime::Shop;
use runtime::settings::Settings;
use stock::NewProduct;

/// Products for each insert.
const CHUNK: usize = 500;
/// Maximum number of reported bad rows; a missing column makes all rows bad.
const TOLD: usize = 20;

/// Enters all products of the file, or none.
///
/// All rows are read and checked first, and then inserted in one unit of work. A long unit delays nobody: SQLite
/// belongs to this process alone, and PostgreSQL's readers and writers don't wait for new rows.
pub(super) async fn import_products(settings: Settings, file: &Path) -> Result<(), Failure> {
    let shop = Shop::open(settings).await?;
    let products = read(file)?;
    let bar = ProgressBar::new(products.len() as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} products, {eta} to go");
    bar.set_style(style.map_err(|error| Failure::Failed(error.to_string()))?);
    let (count, shown) = (products.len(), bar.clone());
    let enter = move |tx: &mut db::Tx<'_>| {
        shown.set_position(0);
        for chunk in products.chunks(CHUNK) {
            stock::create_many(tx, chunk)?;
            shown.inc(chunk.len() as u64);
        }
        Ok::<_, stock::StockError>(())
    };
    let entered = shop.db.write(enter).await;
    bar.finish_and_clear();
    entered.map_err(|error| Failure::Failed(error.to_string()))?;
    shop.close().await;
    println!("{count} products were imported");
    Ok(())
}

fn read(file: &Path) -> Result<Vec<NewProduct>, Failure> {
    let wrong = |reason: String| Failure::Failed(format!("{}: {reason}; nothing was imported", file.display()));
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(file)
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    let columns = Columns::of(reader.headers().map_err(|error| wrong(error.to_string()))?).map_err(&wrong)?;
    let (mut products, mut bad) = (Vec::new(), Vec::new());
    for row in reader.records() {
        let product = row.map_err(|error| error.to_string()).and_then(|row| {
            let line = row.position().map_or(0, csv::Position::line);
            columns.product(&row).map_err(|reason| format!("line {line}: {reason}"))
        });
        match product {
            Ok(product) => products.push(product),
            Err(reason) if bad.len() < TOLD => bad.push(reason),
            Err(_) => {}
        }
    }
    if bad.is_empty() { Ok(products) } else { Err(wrong(bad.join("; "))) }
}

/// Indices of the columns.
struct Columns {
    name: usize,
    price: usize,
    stock: usize,
    low_stock_threshold: Option<usize>,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, String> {
        const KNOWN: [&str; 4] = ["name", "price", "stock", "low_stock_threshold"];
        if let Some(unknown) = header.iter().find(|column| !KNOWN.contains(column)) {
            return Err(format!("line 1: there is no column {unknown:?}, but {}", KNOWN.join(", ")));
        }
        let find = |name: &str| header.iter().position(|column| column == name);
        let need = |name: &str| find(name).ok_or_else(|| format!("line 1: the column {name} is missing"));
        Ok(Self {
            name: need("name")?,
            price: need("price")?,
            stock: need("stock")?,
            low_stock_threshold: find("low_stock_threshold"),
        })
    }

    fn product(&self, row: &StringRecord) -> Result<NewProduct, String> {
        // the reader refuses rows of another length than the header
        let text = |column: usize| row.get(column).unwrap_or_default();
        let units = |name: &str, text: &str| text.parse::<i64>().map_err(|error| format!("{name} {text:?}: {error}"));
        let price: Money = text(self.price).parse().map_err(|error| format!("price: {error}"))?;
        let stock = units("stock", text(self.stock))?;
        let threshold = match self.low_stock_threshold.map(text) {
            None | Some("") => 0,
            Some(text) => units("low_stock_threshold", text)?,
        };
        NewProduct::new(text(self.name), price, stock, threshold).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(csv: &str) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("products.csv");
        std::fs::write(&file, csv).unwrap();
        let place = format!("{}: ", file.display());
        read(&file).map(|products| products.len()).map_err(|failure| failure.to_string().replace(&place, ""))
    }

    #[test]
    fn a_bad_row_is_told_with_its_line() {
        assert_eq!(reading("name,price,stock\nMug,19900,10\nCup,900,1\n"), Ok(2));
        assert_eq!(reading("stock,name,price,low_stock_threshold\n1,Mug,5,\n2,Cup,6,3\n"), Ok(2));
        assert_eq!(
            reading("name,price,stock\nMug,cheap,10\nCup,900,-1\n,1,1\n").unwrap_err(),
            "line 2: price: \"cheap\" is not a decimal amount; line 3: stock must be from 0 to 1000000000; \
             line 4: name must have 1 to 200 characters; nothing was imported"
        );
        assert!(reading("name,price,stock\nMug,1\n").unwrap_err().contains("line: 2"));
        assert_eq!(
            reading("name,price\nMug,1\n").unwrap_err(),
            "line 1: the column stock is missing; nothing was imported"
        );
    }
}
