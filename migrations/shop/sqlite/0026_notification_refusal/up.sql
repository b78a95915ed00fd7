-- Why a recipient's server refused a mail for good; NULL for what was sent.
ALTER TABLE notification_sent ADD COLUMN refusal TEXT;

-- Mails that a server cannot take for their mailbox now.
CREATE TABLE notification_waiting (
    event_id BLOB NOT NULL,
    member_id BLOB NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    since INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    PRIMARY KEY (event_id, member_id)
) STRICT, WITHOUT ROWID;
