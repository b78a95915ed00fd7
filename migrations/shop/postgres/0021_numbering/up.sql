-- A unit numbers its own events, at its end: outbox and sequencer go.

-- Units of the version before that are in flight: those that have an event in the outbox are waited for, and others fail.
LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE;

-- Programs of the version before would leave events in an outbox that is gone.
DO $$
BEGIN
    IF EXISTS (SELECT FROM group_member WHERE expires_at > now()) THEN
        RAISE EXCEPTION 'programs of an older version run on this database: stop them first (after a crash wait 10 seconds)';
    END IF;
END $$;

-- `next` rises no more with each event, for each update would leave a dead row: see log_end.
ALTER TABLE topic_partition ADD COLUMN partitions integer NOT NULL DEFAULT 0; -- that the topic has
UPDATE topic_partition at
SET partitions = (SELECT count(*) FROM topic_partition other WHERE other.topic = at.topic);

-- The position that the next event of the partition gets.
CREATE FUNCTION log_end(at topic_partition) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT greatest(at.next, at.floor, (SELECT max(position) + 1 FROM event_log
                                        WHERE topic = at.topic AND partition = at.partition))
$$;

-- Appends events to the log, the last thing that a unit does. `counts` is the number of partitions by which each
-- partition was chosen. Returns the positions.
--
-- Each statement of the function sees what was committed before it, so that the ends are those behind the locks. The
-- locks last until the unit ends: a position that is given is committed before the next one is.
CREATE FUNCTION append_events(
    topics text[], partitions integer[], counts integer[], ids uuid[], keys text[], kinds text[], versions smallint[],
    aggregate_versions bigint[], occurred timestamptz[], traceparents text[], payloads text[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    place record;
    positions bigint[];
BEGIN
    FOR place IN
        SELECT at.topic, at.partitions, wanted.count
        FROM (SELECT DISTINCT * FROM unnest(topics, partitions, counts) AS named (topic, partition, count)) wanted
        JOIN topic_partition at USING (topic, partition)
        ORDER BY at.topic COLLATE "C", at.partition
        FOR NO KEY UPDATE OF at
    LOOP
        IF place.partitions <> place.count THEN
            RAISE EXCEPTION 'the topic % has % partitions now', place.topic, place.partitions
                USING ERRCODE = 'serialization_failure';
        END IF;
    END LOOP;
    WITH named AS (
        SELECT *, row_number() OVER (PARTITION BY topic, partition ORDER BY n) - 1 AS nth
        FROM unnest(topics, partitions, ids, keys, kinds, versions, aggregate_versions, occurred, traceparents, payloads)
             WITH ORDINALITY
             AS named (topic, partition, id, key, kind, version, aggregate_version, occurred_at, traceparent, payload, n)
    ), ends AS MATERIALIZED (
        SELECT topic, partition, log_end(at) AS next
        FROM (SELECT DISTINCT topic, partition FROM named) wanted JOIN topic_partition at USING (topic, partition)
    ), placed AS MATERIALIZED (
        SELECT named.*, next + nth AS position FROM named JOIN ends USING (topic, partition)
    ), appended AS (
        INSERT INTO event_log (topic, partition, position, id, key, kind, version, aggregate_version, occurred_at,
                               appended_at, traceparent, payload)
        SELECT topic, partition, position, id, key, kind, version, aggregate_version, occurred_at, clock_timestamp(),
               traceparent, payload::json
        FROM placed
    )
    SELECT array_agg(position ORDER BY n) INTO positions FROM placed;
    IF cardinality(positions) IS DISTINCT FROM cardinality(ids) THEN
        RAISE EXCEPTION 'an event of a partition that is not there';
    END IF;
    RETURN positions;
END $$;

-- What waits in the outbox is numbered now, in the order of its commits.
INSERT INTO event_log (topic, partition, position, id, key, kind, version, aggregate_version, occurred_at, appended_at,
                       traceparent, payload)
SELECT topic, partition, log_end(at) + row_number() OVER (PARTITION BY topic, partition ORDER BY seq) - 1,
       id, key, kind, version, aggregate_version, occurred_at, clock_timestamp(), traceparent, payload
FROM (SELECT outbox.*, key_hash % at.partitions AS partition
      FROM outbox JOIN topic_partition at ON at.topic = outbox.topic AND at.partition = 0) waiting
JOIN topic_partition at USING (topic, partition);
DROP TABLE outbox;
DROP SEQUENCE outbox_seq;
