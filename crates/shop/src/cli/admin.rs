//! The first admin, and a new password for the admin.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use member::Role;
use program::process::Failure;
use runtime::Shop;
use runtime::settings::Settings;

use crate::auth::hash_password;

const NAME: &str = "Administrator";

/// Registers the admin of the settings, unless a member has the e-mail address; no member is promoted.
///
/// Returns `Some` with a generated password.
///
/// # Errors
/// Errors of the database, or an invalid e-mail address.
pub async fn ensure_admin(shop: &Shop) -> Result<Option<String>, Failure> {
    let email = shop.settings.admin.email.clone();
    let known = email.clone();
    if shop.db.read(move |conn| member::credentials(conn, &known)).await?.is_some() {
        return Ok(None);
    }
    let set = &shop.settings.admin.password;
    let (password, made) = match set.is_empty() {
        true => (new_password(), true),
        false => (set.expose().to_owned(), false),
    };
    let hash = hashed(&password).await?;
    // another instance may be doing the same: one of them inserts, and only that one's password is good
    let inserted = shop.db.write(move |tx| member::insert_admin_if_absent(tx, &email, NAME, &hash)).await;
    let inserted = inserted.map_err(|error| Failure::Usage(format!("setting admin.email: {error}")))?;
    Ok((inserted && made).then_some(password))
}

/// Generates a new password for the admin of the settings and prints the password; all sessions of the admin end.
pub(super) async fn reset_admin_password(settings: Settings) -> Result<(), Failure> {
    let shop = Shop::open(settings).await?;
    let email = shop.settings.admin.email.clone();
    let looked_up = email.clone();
    let found = shop.db.read(move |conn| member::credentials(conn, &looked_up)).await?;
    let password = new_password();
    let hash = hashed(&password).await?;
    let (to, failed) = (email.clone(), |error: member::MemberError| Failure::Failed(error.to_string()));
    match found.map(|found| found.member) {
        None => {
            let inserted = shop.db.write(move |tx| member::insert_admin_if_absent(tx, &to, NAME, &hash)).await;
            inserted.map_err(failed)?;
        }
        Some(member) if member.role == Role::Admin => {
            shop.db.write(move |tx| member::set_password(tx, member.id, &hash, None)).await.map_err(failed)?;
        }
        Some(_) => {
            let reason = "is a member without the role of an administrator, and nobody is promoted";
            return Err(Failure::Usage(format!("setting admin.email: {email} {reason}")));
        }
    }
    shop.close().await;
    println!("{email} has a new password: {password}");
    Ok(())
}

/// 144 random bits.
fn new_password() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>())
}

async fn hashed(password: &str) -> Result<String, Failure> {
    let password = password.to_owned();
    let hash = tokio::task::spawn_blocking(move || hash_password(&password)).await;
    let hash = hash.map_err(|error| Failure::Failed(error.to_string()))?;
    hash.map_err(|error| Failure::Usage(format!("setting admin.password: {error}")))
}
