//! The group `notification-email`: a mail to each member to be told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use contracts::MemberId;
use db::types::Id;
use db::{Conn, Database, Tx};
use lettre::address::Address;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::response::Code;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use messaging::{EffectHandler, Event, HandlerError, Lease};
use telemetry::metrics::NOTIFICATION_REFUSED;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::model::{self, Audience, Notice};
use super::settings::{EmailSettings, SmtpSecurity};
use super::store::{self, Channel, Waiting};
use crate::outbound::{certificates, chain};
use program::settings::{SettingError, expect, positive};

/// Time after which a mail is given up whose mailbox takes none.
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 3600);

/// Mails, one after the other; what was sent is noted at once, so that a retry sends only the rest.
pub(super) struct Email {
    mailer: Arc<Mailer>,
    /// Sends what waits for its mailbox, since this member has a partition.
    resending: OnceLock<AbortOnDropHandle<()>>,
}

struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    resend_after: Duration,
    db: Database,
}

/// A server's answer about one mail.
enum Fate {
    Sent,
    /// The recipient is refused for good.
    Refused(String),
    /// The mailbox takes no mail now.
    Busy(String),
}

impl Email {
    /// `None` unless a host is set.
    pub(super) fn new(settings: &EmailSettings, db: Database) -> Result<Option<Self>, SettingError> {
        let resend_after = settings.resend_after;
        Ok(way(settings)?.map(|(transport, from)| Self {
            mailer: Arc::new(Mailer { transport, from, resend_after, db }),
            resending: OnceLock::new(),
        }))
    }
}

impl Mailer {
    /// The id is the same each time, so that a mail that comes twice can be told.
    fn message(&self, mail: &Mail, to: Address) -> Result<Message, HandlerError> {
        let id = format!("<{}.{}@{}>", mail.event_id, mail.member_id, self.from.email.domain());
        Message::builder()
            .message_id(Some(id))
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&mail.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|error| HandlerError::Failed(chain(&error)))
    }

    async fn send(&self, mail: &Mail) -> Result<Fate, HandlerError> {
        let to = match mail.address.parse::<Address>() {
            Ok(to) => to,
            Err(error) => return Ok(Fate::Refused(chain(&error))),
        };
        match self.transport.send(self.message(mail, to)?).await {
            Ok(_) => Ok(Fate::Sent),
            Err(error) if is_of_recipient(&error, &mail.address) => Ok(Fate::Refused(chain(&error))),
            Err(error) if is_busy(&error) => Ok(Fate::Busy(chain(&error))),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Notes that a mail was sent, or the reason why it never will be.
    async fn note(&self, mail: &Mail, refusal: Option<String>) -> Result<(), HandlerError> {
        let (event, member) = (mail.event_id, mail.member_id);
        if let Some(reason) = &refusal {
            tracing::warn!(%event, %member, reason, "mail refused for its recipient; it is not sent again");
            NOTIFICATION_REFUSED.of([Channel::Email.as_str().into()]).increment(1);
        }
        let unit = move |tx: &mut Tx<'_>| -> db::Result<()> {
            let now = tx.now()?;
            store::forget_waiting(tx, event, member)?;
            store::mark_sent(tx, event, Channel::Email, &member.to_string(), refusal.as_deref(), now)
        };
        Ok(self.db.write(unit).await?)
    }

    /// Has a mail wait, unless it was sent meanwhile.
    async fn put_off(&self, mail: &Mail) -> Result<(), HandlerError> {
        let (mail, pause) = (mail.clone(), self.resend_after);
        let unit = move |tx: &mut Tx<'_>| -> db::Result<()> {
            let now = tx.now()?;
            let sent = store::sent(tx, Channel::Email, &[mail.event_id])?;
            if sent.contains(&(mail.event_id, mail.member_id.to_string())) {
                return Ok(());
            }
            store::put_off(tx, mail.event_id, mail.member_id, &mail.subject, &mail.text, now, now + pause)
        };
        Ok(self.db.write(unit).await?)
    }

    /// Sends again what is due, for ever.
    async fn resend(self: Arc<Self>) {
        loop {
            match self.resend_one().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "mails that wait for their mailbox wait on"),
            }
            sleep(self.resend_after).await;
        }
    }

    /// Sends a mail that is due; false if none is.
    async fn resend_one(&self) -> Result<bool, HandlerError> {
        let pause = self.resend_after;
        let unit = move |tx: &mut Tx<'_>| -> db::Result<_> {
            let now = tx.now()?;
            let Some(waiting) = store::claim(tx, now, now + pause)? else { return Ok(None) };
            let is_over = waiting.since + GIVE_UP < now;
            let member = member::get(tx, waiting.member_id)?;
            Ok(Some((waiting, is_over, member.map(|member| member.email).unwrap_or_default())))
        };
        let Some((waiting, is_over, address)) = self.db.write(unit).await? else { return Ok(false) };
        let Waiting { event_id, member_id, subject, text, .. } = waiting;
        let mail = Mail { event_id, member_id, address, subject, text };
        let refusal = match self.send(&mail).await {
            Ok(Fate::Busy(_)) if !is_over => return Ok(true),
            Ok(Fate::Sent) => None,
            Ok(Fate::Refused(reason) | Fate::Busy(reason)) | Err(HandlerError::Failed(reason)) => Some(reason),
            Err(away) => return Err(away),
        };
        self.note(&mail, refusal).await.map(|()| true)
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
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let reason = format!("expected the name or address of a host, got {host:?}");
    expect("notification.email.host", !host.contains(is_blank), &reason)?;
    positive("notification.email.timeout", settings.timeout)?;
    positive("notification.email.resend_after", settings.resend_after)?;
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
        let (pem, _) = certificates("notification.email", file)?;
        let bad = |error| SettingError::new("notification.email.ca_file", chain(&error));
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(bad)?);
    }
    builder.build().map_err(|error| SettingError::new("notification.email.host", chain(&error)))
}

