//! The group `notification-email`: a mail to each member to be told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_trait::async_trait;
use contracts::MemberId;
use db::types::Id;
use db::{Conn, Database};
use lettre::address::Address;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::response::Code;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use messaging::{EffectHandler, Event, HandlerError, Lease};

use super::model::{self, Audience, Notice};
use super::settings::{EmailSettings, SmtpSecurity};
use super::store::{self, Channel};
use crate::outbound::chain;
use program::settings::{SettingError, expect, positive};

/// Mails, one after the other; what was sent is noted at once, so that a retry sends only the rest.
pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    db: Database,
}

impl Email {
    /// `None` unless a host is set.
    pub(super) fn new(settings: &EmailSettings, db: Database) -> Result<Option<Self>, SettingError> {
        Ok(way(settings)?.map(|(transport, from)| Self { transport, from, db }))
    }

    /// The id is the same each time, so that a mail that comes twice can be told.
    fn message(&self, mail: &Mail, to: Address) -> Result<Message, HandlerError> {
        let id = format!("<{}.{}@{}>", mail.event_id, mail.member_id, self.from.email.domain());
        Message::builder()
            .message_id(Some(id))
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|error| HandlerError::Failed(chain(&error)))
    }

    async fn send(&self, mail: &Mail) -> Result<(), HandlerError> {
        let to: Address = mail.address.parse().map_err(|_| HandlerError::Failed("not an e-mail address".into()))?;
        let message = self.message(mail, to)?;
        self.transport.send(message).await.map_err(|error| refusal(&error, &mail.address))?;
        let (event, recipient) = (mail.event_id, mail.member_id.to_string());
        let mark = move |tx: &mut db::Tx<'_>| {
            let now = tx.now()?;
            store::mark_sent(tx, event, Channel::Email, &recipient, now)
        };
        Ok(self.db.write(mark).await?)
    }
}

/// The server and the sender; `None` unless a host is set. Nothing is connected.
pub(super) fn way(
    settings: &EmailSettings,
) -> Result<Option<(AsyncSmtpTransport<Tokio1Executor>, Mailbox)>, SettingError> {
    let Some(host) = settings.host.as_deref().filter(|host| !host.is_empty()) else { return Ok(None) };
    let from = settings
        .from
        .parse()
        .map_err(|error| SettingError::new("notification.email.from", format!("is no mailbox: {error}")))?;
    positive("notification.email.timeout", settings.timeout)?;
    expect("notification.email.port", settings.port != Some(0), "expected 1 to 65535")?;
    let (tls, port) = match settings.security {
        SmtpSecurity::None => (Tls::None, 25),
        SmtpSecurity::Starttls => (Tls::Required(tls(host, settings)?), 587),
        SmtpSecurity::Tls => (Tls::Wrapper(tls(host, settings)?), 465),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(settings.port.unwrap_or(port))
        .tls(tls)
        .timeout(Some(settings.timeout));
    if let Some(username) = &settings.username {
        builder = builder.credentials(Credentials::new(username.clone(), settings.password.expose().to_owned()));
    }
    Ok(Some((builder.build(), from)))
}

fn tls(host: &str, settings: &EmailSettings) -> Result<TlsParameters, SettingError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = &settings.ca_file {
        let bad = |reason: String| SettingError::new("notification.email.ca_file", reason);
        let pem = std::fs::read(file).map_err(|error| bad(format!("{}: {error}", file.display())))?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| bad(chain(&error)))?);
    }
    builder.build().map_err(|error| SettingError::new("notification.email.host", chain(&error)))
}

/// Only a permanent refusal of the mail itself fails it; a refused login or a server in trouble is waited out.
fn refusal(error: &lettre::transport::smtp::Error, address: &str) -> HandlerError {
    let login = |code: Code| matches!(u16::from(code), 530 | 534 | 535 | 538);
    let refused = error.is_permanent() && !error.status().is_some_and(login);
    // no server that is up would take it either: it does not know such addresses
    let foreign = error.is_client() && !address.is_ascii();
    let text = chain(error);
    if refused || foreign { HandlerError::Failed(text) } else { HandlerError::Unavailable(text) }
}

/// A mail to be sent.
struct Mail {
    event_id: Id,
    member_id: MemberId,
    address: String,
    subject: &'static str,
    text: String,
}

/// What is left to send for `notices`, in their order.
fn outstanding(conn: &mut Conn, notices: &[Notice]) -> db::Result<Vec<Mail>> {
    let events: Vec<Id> = notices.iter().map(|notice| notice.event_id).collect();
    let sent = store::sent(conn, Channel::Email, &events)?;
    let mut addresses = Addresses::default();
    let mut mails = Vec::new();
    for notice in notices {
        let (event_id, subject) = (notice.event_id, notice.kind.subject());
        for (member_id, address) in addresses.of(conn, notice.audience)? {
            if !sent.contains(&(event_id, member_id.to_string())) {
                mails.push(Mail { event_id, member_id, address, subject, text: notice.text.clone() });
            }
        }
    }
    Ok(mails)
}

/// Where to reach whom, looked up once a batch.
#[derive(Default)]
struct Addresses {
    members: HashMap<MemberId, Option<String>>,
    admins: Option<Vec<(MemberId, String)>>,
}

impl Addresses {
    /// Nobody, when there is no such member.
    fn of(&mut self, conn: &mut Conn, audience: Audience) -> db::Result<Vec<(MemberId, String)>> {
        match audience {
            Audience::Member(id) => {
                let address = match self.members.entry(id) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => unknown.insert(member::get(conn, id)?.map(|member| member.email)),
                };
                Ok(address.iter().map(|address| (id, address.clone())).collect())
            }
            Audience::Admins => {
                if self.admins.is_none() {
                    let admins = member::admins(conn)?;
                    self.admins = Some(admins.into_iter().map(|admin| (admin.id, admin.email)).collect());
                }
                Ok(self.admins.clone().unwrap_or_default())
            }
        }
    }
}

#[async_trait]
impl EffectHandler for Email {
    async fn handle(&self, _lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let notices = model::notices(events)?;
        if notices.is_empty() {
            return Ok(());
        }
        let mails = self.db.read(move |conn| outstanding(conn, &notices)).await?;
        let mut failed: Option<(Id, HandlerError)> = None;
        for mail in &mails {
            // one refused mail does not keep the event from its other recipients, but later events wait for it
            if failed.as_ref().is_some_and(|(event, _)| *event != mail.event_id) {
                break;
            }
            match self.send(mail).await {
                Ok(()) => {}
                Err(error @ HandlerError::Failed(_)) => {
                    failed.get_or_insert((mail.event_id, error));
                }
                Err(away) => return Err(away),
            }
        }
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }
}
