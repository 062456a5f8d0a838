-- name: add_messages
-- New messages. The row behind VALUES is repeated for as many as come at once (rows.insert).
INSERT INTO message (
    id, tenant, priority, due, claimed, attempt, arrived_at, expires_from, reverse_path,
    header_from, message_id, smtputf8, body_8bit, client, helo, user, bound, size, header_size,
    spool
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_recipients
-- Their recipients, each with its state.
INSERT INTO recipient (
    message, position, address, notify, state, attempts, cause, code, enhanced_status, reply,
    upstream
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_contents
-- Their content, where it is small.
INSERT INTO content (message, octets) VALUES (?, ?);

-- name: add_large_content
-- A larger content, one at a time: SQLite keeps a copy of what a cached statement was last given.
INSERT INTO content (message, octets) VALUES (?, ?);

-- name: add_events
-- The trail. A settle is repeated when it is unknown whether it was stored: then the event is there.
INSERT INTO event (id, name, tenant, message, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING;

-- name: finish
-- Messages that are done: recipients and content go with them.
DELETE FROM message WHERE id IN (SELECT value FROM json_each(?));

-- name: settle_messages
-- What attempts came to, [[id, tenant, due, dead_since]...]; those that have vanished are left out.
UPDATE message SET
    claimed = 0,
    tenant = news.tenant,
    due = news.due,
    dead_since = news.dead_since
FROM (
    SELECT
        value ->> 0 AS id,
        value ->> 1 AS tenant,
        value ->> 2 AS due,
        value ->> 3 AS dead_since
    FROM json_each(?)
) AS news
WHERE message.id = news.id;

-- name: settle_recipients
-- The news of recipients, [[message, position, state, attempts, cause, code, ...]...].
UPDATE recipient SET
    state = news.state,
    attempts = news.attempts,
    cause = news.cause,
    code = news.code,
    enhanced_status = news.enhanced_status,
    reply = news.reply,
    upstream = news.upstream
FROM (
    SELECT
        value ->> 0 AS message,
        value ->> 1 AS position,
        value ->> 2 AS state,
        value ->> 3 AS attempts,
        value ->> 4 AS cause,
        value ->> 5 AS code,
        value ->> 6 AS enhanced_status,
        value ->> 7 AS reply,
        value ->> 8 AS upstream
    FROM json_each(?)
) AS news
WHERE recipient.message = news.message AND recipient.position = news.position;

-- name: release
-- Claims that were not used: no attempt, and still due, in their old place.
UPDATE message SET claimed = 0, attempt = max(attempt - 1, 0)
WHERE claimed = 1 AND id IN (SELECT value FROM json_each(?));

-- name: claimable
-- The messages to claim next, by priority, then the longest due. Each priority is a range of its
-- own in message_pending, so that a million rows which are not due yet are never looked at.
SELECT '[' || group_concat(facts) || ']'
FROM (
    SELECT id FROM (
        SELECT * FROM (
            SELECT id, priority, due FROM message
            WHERE tenant = :tenant AND priority = 0 AND due <= :now
                AND claimed = 0 AND dead_since IS NULL
            ORDER BY due LIMIT :most
        )
        UNION ALL
        SELECT * FROM (
            SELECT id, priority, due FROM message
            WHERE tenant = :tenant AND priority = 1 AND due <= :now
                AND claimed = 0 AND dead_since IS NULL
            ORDER BY due LIMIT :most
        )
        UNION ALL
        SELECT * FROM (
            SELECT id, priority, due FROM message
            WHERE tenant = :tenant AND priority = 2 AND due <= :now
                AND claimed = 0 AND dead_since IS NULL
            ORDER BY due LIMIT :most
        )
    )
    ORDER BY priority, due, id LIMIT :most
)
CROSS JOIN message_facts USING (id);

-- name: claim
-- The claim is the attempt: both are stored before it is made.
UPDATE message SET claimed = 1, attempt = attempt + 1
WHERE id IN (SELECT value FROM json_each(?));

-- name: end_former_claims
-- What was under way when a former life ended is due at once; its attempt was made and counts.
UPDATE message SET claimed = 0, due = min(due, :now) WHERE claimed = 1;

-- name: due
-- Each tenant with pending messages, and when its first is due: a few seeks in message_pending for
-- each tenant, however many messages it has (a loose index scan).
WITH RECURSIVE waiting (tenant) AS (
    SELECT min(tenant) FROM message WHERE claimed = 0 AND dead_since IS NULL
    UNION ALL
    SELECT (
        SELECT min(message.tenant) FROM message
        WHERE message.tenant > waiting.tenant AND claimed = 0 AND dead_since IS NULL
    )
    FROM waiting WHERE waiting.tenant IS NOT NULL
),
priorities (priority) AS (VALUES (0), (1), (2))
SELECT json_group_array(json_array(tenant, due))
FROM (
    SELECT
        waiting.tenant,
        min((
            SELECT min(message.due) FROM message
            WHERE message.tenant = waiting.tenant AND message.priority = priorities.priority
                AND claimed = 0 AND dead_since IS NULL
        )) AS due
    FROM waiting CROSS JOIN priorities
    WHERE waiting.tenant IS NOT NULL
    GROUP BY waiting.tenant
);

-- name: octets
-- A message's content, where it lies in the store.
SELECT octets FROM content WHERE message = ?;

-- name: spool_names
-- The spool files that messages name.
SELECT spool FROM message WHERE spool IS NOT NULL;

-- name: ledger
-- What has changed, and what there is.
SELECT generation, changes, messages, content_bytes, dead_messages, dead_bytes, audit_bytes
FROM ledger;

-- name: charge_ledger
-- The octets that events have added to the trail, and what there is now.
UPDATE ledger SET audit_bytes = audit_bytes + ?
RETURNING generation, changes, messages, content_bytes, dead_messages, dead_bytes, audit_bytes;

-- name: toggles
-- The toggles in force.
SELECT tenant, enabled, reason, actor, at, until FROM toggle
WHERE until IS NULL OR until > :now;

-- name: oldest_dead
-- The dead letters that go first when their time or room is up.
SELECT facts FROM message_facts WHERE dead_since IS NOT NULL ORDER BY dead_since, id LIMIT ?;

-- name: oldest_events
-- How many events a bounded part of the trail has, where it ends, and its octets.
SELECT count(*), max(id), total(octet_length)
FROM (
    SELECT id, length(CAST(body AS BLOB)) AS octet_length FROM event
    WHERE id < :before ORDER BY id LIMIT :most
);

-- name: forget_events
-- The trail up to there.
DELETE FROM event WHERE id <= ?;

-- name: count_waiting
-- Messages waiting for their time, by tenant: through message_pending alone.
SELECT tenant, count(*) FROM message WHERE claimed = 0 AND dead_since IS NULL GROUP BY tenant;

-- name: oldest_message
-- When the longest waiting message arrived: identifiers are in order of time.
SELECT arrived_at FROM message WHERE dead_since IS NULL ORDER BY id LIMIT 1;

-- name: list_queued
-- A page of what waits or is under way, in order of arrival.
SELECT facts FROM message_facts
WHERE dead_since IS NULL AND id > :after_id AND (:tenant IS NULL OR tenant = :tenant)
ORDER BY id LIMIT :most;

-- name: list_dead
-- A page of the dead letters, in order of death.
SELECT facts FROM message_facts
WHERE (dead_since, id) > (:after, :after_id) AND dead_since >= :after
    AND (:tenant IS NULL OR tenant = :tenant)
ORDER BY dead_since, id LIMIT :most;

-- name: some_messages
-- Messages by their numbers.
SELECT facts FROM message_facts
WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id;

-- name: retry_queued
-- Waiting messages become due now.
UPDATE message SET due = :now
WHERE id IN (SELECT value FROM json_each(:ids)) AND dead_since IS NULL;

-- name: revive
-- Dead letters get a new life: no attempts yet, and an age that counts from now.
UPDATE message SET dead_since = NULL, due = :now, expires_from = :now, attempt = 0
WHERE id IN (SELECT value FROM json_each(:ids)) AND dead_since IS NOT NULL;

-- name: revive_recipients
-- ... of which only those that failed or expired have anything to come.
UPDATE recipient SET state = 'pending', attempts = 0
WHERE message IN (SELECT value FROM json_each(?)) AND state IN ('failed', 'expired');

-- name: set_toggle
-- The administrator's word for a tenant.
INSERT INTO toggle (tenant, enabled, reason, actor, at, until) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant) DO UPDATE SET
    enabled = excluded.enabled,
    reason = excluded.reason,
    actor = excluded.actor,
    at = excluded.at,
    until = excluded.until;

-- name: reset_toggle
-- From here on the configuration's word counts.
DELETE FROM toggle WHERE tenant = ?;

-- name: move_generation
-- Tells a running relay to look.
UPDATE ledger SET generation = generation + 1;

-- name: events
-- A page of the trail.
SELECT id, body FROM event
WHERE id >= :first AND id < :end
    AND (:names IS NULL OR name IN (SELECT value FROM json_each(:names)))
ORDER BY id LIMIT :most;

-- name: events_of_tenant
-- A page of a tenant's trail.
SELECT id, body FROM event
WHERE tenant = :tenant AND id >= :first AND id < :end
    AND (:names IS NULL OR name IN (SELECT value FROM json_each(:names)))
ORDER BY id LIMIT :most;

-- name: events_of_message
-- A page of a message's trail.
SELECT id, body FROM event
WHERE message = :message AND id >= :first AND id < :end
    AND (:names IS NULL OR name IN (SELECT value FROM json_each(:names)))
    AND (:tenant IS NULL OR tenant = :tenant)
ORDER BY id LIMIT :most;

-- name: events_rare
-- A page of events that not every message has: through event_rare, one seek for each name.
SELECT id, body FROM event
WHERE name IN (SELECT value FROM json_each(:names)) AND id >= :first AND id < :end
    AND name NOT IN ('email.accepted', 'email.sent', 'email.deferred')
    AND (:tenant IS NULL OR tenant = :tenant)
ORDER BY id LIMIT :most;
