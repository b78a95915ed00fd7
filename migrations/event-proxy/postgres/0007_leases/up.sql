-- Members expire, and a lease lasts as long as its holder is a member.
ALTER TABLE group_lease DROP COLUMN expires_at;
