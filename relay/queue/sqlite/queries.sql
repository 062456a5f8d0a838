-- name: add_messages
-- New messages. The row behind VALUES is repeated for as many as come at once (rows.insert).
INSERT INTO message (
    id, tenant, priority, due, claimed, attempt, arrived_at, expires_from, reverse_path,
    header_from, message_id, smtputf8, body_8bit, client, helo, user, bound, size, header_size,
    spool, kind, class, classes_key, expires_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_recipients
-- Their recipients, each with its state.
INSERT INTO recipient (
    message, position, address, notify, state, attempts, cause, code, enhanced_status, reply,
    upstream, unknown, remedy
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

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

-- name: add_tallies
-- What a transaction's events say of applications' mail, summed. Of an unknown way it is refused.
INSERT INTO tally (slot, way, result, octave, recipients, queued_ms, last_at)
VALUES (?, (SELECT id FROM way WHERE tenant = ? AND upstream = ? AND route = ?), ?, ?, ?, ?, ?)
ON CONFLICT (slot, way, result, octave) DO UPDATE SET
    recipients = recipients + excluded.recipients,
    queued_ms = queued_ms + excluded.queued_ms,
    last_at = max(last_at, excluded.last_at);

-- name: add_way
-- A way, the first time that mail takes it.
INSERT INTO way (tenant, upstream, route) VALUES (?, ?, ?)
ON CONFLICT (tenant, upstream, route) DO NOTHING;

-- name: stored_events
-- Those of the events that are there.
SELECT id FROM event WHERE id IN (SELECT value FROM json_each(?));

-- name: tallies
-- The sums of every way from a slot on, [[tenant, upstream, route, result, octave, recipients,
-- queued_ms]...], way by way.
SELECT json_group_array(
    json_array(tenant, upstream, route, result, octave, recipients, queued_ms)
)
FROM (
    SELECT tenant, upstream, route, result, octave, recipients, queued_ms
    FROM (
        SELECT way, result, octave, sum(recipients) AS recipients, sum(queued_ms) AS queued_ms
        FROM tally WHERE slot >= ? GROUP BY way, result, octave ORDER BY way
    ) AS sums
    CROSS JOIN way ON way.id = sums.way
);

-- name: first_event
-- Where the trail begins.
SELECT min(id) FROM event;

-- name: forget_tallies
-- Those before a slot.
DELETE FROM tally WHERE slot < ?;

-- name: last_sent
-- When each tenant's mail was last handed over: one seek for each way, in tally_sent.
SELECT tenant, max(last_at)
FROM (
    SELECT id, tenant, (
        SELECT max(slot) FROM tally WHERE tally.way = way.id AND result = 'sent'
    ) AS last_slot
    FROM way
) AS ways
CROSS JOIN tally ON tally.slot = last_slot AND tally.way = ways.id AND result = 'sent'
GROUP BY tenant;

-- name: finish
-- Messages that are done: recipients and content go with them.
DELETE FROM message WHERE id IN (SELECT value FROM json_each(?));

-- name: settle_messages
-- What attempts came to, [[id, due, dead_since, parked]...]; those that have vanished are left out.
UPDATE message SET
    claimed = 0,
    parked = news.parked,
    due = news.due,
    dead_since = news.dead_since
FROM (
    SELECT
        value ->> 0 AS id,
        value ->> 1 AS due,
        value ->> 2 AS dead_since,
        value ->> 3 AS parked
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
    upstream = news.upstream,
    unknown = news.unknown,
    remedy = news.remedy
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
        value ->> 8 AS upstream,
        value ->> 9 AS unknown,
        value ->> 10 AS remedy
    FROM json_each(?)
) AS news
WHERE recipient.message = news.message AND recipient.position = news.position;

-- name: release
-- Claims that were not used, [[id, due]...]: no attempt. Without a due they keep their old place,
-- with one they are parked until then.
UPDATE message SET
    claimed = 0,
    attempt = max(attempt - 1, 0),
    parked = unused.due IS NOT NULL,
    due = coalesce(unused.due, message.due)
FROM (SELECT value ->> 0 AS id, value ->> 1 AS due FROM json_each(?)) AS unused
WHERE message.id = unused.id AND claimed = 1;

-- name: parked_until
-- The last of a bounded part of what is parked behind a message.
SELECT max(id) FROM (
    SELECT id FROM message WHERE parked = 1 AND id > :after ORDER BY id LIMIT :most
);

-- name: unpark
-- That part is due now.
UPDATE message SET parked = 0, due = min(due, :now)
WHERE parked = 1 AND id > :after AND id <= :last;

-- name: any_late
-- Whether anything waits for longer than any schedule says: a clock that was ahead has put it off.
SELECT EXISTS (
    SELECT 1 FROM message
    WHERE due > :latest AND claimed = 0 AND parked = 0 AND dead_since IS NULL
);

-- name: hasten
-- That is due now.
UPDATE message SET due = :now
WHERE due > :latest AND claimed = 0 AND parked = 0 AND dead_since IS NULL;

-- name: is_stored
-- Whether a settle that is repeated was stored before: its events are there, or its messages.
SELECT
    EXISTS (SELECT 1 FROM event WHERE id IN (SELECT value FROM json_each(:events)))
    OR EXISTS (SELECT 1 FROM message WHERE id IN (SELECT value FROM json_each(:messages)));

-- name: charge_spent
-- What was handed over of quotas, [[subject, slot, count, event]...]; not once more where a settle
-- is repeated and its event is there.
INSERT INTO spent (subject, slot, count)
SELECT value ->> 0, value ->> 1, sum(value ->> 2)
FROM json_each(?)
WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.id = value ->> 3)
GROUP BY 1, 2
ON CONFLICT (subject, slot) DO UPDATE SET count = count + excluded.count;

-- name: forget_spent
-- What no quota looks back to.
DELETE FROM spent WHERE slot < ?;

-- name: spent
-- What is left of it.
SELECT json_group_array(json_array(subject, slot, count)) FROM spent;

-- name: tell
-- The owners of these tenants' dead letters know this much.
UPDATE message SET told = :stage
WHERE dead_since <= :until AND told < :stage
    AND tenant IN (SELECT value FROM json_each(:tenants));

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

-- name: claimable_of_class
-- Of one class alone, through message_class.
SELECT '[' || group_concat(facts) || ']'
FROM (
    SELECT id FROM message
    WHERE tenant = :tenant AND class = :class AND class <> '' AND due <= :now
        AND claimed = 0 AND dead_since IS NULL
    ORDER BY priority, due LIMIT :most
)
CROSS JOIN message_facts USING (id);

-- name: claimable_expired
-- Messages that are too old, whatever their way; the oldest first.
SELECT '[' || group_concat(facts) || ']'
FROM (
    SELECT id FROM message
    WHERE expires_at <= :now AND claimed = 0 AND dead_since IS NULL
    ORDER BY expires_at LIMIT :most
)
CROSS JOIN message_facts USING (id);

-- name: apply_class
-- The priority of a class's messages and when they are too old, by the present configuration.
UPDATE message SET priority = :priority, expires_at = expires_from + :give_up_after
WHERE dead_since IS NULL AND class = :class
    AND (priority <> :priority OR expires_at <> expires_from + :give_up_after);

-- name: apply_to_others
-- ... and of those of no class, or of one that is not there any more.
UPDATE message SET priority = :priority, expires_at = expires_from + :give_up_after
WHERE dead_since IS NULL AND class NOT IN (SELECT value FROM json_each(:classes)) AND kind = 'mail'
    AND (priority <> :priority OR expires_at <> expires_from + :give_up_after);

-- name: reclassify
-- The class of a queued message, found anew.
UPDATE message SET class = ?, classes_key = ?, priority = ?, expires_at = ? WHERE id = ?;

-- name: tenancy
-- By which tenants queued mail was last sorted.
SELECT tenancy FROM ledger;

-- name: set_tenancy
-- Now it is sorted by these.
UPDATE ledger SET tenancy = ?;

-- name: senders
-- What the tenants of some messages follow from, in the order of their ids; dead letters, too, since
-- they may be tried again.
SELECT id, tenant, reverse_path, header_from, bound FROM message
WHERE id > :after AND kind = 'mail'
ORDER BY id
LIMIT :most;

-- name: move_to_tenants
-- Messages become those of other tenants, [[id, tenant]...].
UPDATE message SET tenant = moved.tenant
FROM (SELECT value ->> 0 AS id, value ->> 1 AS tenant FROM json_each(?)) AS moved
WHERE message.id = moved.id;

-- name: claim
-- The claim is the attempt: both are stored before it is made.
UPDATE message SET claimed = 1, parked = 0, attempt = attempt + 1
WHERE id IN (SELECT value FROM json_each(?));

-- name: doubt_former_claims
-- What was under way when a former life was cut short may have been taken, by an upstream whose
-- reply nobody kept.
UPDATE recipient SET unknown = 1
WHERE state = 'pending' AND message IN (SELECT id FROM message WHERE claimed = 1);

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

-- name: write_something
-- It changes nothing that counts, but it is a change, and so a page to be written.
UPDATE ledger SET changes = changes + 1;

-- name: standing
-- How often there were orders, and to reload among them; how far the latter were answered.
SELECT generation, reload_asked, reload_actor, reload_answered FROM ledger;

-- name: answer_reload
-- The requests up to this one have their verdict.
UPDATE ledger SET reload_answered = max(reload_answered, ?);

-- name: reached
-- Every attempt that is under way began at this generation, or later.
SELECT reached FROM ledger;

-- name: reach
-- Attempts that began before this generation have ended.
UPDATE ledger SET reached = max(reached, ?);

-- name: reach_all
-- Nothing is under way.
UPDATE ledger SET reached = generation;

-- name: ask_reload
-- Someone wants the configuration to be read anew.
UPDATE ledger SET reload_asked = reload_asked + 1, reload_actor = ? RETURNING reload_asked;

-- name: toggles
-- The toggles in force.
SELECT tenant, enabled, reason, actor, at, until FROM toggle
WHERE until IS NULL OR until > :now;

-- name: pauses
-- What is held back.
SELECT upstream, tenant, sender, since, until, cause, detail, failures, actor, reason, remedy
FROM pause
ORDER BY upstream, tenant, sender;

-- name: set_pause
-- A pause, new or changed; what an administrator has said is not overruled by the relay itself.
INSERT INTO pause (
    upstream, tenant, sender, since, until, cause, detail, failures, actor, reason, remedy
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (upstream, tenant, sender) DO UPDATE SET
    since = excluded.since,
    until = excluded.until,
    cause = excluded.cause,
    detail = excluded.detail,
    failures = excluded.failures,
    actor = excluded.actor,
    reason = excluded.reason,
    remedy = excluded.remedy
WHERE excluded.actor IS NOT NULL OR pause.actor IS NULL;

-- name: end_pause
-- One that the relay has found ended; an administrator's only when its time is up.
DELETE FROM pause
WHERE upstream = :upstream AND tenant = :tenant AND sender = :sender
    AND (actor IS NULL OR until <= :now);

-- name: end_pauses
-- All on an upstream, however far they reach.
DELETE FROM pause WHERE upstream = ?
RETURNING
    upstream, tenant, sender, since, until, cause, detail, failures, actor, reason, remedy;

-- name: any_suppression
-- Whether the list need be asked at all.
SELECT EXISTS (SELECT 1 FROM suppression);

-- name: suppressed
-- What is on the list for a tenant or for all: the entries that nothing passes over come last.
SELECT tenant, address, source, reason, actor, at, until FROM suppression
WHERE tenant IN ('', :tenant) AND address IN (SELECT value FROM json_each(:addresses))
    AND (until IS NULL OR until > :now)
ORDER BY source <> 'automatic', tenant;

-- name: set_suppressions
-- Entries, [[tenant, address, source, reason, actor, at, until]...]; those that are new or changed.
INSERT INTO suppression (tenant, address, source, reason, actor, at, until)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(?) WHERE true
ON CONFLICT (tenant, address) DO UPDATE SET
    source = excluded.source,
    reason = excluded.reason,
    actor = excluded.actor,
    at = excluded.at,
    until = excluded.until
WHERE (source, reason) <> (excluded.source, excluded.reason) OR until IS NOT excluded.until
RETURNING tenant, address, source, reason, actor, at, until;

-- name: remove_suppression
-- One entry, by an administrator.
DELETE FROM suppression WHERE tenant = ? AND address = ?
RETURNING tenant, address, source, reason, actor, at, until;

-- name: expire_suppressions
-- Some of those whose time is up.
DELETE FROM suppression WHERE (tenant, address) IN (
    SELECT tenant, address FROM suppression WHERE until <= :now ORDER BY until LIMIT :most
)
RETURNING tenant, address, source, reason, actor, at, until;

-- name: list_suppressions
-- A page of the list.
SELECT tenant, address, source, reason, actor, at, until FROM suppression
WHERE (tenant, address) > (:after_tenant, :after) AND (until IS NULL OR until > :now)
    AND (:address IS NULL OR address = :address)
ORDER BY tenant, address LIMIT :most;

-- name: list_suppressions_of
-- A page of what is on the list for one tenant, or ('') for all.
SELECT tenant, address, source, reason, actor, at, until FROM suppression
WHERE tenant = :after_tenant AND address > :after AND (until IS NULL OR until > :now)
    AND (:address IS NULL OR address = :address)
ORDER BY address LIMIT :most;

-- name: add_strike
-- A day on which an address was refused; the second time on a day is nothing new.
INSERT INTO strike (tenant, address, day) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: count_strikes
-- On how many days it was.
SELECT count(*) FROM strike WHERE tenant = ? AND address = ?;

-- name: forget_strikes
-- They have done their work, or a person knows better; for all tenants where none is named.
DELETE FROM strike WHERE address = :address AND (tenant = :tenant OR :tenant = '');

-- name: forget_old_strikes
-- Some of those that are too old to count.
DELETE FROM strike WHERE (tenant, address, day) IN (
    SELECT tenant, address, day FROM strike WHERE day < :before LIMIT :most
);

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

-- name: shares
-- What each tenant holds of the queue: every message is looked at, so this is no question for an
-- attempt to ask.
SELECT json_group_array(json_array(tenant, messages, content_bytes))
FROM (
    SELECT tenant, count(*) AS messages, sum(size) AS content_bytes
    FROM message WHERE dead_since IS NULL GROUP BY tenant
);

-- name: untold
-- Dead letters whose owner has yet to hear of them: by tenant, and by what there is to tell; the
-- first of each, why it died, and the remedy of its own. Of the relay's own messages nobody is told.
SELECT
    tenant, told + 1, messages, id,
    (
        SELECT json_array(cause, remedy) FROM recipient
        WHERE recipient.message = id AND state IN ('failed', 'expired')
        ORDER BY position LIMIT 1
    )
FROM (
    SELECT tenant, told, count(*) AS messages, id, min(dead_since) AS first_died
    FROM (
        SELECT id, tenant, told, dead_since FROM message
        WHERE told = 0 AND dead_since IS NOT NULL AND kind = 'mail'
        UNION ALL
        SELECT id, tenant, told, dead_since FROM message
        WHERE told = 1 AND dead_since <= :purge_soon AND kind = 'mail'
    )
    GROUP BY tenant, told
)
ORDER BY first_died;

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
-- Waiting messages become due now, whatever they were parked for.
UPDATE message SET due = :now, parked = 0
WHERE id IN (SELECT value FROM json_each(:ids)) AND dead_since IS NULL;

-- name: revive
-- Dead letters get a new life: no attempts yet, and an age that counts from now.
UPDATE message SET
    dead_since = NULL,
    due = :now,
    expires_at = :now + (expires_at - expires_from),
    expires_from = :now,
    attempt = 0,
    told = 0
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

-- name: any_toggle_over
-- Whether there is a toggle whose time is over.
SELECT EXISTS (SELECT 1 FROM toggle WHERE until <= :now);

-- name: end_toggles
-- Those whose time is over.
DELETE FROM toggle WHERE until <= :now RETURNING tenant;

-- name: move_generation
-- Tells a running relay to look.
UPDATE ledger SET generation = generation + 1 RETURNING generation;

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

-- name: latest
-- The last of some rare events: one seek in event_rare for each name.
SELECT body FROM event WHERE id = (
    SELECT max((
        SELECT max(id) FROM event
        WHERE name = wanted.value
            AND name NOT IN ('email.accepted', 'email.sent', 'email.deferred')
    ))
    FROM json_each(:names) AS wanted
);

-- name: latest_of_tenant
-- ... of a tenant, through event_rare_tenant.
SELECT body FROM event WHERE id = (
    SELECT max((
        SELECT max(id) FROM event
        WHERE name = wanted.value AND tenant = :tenant
            AND name NOT IN ('email.accepted', 'email.sent', 'email.deferred')
    ))
    FROM json_each(:names) AS wanted
);
