-- Requests for coupons are events of the log on either bus: direct topics and their epochs go.

-- Programs of an older version read the tables that go.
DO $$
BEGIN
    IF EXISTS (SELECT FROM group_member WHERE expires_at > now()) THEN
        RAISE EXCEPTION 'programs of an older version run on this database: stop them first (after a crash wait 10 seconds)';
    END IF;
END $$;

-- Topics with positions that the log did not give, or that begin anew.
CREATE TEMP TABLE uneven ON COMMIT DROP AS
SELECT topic FROM topic_epoch WHERE number > 0
UNION SELECT topic FROM topic_epoch JOIN topic_epoch_partition USING (topic, number) WHERE direct;

-- What waits would be lost with the epochs.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM topic_epoch JOIN topic_epoch_partition part USING (topic, number)
        WHERE direct AND (closed_at IS NULL OR next IS NULL OR next > first AND coalesce(
            (SELECT min(position) FROM group_position place WHERE place.topic = part.topic
             AND place.partition = part.partition AND place.grp <> 'relay'), -1) + 1 < next)
    ) OR EXISTS (
        SELECT FROM uneven JOIN event_log event USING (topic) JOIN group_position place USING (topic, partition)
        WHERE place.grp <> 'relay' AND event.position > place.position
    ) THEN
        RAISE EXCEPTION 'requests for coupons wait on Kafka outside the log: run "shop drain" of the version before first';
    END IF;
END $$;

-- All is handled: from here on positions have no holes.
UPDATE topic_partition at SET next = greatest(next, floor, (
    SELECT max(position) + 1 FROM event_log event WHERE event.topic = at.topic AND event.partition = at.partition
), (
    SELECT max(position) + 1 FROM group_position place WHERE place.topic = at.topic AND place.partition = at.partition
)) WHERE topic IN (SELECT topic FROM uneven);
UPDATE topic_partition SET floor = next, relayed = next - 1 WHERE topic IN (SELECT topic FROM uneven);
UPDATE group_position place SET position = at.next - 1 FROM topic_partition at
WHERE at.topic = place.topic AND at.partition = place.partition AND at.topic IN (SELECT topic FROM uneven);
DELETE FROM event_log WHERE topic IN (SELECT topic FROM uneven);

DROP TABLE topic_epoch_partition, topic_epoch;
