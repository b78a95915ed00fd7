//! Members of a shop.

use std::ops::Deref;
use std::sync::LazyLock;
use std::time::Duration;

use contracts::MemberId;
use db::types::Time;
use member::NewMember;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Api, Call, TestShop, all_at_once, random_key};

/// A signed-in member, who calls the API with the member's token.
#[derive(Clone)]
pub struct TestMember {
    pub id: String,
    pub email: String,
    api: Api,
}

impl Deref for TestMember {
    type Target = Api;
    fn deref(&self) -> &Api {
        &self.api
    }
}

/// Hashed once: hashing is slow on purpose.
static HASH: LazyLock<String> = LazyLock::new(|| "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$AAAA".to_owned());

impl TestMember {
    /// Signs in with e-mail address and password.
    pub async fn sign_in(api: &Api, email: &str, password: &str) -> Self {
        let asked = api.post("/sessions", json!({ "email": email, "password": password }));
        let tokens = asked.send_again().await.expect(201);
        Self::with_token(api, &tokens.text("access_token")).await
    }

    async fn with_token(api: &Api, token: &str) -> Self {
        let api = api.with_token(token);
        let me = api.get("/me").send_again().await.expect(200);
        Self { id: me.text("id"), email: me.text("email"), api }
    }

    /// Brings so much into the wallet.
    pub async fn charge(&self, amount: i64) {
        self.post("/wallet/charges", json!({ "amount": amount.to_string() })).with_key().send_again().await.expect(201);
    }

    pub async fn balance(&self) -> i64 {
        self.get("/wallet").send().await.expect(200).text("balance").parse().unwrap()
    }

    /// Orders a quantity of a product.
    pub fn order(&self, product: &str, quantity: i64) -> Call {
        self.order_with(json!({ "items": [{ "product_id": product, "quantity": quantity }] }))
    }

    pub fn order_with(&self, body: serde_json::Value) -> Call {
        self.post("/orders", body).with_key()
    }

    /// Places an order and returns the id.
    pub async fn has_ordered(&self, product: &str, quantity: i64) -> String {
        self.order(product, quantity).send().await.expect(201).text("id")
    }

    pub fn pay(&self, order: &str) -> Call {
        self.post(&format!("/orders/{order}/payment"), json!({})).with_key()
    }

    pub fn cancel(&self, order: &str) -> Call {
        self.post(&format!("/orders/{order}/cancellation"), json!({})).with_key()
    }

    pub async fn order_status(&self, order: &str) -> String {
        self.get(&format!("/orders/{order}")).send().await.expect(200).text("status")
    }

    /// Asks for a coupon.
    pub async fn ask_for(&self, coupon: &str) -> super::Reply {
        self.post(&format!("/coupons/{coupon}/issue-requests"), json!({})).send().await
    }

    /// Asks for a coupon and waits for the result.
    pub async fn win(&self, coupon: &str) -> super::Reply {
        let asked = self.ask_for(coupon).await.expect(202);
        let request = asked.text("request_id");
        self.get(&format!("/issue-requests/{request}?wait=30")).send().await.expect(200)
    }
}

impl TestShop {
    /// Creates a member with `balance` in the wallet.
    pub(crate) async fn member(&self, balance: i64) -> TestMember {
        self.members(1, balance).await.remove(0)
    }

    /// Creates members, each with `balance` in the wallet. The members skip the password: their sessions are inserted
    /// into the database, and refreshed once over the API.
    pub(crate) async fn members(&self, count: usize, balance: i64) -> Vec<TestMember> {
        let refresh: Vec<String> = (0..count).map(|_| random_key()).collect();
        let tokens = refresh.clone();
        let enter = move |tx: &mut db::Tx<'_>| -> Result<(), member::MemberError> {
            for token in &tokens {
                let new = NewMember { email: format!("{token}@example.com"), name: "Kim Shopper".into() };
                let member = member::register(tx, &new, &HASH)?;
                let expires_at = Time::now() + Duration::from_secs(3600);
                member::start_session(tx, member.id, &Sha256::digest(token), expires_at)?;
                if balance > 0 {
                    let amount = contracts::Money::from_minor(balance);
                    payment::charge(tx, member.id, amount).expect("an amount that can be charged");
                }
            }
            Ok(())
        };
        self.runtime.db.write(enter).await.unwrap();
        let api = self.api().clone();
        let members = all_at_once(32, refresh, move |token| {
            let api = api.clone();
            async move {
                let tokens = api.post("/sessions/refresh", json!({ "refresh_token": token })).send().await.expect(201);
                TestMember::with_token(&api, &tokens.text("access_token")).await
            }
        });
        members.await
    }
}

/// Returns the id as the domain's type.
impl From<&TestMember> for MemberId {
    fn from(member: &TestMember) -> Self {
        member.id.parse().unwrap()
    }
}
