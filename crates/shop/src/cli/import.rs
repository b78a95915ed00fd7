//! Products out of a CSV file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::Path;

use contracts::Money;
use csv::StringRecord;
use indicatif::{ProgressBar, ProgressStyle};
use program::process::Failure;
use runtime::Shop;
use runtime::settings::Settings;
use stock::{NewProduct, StockError};

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
    let count = enter(&shop, file).await?;
    shop.close().await;
    println!("{count} products were imported");
    Ok(())
}

/// Enters the products of a file; returns their number.
///
/// # Errors
/// [`Failure::Usage`] without the file, and [`Failure::Failed`] when nothing was imported.
async fn enter(shop: &Shop, file: &Path) -> Result<usize, Failure> {
    let bytes = fs::read(file).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    let wrong = |reason: String| Failure::Failed(format!("{}: {reason}; nothing was imported", file.display()));
    let rows = rows(&bytes).map_err(wrong)?;
    let bar = ProgressBar::new(rows.len() as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} products, {eta} to go");
    bar.set_style(style.map_err(|error| Failure::Failed(error.to_string()))?);
    let (count, shown) = (rows.len(), bar.clone());
    let work = move |tx: &mut db::Tx<'_>| {
        shown.set_position(0);
        let mut bad = Bad::default();
        for chunk in rows.chunks(CHUNK) {
            let (lines, products): (Vec<u64>, Vec<NewProduct>) = chunk.iter().cloned().unzip();
            for taken in stock::taken_names(tx, &products)? {
                bad.add(lines[taken], "a product of this name is in the catalogue already");
            }
            stock::create_many(tx, &products)?;
            shown.inc(chunk.len() as u64);
        }
        bad.none().map_err(Refusal::Rows)
    };
    let entered = shop.db.write(work).await;
    bar.finish_and_clear();
    entered.map(|()| count).map_err(|refusal| match refusal {
        Refusal::Rows(reason) => wrong(reason),
        Refusal::Stock(error) => Failure::Failed(error.to_string()),
    })
}

/// Why the unit of work was undone.
enum Refusal {
    Rows(String),
    Stock(StockError),
}

impl From<StockError> for Refusal {
    fn from(error: StockError) -> Self {
        Self::Stock(error)
    }
}

impl From<db::Error> for Refusal {
    fn from(error: db::Error) -> Self {
        Self::Stock(error.into())
    }
}

/// Bad rows.
#[derive(Default)]
struct Bad {
    told: Vec<String>,
    count: usize,
}

impl Bad {
    fn add(&mut self, line: u64, reason: &str) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("line {line}: {reason}"));
        }
    }

    /// # Errors
    /// The bad rows, if there are any.
    fn none(self) -> Result<(), String> {
        if self.count == 0 {
            return Ok(());
        }
        let more = self.count - self.told.len();
        let told = self.told.join("; ");
        Err(if more == 0 { told } else { format!("{told}; and {more} more bad rows") })
    }
}

/// The products of a file, each with the number of its line.
fn rows(bytes: &[u8]) -> Result<Vec<(u64, NewProduct)>, String> {
    let text = text(bytes)?;
    check_quotes(text)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let columns = Columns::of(reader.headers().map_err(|error| error.to_string())?)?;
    let (mut rows, mut bad) = (Vec::new(), Bad::default());
    let mut names = HashMap::new();
    for row in reader.records() {
        let line = |position: Option<&csv::Position>| position.map_or(0, csv::Position::line);
        let (line, product) = match &row {
            Ok(row) => (line(row.position()), columns.product(row)),
            Err(error) => (line(error.position()), Err(told(error))),
        };
        match product {
            Ok(product) => match names.entry(product.search_name()) {
                Entry::Occupied(first) => bad.add(line, &format!("has the name of line {}", first.get())),
                Entry::Vacant(free) => {
                    free.insert(line);
                    rows.push((line, product));
                }
            },
            Err(reason) => bad.add(line, &reason),
        }
    }
    bad.none()?;
    Ok(rows)
}

/// Error text without the place, which is told of every row.
fn told(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} fields, and the header has {expected_len}")
        }
        _ => error.to_string(),
    }
}

