//! Migrations of the shop's database: the same steps, under the same names, for each kind of database.

use diesel_migrations::embed_migrations;

/// All migrations of the shop, applied when the database is opened.
pub static MIGRATIONS: db::Migrations = db::Migrations {
    sqlite: embed_migrations!("../../migrations/shop/sqlite"),
    postgres: embed_migrations!("../../migrations/shop/postgres"),
};