/// Returns true if a server refuses the recipient for good: the mailbox, and neither the sender, the login nor the content.
///
/// Without an enhanced status code (RFC 3463) the code of RFC 5321 decides.
fn is_of_recipient(error: &lettre::transport::smtp::Error, address: &str) -> bool {
    let Some(code) = error.status().filter(|_| error.is_permanent()).map(u16::from) else {
        // no server that is up would take it either: it does not know such addresses
        return error.is_client() && !address.is_ascii();
    };
    let text = chain(error);
    let enhanced = text.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| {
        word.strip_prefix("5.").is_some_and(|rest| rest.contains('.') && !rest.starts_with('.') && !rest.ends_with('.'))
    });
    match enhanced {
        // 5.1.7 and 5.1.8 speak of the sender's address
        Some(enhanced) => {
            (enhanced.starts_with("5.1.") || enhanced.starts_with("5.2.")) && !["5.1.7", "5.1.8"].contains(&enhanced)
        }
        None => matches!(code, 550 | 551 | 553),
    }
}

/// Only a permanent refusal of the mail itself fails it; a refused login or a server in trouble is waited out.
fn refusal(error: &lettre::transport::smtp::Error) -> HandlerError {
    let login = |code: Code| matches!(u16::from(code), 530 | 534 | 535 | 538);
    let refused = error.is_permanent() && !error.status().is_some_and(login);
    let text = chain(error);
    if refused { HandlerError::Failed(text) } else { HandlerError::Unavailable(text) }
}

/// Returns true if the server cannot take a mail for this mailbox now (RFC 5321, 4.2.3).
fn is_busy(error: &lettre::transport::smtp::Error) -> bool {
    error.status().is_some_and(|code| matches!(u16::from(code), 450 | 452))
}

/// A mail to be sent.
#[derive(Clone)]
struct Mail {
    event_id: Id,
    member_id: MemberId,
    address: String,
    subject: String,
    text: String,
}

/// What is left to send for `notices`, in their order.
fn outstanding(conn: &mut Conn, notices: &[Notice]) -> db::Result<Vec<Mail>> {
    let events: Vec<Id> = notices.iter().map(|notice| notice.event_id).collect();
    let sent = store::sent(conn, Channel::Email, &events)?;
    let mut addresses = Addresses::default();
    let mut mails = Vec::new();
    for notice in notices {
        let event_id = notice.event_id;
        for (member_id, address) in addresses.of(conn, notice.audience)? {
            if !sent.contains(&(event_id, member_id.to_string())) {
                let (subject, text) = (notice.kind.subject().to_owned(), notice.text.clone());
                mails.push(Mail { event_id, member_id, address, subject, text });
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
        let mailer = &self.mailer;
        let unsent = move |conn: &mut Conn| -> db::Result<_> {
            Ok((outstanding(conn, &notices)?, store::members_waiting(conn)?))
        };
        let (mails, mut waiting) = mailer.db.read(unsent).await?;
        let mut failed: Option<(Id, HandlerError)> = None;
        for mail in &mails {
            // one refused mail does not keep the event from its other recipients, but later events wait for it
            if failed.as_ref().is_some_and(|(event, _)| *event != mail.event_id) {
                break;
            }
            let fate = match waiting.contains(&mail.member_id) {
                true => Ok(Fate::Busy("a mail to this mailbox waits already".into())),
                false => mailer.send(mail).await,
            };
            match fate {
                Ok(Fate::Sent) => mailer.note(mail, None).await?,
                Ok(Fate::Refused(reason)) => mailer.note(mail, Some(reason)).await?,
                Ok(Fate::Busy(reason)) => {
                    tracing::info!(event = %mail.event_id, member = %mail.member_id, reason, "mail put off");
                    mailer.put_off(mail).await?;
                    waiting.insert(mail.member_id);
                }
                Err(error @ HandlerError::Failed(_)) => {
                    failed.get_or_insert((mail.event_id, error));
                }
                Err(away) => return Err(away),
            }
        }
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }

    async fn taken(&self, _lease: &Lease) -> Result<(), HandlerError> {
        let resend = || AbortOnDropHandle::new(tokio::spawn(self.mailer.clone().resend()));
        self.resending.get_or_init(resend);
        Ok(())
    }
}
