-- Epochs of the log: the positions that were given during one life of the storage.

-- The list grows with each life of the storage, so that a program of an older version, which opens no epochs, must not run.
DO $$
BEGIN
    IF EXISTS (SELECT FROM group_member WHERE expires_at > now()) THEN
        RAISE EXCEPTION 'programs of an older version run on this database: stop them first (after a crash wait 10 seconds)';
    END IF;
END $$;

CREATE TABLE log_epoch (
    ordinal bigint PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    life text NOT NULL,                    -- of the storage when the epoch was opened
    opened_at timestamptz NOT NULL
);

-- An epoch owns the positions of a partition from its first one up to the first one of the next epoch. An epoch that owns
-- no position of a partition has no row, unless it is the newest.
CREATE TABLE log_epoch_start (
    topic text NOT NULL,
    partition integer NOT NULL,
    ordinal bigint NOT NULL,
    first bigint NOT NULL,
    PRIMARY KEY (topic, partition, ordinal)
);

-- The first epoch has what was appended before there were epochs. Events without an epoch are of this one.
INSERT INTO log_epoch VALUES (0, '00000000-0000-0000-0000-000000000000', '', now());
INSERT INTO log_epoch_start SELECT topic, partition, 0, 0 FROM topic_partition;
ALTER TABLE topic_partition ADD COLUMN epoch uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';
ALTER TABLE event_log ADD COLUMN epoch bigint NOT NULL DEFAULT 0;
ALTER TABLE topic_partition ALTER COLUMN epoch DROP DEFAULT;
ALTER TABLE event_log ALTER COLUMN epoch DROP DEFAULT;

-- Appends events to the log, the last thing that a unit does. `counts` is the number of partitions by which each
-- partition was chosen, `of_epoch` the newest epoch as the process knows it. Returns the positions.
--
-- Each statement of the function sees what was committed before it, so that the ends are those behind the locks. The
-- locks last until the unit ends: a position that is given is committed before the next one is. Plans are made once for
-- each connection: with new arrays at each call PostgreSQL would plan each call anew, which takes longer than the rest.
DROP FUNCTION append_events;
DROP FUNCTION log_end;
CREATE FUNCTION append_events(
    topics text[], partitions integer[], counts integer[], ids uuid[], keys text[], kinds text[], versions smallint[],
    aggregate_versions bigint[], occurred timestamptz[], traceparents text[], payloads text[], of_epoch uuid
) RETURNS bigint[] LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    place record;
    place_end bigint;
    end_topics text[];
    end_partitions integer[];
    ends bigint[];
    positions bigint[];
BEGIN
    FOR place IN
        SELECT at.topic, at.partition, at.partitions, at.epoch, at.next, at.floor, wanted.count
        FROM (SELECT DISTINCT * FROM unnest(topics, partitions, counts) AS named (topic, partition, count)) wanted
        JOIN topic_partition at USING (topic, partition)
        ORDER BY at.topic COLLATE "C", at.partition
        FOR NO KEY UPDATE OF at
    LOOP
        IF place.partitions <> place.count THEN
            RAISE EXCEPTION 'the topic % has % partitions now', place.topic, place.partitions
                USING ERRCODE = 'serialization_failure';
        END IF;
        IF place.epoch <> of_epoch THEN
            RAISE EXCEPTION 'the log has the epoch % now', place.epoch USING ERRCODE = 'serialization_failure';
        END IF;
        -- behind the lock
        SELECT greatest(place.next, place.floor, max(position) + 1) INTO place_end FROM event_log
        WHERE event_log.topic = place.topic AND event_log.partition = place.partition;
        end_topics := end_topics || place.topic;
        end_partitions := end_partitions || place.partition;
        ends := ends || place_end;
    END LOOP;
    WITH placed AS MATERIALIZED (
        SELECT named.*, next + row_number() OVER (PARTITION BY named.topic, named.partition ORDER BY n) - 1 AS position
        FROM unnest(topics, partitions, ids, keys, kinds, versions, aggregate_versions, occurred, traceparents, payloads)
             WITH ORDINALITY
             AS named (topic, partition, id, key, kind, version, aggregate_version, occurred_at, traceparent, payload, n)
        JOIN unnest(end_topics, end_partitions, ends) AS known (topic, partition, next)
             ON known.topic = named.topic AND known.partition = named.partition
    ), appended AS (
        INSERT INTO event_log (topic, partition, position, id, key, kind, version, aggregate_version, occurred_at,
                               appended_at, traceparent, payload, epoch)
        SELECT topic, partition, position, id, key, kind, version, aggregate_version, occurred_at, clock_timestamp(),
               traceparent, payload::json, (SELECT ordinal FROM log_epoch WHERE log_epoch.id = of_epoch)
        FROM placed
    )
    SELECT array_agg(position ORDER BY n) INTO positions FROM placed;
    IF cardinality(positions) IS DISTINCT FROM cardinality(ids) THEN
        RAISE EXCEPTION 'an event of a partition that is not there';
    END IF;
    RETURN positions;
END $$;
