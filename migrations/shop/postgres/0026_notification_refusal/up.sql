-- Why a recipient's server refused a mail for good; NULL for what was sent.
ALTER TABLE notification_sent ADD COLUMN refusal text;

-- Mails that a server cannot take for their mailbox now.
CREATE TABLE notification_waiting (
    event_id uuid NOT NULL,
    member_id uuid NOT NULL,
    subject text NOT NULL,
    text text NOT NULL,
    since timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, member_id)
);
