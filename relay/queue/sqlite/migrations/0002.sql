-- Classes, the relay's own messages, what waits behind a pause, what owners know of dead letters;
-- pauses, suppressions, and what was spent of quotas.

ALTER TABLE message ADD COLUMN kind TEXT NOT NULL DEFAULT 'mail'
    CHECK (kind IN ('mail', 'dsn', 'alert'));
ALTER TABLE message ADD COLUMN class TEXT NOT NULL DEFAULT '';
ALTER TABLE message ADD COLUMN classes_key TEXT NOT NULL DEFAULT '';
-- When it is too old: age goes on behind a pause, where nobody looks at it otherwise. A message of the
-- first schema has it from the next start on.
ALTER TABLE message ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
-- Returned unused, with a due that may be taken back: what a pause or a rate holds up.
ALTER TABLE message ADD COLUMN parked INTEGER NOT NULL DEFAULT 0
    CHECK (parked = 0 OR parked = 1 AND claimed = 0 AND dead_since IS NULL);
-- What the owner of a dead letter was told of it: nothing, its death, its coming end.
ALTER TABLE message ADD COLUMN told INTEGER NOT NULL DEFAULT 0
    CHECK (told = 0 OR told IN (1, 2) AND dead_since IS NOT NULL);

CREATE INDEX message_parked ON message (parked) WHERE parked = 1;
CREATE INDEX message_class ON message (tenant, class, priority, due)
    WHERE claimed = 0 AND dead_since IS NULL AND class <> '';
CREATE INDEX message_expires ON message (expires_at) WHERE claimed = 0 AND dead_since IS NULL;
CREATE INDEX message_told ON message (told, dead_since) WHERE dead_since IS NOT NULL;

ALTER TABLE recipient ADD COLUMN unknown INTEGER NOT NULL DEFAULT 0 CHECK (unknown IN (0, 1));

DROP VIEW message_facts;

-- A message as one JSON array: a single step fetches any number of them with their recipients.
CREATE VIEW message_facts AS
SELECT
    id, tenant, due, claimed, dead_since,
    json_array(
        id, arrived_at, expires_from, tenant, priority, reverse_path, header_from, message_id,
        smtputf8, body_8bit, client, helo, user, json(bound), size, header_size, spool, attempt,
        kind, class, classes_key, expires_at, due, claimed, dead_since,
        (
            SELECT json_group_array(json_array(
                position, address, notify, state, attempts, cause, code, enhanced_status, reply,
                upstream, unknown
            ))
            FROM recipient
            WHERE recipient.message = message.id
        )
    ) AS facts
FROM message;

-- tenant and sender are '' where it is the whole upstream, or a tenant's whole way through it.
CREATE TABLE pause (
    upstream TEXT    NOT NULL,
    tenant   TEXT    NOT NULL,
    sender   TEXT    NOT NULL,
    since    INTEGER NOT NULL,
    until    INTEGER,
    cause    TEXT,
    detail   TEXT    NOT NULL,
    failures INTEGER NOT NULL CHECK (failures >= 0),
    actor    TEXT, -- NULL: the relay itself
    reason   TEXT    NOT NULL,
    PRIMARY KEY (upstream, tenant, sender)
) STRICT, WITHOUT ROWID;

-- tenant is '' for all tenants; address is canonical (model.address).
CREATE TABLE suppression (
    tenant  TEXT    NOT NULL,
    address TEXT    NOT NULL,
    source  TEXT    NOT NULL CHECK (source IN ('automatic', 'manual', 'import')),
    reason  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    until   INTEGER,
    PRIMARY KEY (tenant, address)
) STRICT, WITHOUT ROWID;

CREATE INDEX suppression_until ON suppression (until) WHERE until IS NOT NULL;

-- The days (since 1970, UTC) on which an address was refused as no mailbox.
CREATE TABLE strike (
    tenant  TEXT    NOT NULL,
    address TEXT    NOT NULL,
    day     INTEGER NOT NULL,
    PRIMARY KEY (tenant, address, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX strike_day ON strike (day);

-- What was handed over of a quota in a slot of time (six minutes each, since 1970).
CREATE TABLE spent (
    subject TEXT    NOT NULL,
    slot    INTEGER NOT NULL,
    count   INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (subject, slot)
) STRICT, WITHOUT ROWID;
