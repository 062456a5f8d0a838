-- What mail came to, summed as it is told; how far the orders have come, and who wants a reload.

-- Every way that mail has taken, or failed to take: '' where there is no tenant, no upstream or no
-- route. By a number, since that is quicker to sum by.
CREATE TABLE way (
    id       INTEGER PRIMARY KEY,
    tenant   TEXT NOT NULL,
    upstream TEXT NOT NULL,
    route    TEXT NOT NULL,
    UNIQUE (tenant, upstream, route)
) STRICT;

-- Recipients of applications' mail, by half an hour (a slot, counted since 1970), so that a day is
-- 48 slots: read in milliseconds, and never more than 2 % longer than asked. octave tells how long
-- those that were sent had taken since they were accepted (model/figures.py); queued_ms is the sum
-- of it. The slot comes first: what grows lies on one page. A CHECK of result and a reference to
-- way would double what a message costs here, 2 us.
CREATE TABLE tally (
    slot       INTEGER NOT NULL,
    way        INTEGER NOT NULL,
    result     TEXT    NOT NULL, -- sent, deferred, failed or expired
    octave     INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    queued_ms  REAL    NOT NULL,
    last_at    INTEGER NOT NULL,
    PRIMARY KEY (slot, way, result, octave)
) STRICT, WITHOUT ROWID;

CREATE INDEX tally_sent ON tally (way, slot) WHERE result = 'sent';

-- The last day, as the trail tells it (identifiers begin with the microseconds since 2020).
CREATE TEMP TABLE counted AS
WITH RECURSIVE
octaves (lowest) AS (
    VALUES (1)
    UNION ALL
    SELECT lowest * 2 FROM octaves WHERE lowest < 1 << 40
),
told AS (
    SELECT
        (id >> 12) + 1577836800000000 AS at,
        coalesce(tenant, '') AS tenant,
        coalesce(body ->> 'upstream', '') AS upstream,
        coalesce(body ->> 'route', '') AS route,
        CASE name
            WHEN 'email.sent' THEN 'sent'
            WHEN 'email.deferred' THEN 'deferred'
            WHEN 'email.send_failed' THEN 'failed'
            ELSE 'expired'
        END AS result,
        json_array_length(body, '$.recipients') AS recipients,
        iif(name = 'email.sent', body ->> 'queued_ms', 0.0) AS queued_ms
    FROM event
    WHERE id >= (unixepoch() - 86400 - 1577836800) * 1000000 << 12
        AND name IN ('email.sent', 'email.deferred', 'email.send_failed', 'email.expired')
        AND body ->> 'kind' IS NULL
)
SELECT
    at / 1800000000 AS slot,
    tenant,
    upstream,
    route,
    result,
    (SELECT count(*) FROM octaves WHERE lowest <= CAST(queued_ms AS INTEGER)) AS octave,
    sum(recipients) AS recipients,
    CAST(sum(recipients * queued_ms) AS REAL) AS queued_ms,
    max(at) AS last_at
FROM told
GROUP BY 1, 2, 3, 4, 5, 6;

INSERT INTO way (tenant, upstream, route) SELECT DISTINCT tenant, upstream, route FROM counted;
INSERT INTO tally (slot, way, result, octave, recipients, queued_ms, last_at)
SELECT slot, way.id, result, octave, recipients, queued_ms, last_at
FROM counted JOIN way USING (tenant, upstream, route);
DROP TABLE counted;

-- The last of its kind that was told of a tenant, found by one seek.
CREATE INDEX event_rare_tenant ON event (name, tenant)
    WHERE tenant IS NOT NULL AND name NOT IN ('email.accepted', 'email.sent', 'email.deferred');

-- Every attempt that is under way began at this generation, or later.
ALTER TABLE ledger ADD COLUMN reached INTEGER NOT NULL DEFAULT 0;
-- How often it was asked to read the configuration anew, and by whom last.
ALTER TABLE ledger ADD COLUMN reload_asked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN reload_actor TEXT NOT NULL DEFAULT '';
ALTER TABLE ledger ADD COLUMN reload_answered INTEGER NOT NULL DEFAULT 0;
-- By which tenants queued mail was last sorted: a digest of who claims which senders.
ALTER TABLE ledger ADD COLUMN tenancy TEXT NOT NULL DEFAULT '';