/// The text of a file in UTF-8, without its byte order mark.
fn text(bytes: &[u8]) -> Result<&str, String> {
    let is_utf_16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.contains(&0);
    let text = std::str::from_utf8(bytes).ok().filter(|_| !is_utf_16);
    let text = text.ok_or("the file is not in UTF-8; save it as \"CSV UTF-8\"")?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Refuses what RFC 4180 does not allow and a reader would guess at: quotes inside of a field without quotes, text
/// behind the closing quote, a field without closing quote.
fn check_quotes(text: &str) -> Result<(), String> {
    enum At {
        Start,
        Plain,
        Quoted,
        /// Behind a quote in a quoted field: the field ends, or the quote is doubled.
        Quote,
    }
    let (mut at, mut line, mut opened) = (At::Start, 1_u64, 1);
    for c in text.chars() {
        at = match (at, c) {
            (At::Start, '"') => {
                opened = line;
                At::Quoted
            }
            (At::Quoted, '"') => At::Quote,
            (At::Quote, '"') | (At::Quoted, _) => At::Quoted,
            (At::Start | At::Plain | At::Quote, ',' | '\n' | '\r') => At::Start,
            (At::Plain, '"') | (At::Quote, _) => {
                let rule = "put quotes around the whole field, and double each quote inside";
                return Err(format!("line {line}: a quote stands where none may: {rule}"));
            }
            (At::Start | At::Plain, _) => At::Plain,
        };
        line += u64::from(c == '\n');
    }
    if let At::Quoted = at { Err(format!("line {opened}: a quote is not closed")) } else { Ok(()) }
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
        let repeated = (1..header.len()).find(|at| header.iter().take(*at).any(|column| column == &header[*at]));
        if let Some(at) = repeated {
            return Err(format!("line 1: the column {} is there twice", &header[at]));
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

    fn reading(csv: impl AsRef<[u8]>) -> Result<usize, String> {
        rows(csv.as_ref()).map(|rows| rows.len())
    }

    #[test]
    fn a_bad_row_is_told_with_its_line() {
        assert_eq!(reading("name,price,stock\nMug,19900,10\nCup,900,1\n"), Ok(2));
        assert_eq!(reading("stock,name,price,low_stock_threshold\n1,Mug,5,\n2,Cup,6,3\n"), Ok(2));
        assert_eq!(
            reading("name,price,stock\nMug,cheap,10\nCup,900,-1\n,1,1\n").unwrap_err(),
            "line 2: price: \"cheap\" is not a decimal amount; line 3: stock must be from 0 to 1000000000; \
             line 4: name must have 1 to 200 characters"
        );
        let short = reading("name,price,stock\nMug,1\n").unwrap_err();
        assert_eq!(short, "line 2: has 2 fields, and the header has 3");
        assert_eq!(reading("name,price\nMug,1\n").unwrap_err(), "line 1: the column stock is missing");
        let twice = reading("name,price,stock,price\nMug,1,1,2\n").unwrap_err();
        assert_eq!(twice, "line 1: the column price is there twice");
        let of_25 = "Mug,20.000,1\n".repeat(25);
        let bad = reading(format!("name,price,stock\n{of_25}")).unwrap_err();
        assert!(bad.starts_with("line 2: price: \"20.000\" has more than 0 digits after the point; line 3:"), "{bad}");
        assert!(bad.ends_with("; and 5 more bad rows"), "{bad}");
    }

    #[test]
    fn a_name_is_there_once() {
        let twice = reading("name,price,stock\nMug,1,1\nCup,1,1\n mug,2,2\n").unwrap_err();
        assert_eq!(twice, "line 4: has the name of line 2");
    }

    #[test]
    fn quotes_are_those_of_the_standard() {
        let one = |field: &str| reading(format!("name,price,stock\n{field},1,1\n"));
        for good in [r#""a ""b"" c""#, r#""a, b""#, "\"a\"", "it's"] {
            assert_eq!(one(good), Ok(1), "{good}");
        }
        for bad in [r#""a \"b\" c""#, r#"a "b" c"#, r#" "a""#, r#""a" "#, r#""a"b"#] {
            let refused = one(bad).unwrap_err();
            assert!(refused.starts_with("line 2: a quote stands where none may"), "{bad}: {refused}");
        }
        assert_eq!(reading("name,price,stock\nMug,1,1\n\"Cup,1,1\n").unwrap_err(), "line 3: a quote is not closed");
    }

    #[test]
    fn a_file_is_utf_8_or_refused() {
        assert_eq!(reading("\u{feff}name,price,stock\r\n머그컵,1,1\r\n"), Ok(1));
        let utf_16 = |mark: u16| -> Vec<u8> {
            let text = "name,price,stock\nMug,1,1\n".encode_utf16();
            std::iter::once(mark).chain(text).flat_map(u16::to_le_bytes).collect()
        };
        let cp949 = b"name,price,stock\n\xb8\xd3\xb1\xd7\xc4\xc5,1,1\n".to_vec();
        for bad in [utf_16(0xfeff), utf_16(0xfffe), utf_16(u16::from(b' ')), cp949] {
            assert!(reading(bad).unwrap_err().ends_with("save it as \"CSV UTF-8\""));
        }
    }
}
