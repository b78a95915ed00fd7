//! The rules of members and sessions, on every database.

use std::time::Duration;

use contracts::MemberId;
use db::Database;
use db::types::Time;
use diesel::prelude::*;
use lettre::Message;
use lettre::message::Mailbox;
use member::{Member, MemberError, NewMember, Role, Rotation, SessionId};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Stands for the SHA-256 of the n-th refresh token.
fn token(n: u8) -> [u8; 32] {
    [n; 32]
}

async fn register(db: &Database, email: &str) -> Result<Member, MemberError> {
    let new = NewMember { email: email.into(), name: "Mina".into() };
    db.write(move |tx| member::register(tx, &new, "a hash")).await
}

async fn sign_in(db: &Database, member: MemberId, first_token: u8, lasts: Duration) -> SessionId {
    db.write(move |tx| member::start_session(tx, member, &token(first_token), Time::now() + lasts)).await.unwrap()
}

async fn renew(db: &Database, old: u8, new: u8) -> Rotation {
    db.write(move |tx| member::rotate_session(tx, &token(old), &token(new), Time::now() + DAY)).await.unwrap()
}

diesel::table! {
    refresh_token (hash) {
        hash -> diesel::sql_types::Binary,
        rotated_at -> diesel::sql_types::Nullable<db::types::UtcTime>,
    }
}

/// Has the token been used so long before.
async fn age(db: &Database, n: u8, by: Duration) {
    let work = move |tx: &mut db::Tx<'_>| -> db::Result<usize> {
        let used = diesel::update(refresh_token::table.find(token(n).to_vec()));
        Ok(used.set(refresh_token::rotated_at.eq(Some(Time::now() - by))).execute(&mut **tx)?)
    };
    assert_eq!(db.write(work).await.unwrap(), 1);
}

async fn is_live(db: &Database, session: SessionId) -> bool {
    db.read(move |conn| member::session_is_live(conn, session)).await.unwrap()
}

/// Addresses on which parsers disagree. Only the first eight are good: a domain needs no dot (RFC 5321, 4.1.2).
const ODD: [&str; 29] = [
    "kim@example.com",
    "kim+shop@example.co.kr",
    "o'neil@example.com",
    "kim@localhost",
    "a@b",
    "kim@쇼핑몰.kr",
    "김@example.com",
    "kim@example_1.com",
    "\"kim\"@example.com",
    "\"k im\"@example.com",
    "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg@example.com",
    "kim@aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg.com",
    ".a@example.com",
    "a.@example.com",
    "a..b@example.com",
    "kim@[127.0.0.1]",
    "kim@127.0.0.1",
    "kim@[IPv6:::1]",
    "kim@example..com",
    "kim@-example.com",
    "kim@example.com.",
    "Kim <kim@example.com>",
    "<kim@example.com>",
    "kim(mug)@example.com",
    "kim@example.com,lee@example.com",
    "kim@example.com\u{200b}",
    "k\u{ad}im@example.com",
    "kim@ｅxample.com",
    "kim@example。com",
];

