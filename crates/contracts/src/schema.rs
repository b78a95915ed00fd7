//! The shop's database as it grew: the same steps, under the same names, for each kind of database.

use diesel_migrations::embed_migrations;

/// All of the shop's migrations; the database is opened with them.
pub static MIGRATIONS: db::Migrations = db::Migrations {
    sqlite: embed_migrations!("../../migrations/shop/sqlite"),
    postgres: embed_migrations!("../../migrations/shop/postgres"),
};