#[test]
fn every_address_that_a_member_can_have_is_one_that_the_mailer_takes() {
    let taken: Vec<_> = ODD.into_iter().filter(|address| member::checked_email(address).is_ok()).collect();
    for address in &taken {
        let to = Mailbox::new(None, address.parse().unwrap());
        let mail = Message::builder().from("shop@example.com".parse().unwrap()).to(to).body(String::new());
        let mail = mail.unwrap_or_else(|error| panic!("{address}: {error}"));
        assert_eq!(mail.envelope().to().iter().map(ToString::to_string).collect::<Vec<_>>(), [*address]);
    }
    let (good, bad) = ODD.split_at(8);
    assert!(taken == good && !bad.is_empty(), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_registrations_with_one_address_at_once_one_succeeds() {
    for shop in testkit::databases().await {
        let at_once = (0..20).map(|n| {
            let email = if n % 2 == 0 { "mina@example.com" } else { " Mina@Example.COM" };
            register(&shop.db, email)
        });
        let results = futures::future::join_all(at_once).await;
        let (taken, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((taken.len(), refused.len()), (1, 19), "{}", shop.name);
        assert!(refused.iter().all(|refusal| matches!(refusal, Err(MemberError::EmailTaken))), "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_the_same_in_upper_and_lower_case() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "  Mina@Example.com ").await.unwrap();
        assert_eq!((mina.email.as_str(), mina.role), ("mina@example.com", Role::Member));
        let found = shop.db.read(|conn| member::credentials(conn, "MINA@example.com")).await.unwrap().unwrap();
        assert_eq!((found.member, found.password_hash.as_str()), (mina, "a hash"), "{}", shop.name);
        assert!(shop.db.read(|conn| member::credentials(conn, "juno@example.com")).await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_address_or_no_name_is_refused_by_the_name_of_the_field() {
    for shop in testkit::databases().await {
        let long = format!("{}@example.com", "m".repeat(250));
        for email in ["", "mina", "@example.com", "mina@", "mi na@example.com", "mina@example.com\n\u{7}x", &long] {
            let refused = register(&shop.db, email).await.expect_err(email);
            assert!(matches!(refused, MemberError::Invalid { field: "email", .. }), "{email}: {refused}");
        }
        for name in ["", "  ", "Mi\u{0}na", &"m".repeat(101)] {
            let new = NewMember { email: "mina@example.com".into(), name: name.into() };
            let refused = shop.db.write(move |tx| member::register(tx, &new, "a hash")).await.unwrap_err();
            assert!(matches!(refused, MemberError::Invalid { field: "name", .. }), "{refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_is_inserted_once_and_nobody_is_promoted() {
    for shop in testkit::databases().await {
        let insert =
            |email: &'static str| shop.db.write(move |tx| member::insert_admin_if_absent(tx, email, "Admin", "a hash"));
        let at_once = futures::future::join_all((0..5).map(|_| insert("Admin@shop.local"))).await;
        assert_eq!(at_once.iter().filter(|inserted| matches!(inserted, Ok(true))).count(), 1, "{}", shop.name);
        let mina = register(&shop.db, "mina@example.com").await.unwrap();
        assert!(!insert("mina@example.com").await.unwrap());
        let still = shop.db.read(move |conn| member::get(conn, mina.id)).await.unwrap().unwrap();
        assert_eq!(still.role, Role::Member, "{}", shop.name);
        let admin = shop.db.read(|conn| member::credentials(conn, "admin@shop.local")).await.unwrap().unwrap();
        assert_eq!(admin.member.role, Role::Admin, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_can_change_the_name_and_nothing_else_by_it() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "mina@example.com").await.unwrap();
        let renamed = shop.db.write(move |tx| member::rename(tx, mina.id, " Mina Kim ")).await.unwrap();
        assert_eq!(renamed, Member { name: "Mina Kim".into(), ..mina }, "{}", shop.name);
        let unknown = shop.db.write(|tx| member::rename(tx, MemberId::new(), "Mina")).await;
        assert!(matches!(unknown, Err(MemberError::NotFound)), "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_from_the_newest_member_to_the_oldest_and_miss_none() {
    for shop in testkit::databases().await {
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(register(&shop.db, &format!("member{n}@example.com")).await.unwrap().id);
        }
        ids.reverse();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = shop.db.read(move |conn| member::page(conn, after, 2)).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.iter().map(|member| member.id));
        }
        assert_eq!(seen, ids, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_under_each_new_token_and_old_ones_are_good_for_nothing() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "mina@example.com").await.unwrap();
        let session = sign_in(&shop.db, mina.id, 1, DAY).await;
        for n in 1..4 {
            assert_eq!(renew(&shop.db, n, n + 1).await, Rotation::Renewed(session, mina.clone()), "{}", shop.name);
        }
        assert!(is_live(&shop.db, session).await);
        assert_eq!(renew(&shop.db, 99, 100).await, Rotation::Refused, "one that was never given out");
        assert!(is_live(&shop.db, session).await, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_again_ends_the_session_however_old_it_is() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "mina@example.com").await.unwrap().id;
        let session = sign_in(&shop.db, mina, 1, DAY).await;
        let other = sign_in(&shop.db, mina, 50, DAY).await;
        for n in 1..4 {
            assert!(matches!(renew(&shop.db, n, n + 1).await, Rotation::Renewed(..)));
        }
        let again = renew(&shop.db, 3, 4).await;
        assert!(matches!(again, Rotation::Renewed(same, _) if same == session), "{}: a repeat", shop.name);
        age(&shop.db, 1, Duration::from_secs(31)).await;
        let reused = renew(&shop.db, 1, 2).await;
        assert_eq!(reused, Rotation::Reused(session));
        assert!(matches!(reused.granted(), Err(MemberError::InvalidRefresh)));
        assert!(!is_live(&shop.db, session).await, "{}", shop.name);
        assert_eq!(renew(&shop.db, 4, 5).await, Rotation::Refused, "the newest token went with it");
        assert!(is_live(&shop.db, other).await, "the member's other sessions go on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_renewals_with_one_token_at_once_give_the_same_successor() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "mina@example.com").await.unwrap().id;
        for n in 0..10 {
            let session = sign_in(&shop.db, mina, n * 10, DAY).await;
            let renewed = || renew(&shop.db, n * 10, n * 10 + 1);
            let (a, b) = futures::future::join(renewed(), renewed()).await;
            assert!(matches!(&a, Rotation::Renewed(same, _) if *same == session), "{}: {a:?}, {b:?}", shop.name);
            assert_eq!(a, b, "{}", shop.name);
            let of_another_key = renew(&shop.db, n * 10, n * 10 + 2).await;
            assert_eq!(of_another_key, Rotation::Reused(session), "not its successor");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_revoked_is_over_and_its_token_too() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "mina@example.com").await.unwrap().id;
        let session = sign_in(&shop.db, mina, 1, DAY).await;
        assert!(shop.db.write(move |tx| member::revoke_session(tx, session)).await.unwrap());
        assert!(!shop.db.write(move |tx| member::revoke_session(tx, session)).await.unwrap(), "once");
        assert!(!is_live(&shop.db, session).await, "{}", shop.name);
        assert_eq!(renew(&shop.db, 1, 2).await, Rotation::Refused, "{}", shop.name);
        assert!(!is_live(&shop.db, SessionId::new()).await, "one that never was");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_not_renewed_in_time_is_over() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "mina@example.com").await.unwrap().id;
        let session = sign_in(&shop.db, mina, 1, Duration::ZERO).await;
        assert!(!is_live(&shop.db, session).await, "{}", shop.name);
        assert_eq!(renew(&shop.db, 1, 2).await, Rotation::Refused, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_all_sessions_but_the_one_that_set_it() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "mina@example.com").await.unwrap().id;
        let juno = register(&shop.db, "juno@example.com").await.unwrap().id;
        let (mine, elsewhere) = (sign_in(&shop.db, mina, 1, DAY).await, sign_in(&shop.db, mina, 2, DAY).await);
        let of_juno = sign_in(&shop.db, juno, 3, DAY).await;
        shop.db.write(move |tx| member::set_password(tx, mina, "another hash", Some(mine))).await.unwrap();
        let live =
            [is_live(&shop.db, mine).await, is_live(&shop.db, elsewhere).await, is_live(&shop.db, of_juno).await];
        assert_eq!(live, [true, false, true], "{}", shop.name);
        let found = shop.db.read(move |conn| member::credentials_of(conn, mina)).await.unwrap().unwrap();
        assert_eq!(found.password_hash, "another hash");
        shop.db.write(move |tx| member::set_password(tx, mina, "a third hash", None)).await.unwrap();
        assert!(!is_live(&shop.db, mine).await, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_sessions_are_purged_in_chunks_and_live_ones_kept() {
    for shop in testkit::databases().await {
        let mina = register(&shop.db, "mina@example.com").await.unwrap().id;
        for n in 0..7 {
            sign_in(&shop.db, mina, n, Duration::ZERO).await;
        }
        let live = sign_in(&shop.db, mina, 100, DAY).await;
        let mut chunks = Vec::new();
        for _ in 0..4 {
            chunks.push(shop.db.write(|tx| member::purge_sessions(tx, 3)).await.unwrap());
        }
        assert_eq!(chunks, [3, 3, 1, 0], "{}", shop.name);
        assert!(is_live(&shop.db, live).await);
        assert!(matches!(renew(&shop.db, 100, 101).await, Rotation::Renewed(..)), "{}", shop.name);
    }
}
