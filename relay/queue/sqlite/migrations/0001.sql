-- The first schema. Identifiers are kept as the integer behind them, moments as microseconds since
-- 1970: both are exact in JSON, in which whole sets of rows go in and out by one step.

PRAGMA application_id = 1380273241; -- "RELY"

CREATE TABLE message (
    id           INTEGER PRIMARY KEY,
    tenant       TEXT    NOT NULL,
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 2),
    due          INTEGER NOT NULL,
    claimed      INTEGER NOT NULL CHECK (claimed IN (0, 1)),
    dead_since   INTEGER,
    attempt      INTEGER NOT NULL CHECK (attempt >= 0),
    arrived_at   INTEGER NOT NULL,
    expires_from INTEGER NOT NULL,
    reverse_path TEXT    NOT NULL,
    header_from  TEXT    NOT NULL,
    message_id   TEXT    NOT NULL,
    smtputf8     INTEGER NOT NULL CHECK (smtputf8 IN (0, 1)),
    body_8bit    INTEGER NOT NULL CHECK (body_8bit IN (0, 1)),
    client       TEXT    NOT NULL,
    helo         TEXT    NOT NULL,
    user         TEXT,
    bound        TEXT, -- JSON array of tenants
    size         INTEGER NOT NULL,
    header_size  INTEGER NOT NULL,
    spool        TEXT,
    CHECK (NOT (claimed AND dead_since IS NOT NULL))
) STRICT;

-- With the two columns of its condition, which take no room in it, since SQLite would look them up
-- in the table otherwise.
CREATE INDEX message_pending ON message (tenant, priority, due, claimed, dead_since)
    WHERE claimed = 0 AND dead_since IS NULL;
CREATE INDEX message_dead ON message (dead_since) WHERE dead_since IS NOT NULL;
CREATE UNIQUE INDEX message_spool ON message (spool) WHERE spool IS NOT NULL;

CREATE TABLE recipient (
    message         INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
    position        INTEGER NOT NULL,
    address         TEXT    NOT NULL,
    notify          INTEGER NOT NULL CHECK (notify IN (0, 1)),
    state           TEXT    NOT NULL CHECK (
        state IN ('pending', 'relayed', 'failed', 'expired', 'suppressed', 'dropped')
    ),
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    cause           TEXT,
    code            INTEGER,
    enhanced_status TEXT,
    reply           TEXT,
    upstream        TEXT,
    PRIMARY KEY (message, position)
) STRICT, WITHOUT ROWID;

-- Apart from the message, whose row is written anew at every attempt.
CREATE TABLE content (
    message INTEGER PRIMARY KEY REFERENCES message ON DELETE CASCADE,
    octets  BLOB NOT NULL
) STRICT;

-- A message as one JSON array: a single step fetches any number of them with their recipients.
CREATE VIEW message_facts AS
SELECT
    id, tenant, due, claimed, dead_since,
    json_array(
        id, arrived_at, expires_from, tenant, priority, reverse_path, header_from, message_id,
        smtputf8, body_8bit, client, helo, user, json(bound), size, header_size, spool, attempt,
        due, claimed, dead_since,
        (
            SELECT json_group_array(json_array(
                position, address, notify, state, attempts, cause, code, enhanced_status, reply,
                upstream
            ))
            FROM recipient
            WHERE recipient.message = message.id
        )
    ) AS facts
FROM message;

-- The trail. body is the line as it was rendered.
CREATE TABLE event (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    tenant  TEXT,
    message INTEGER,
    body    TEXT NOT NULL
) STRICT;

CREATE INDEX event_message ON event (message) WHERE message IS NOT NULL;
CREATE INDEX event_tenant ON event (tenant) WHERE tenant IS NOT NULL;
-- What every message has is found by time; only the rare events are worth an index by name.
CREATE INDEX event_rare ON event (name)
    WHERE name NOT IN ('email.accepted', 'email.sent', 'email.deferred');

CREATE TABLE toggle (
    tenant  TEXT PRIMARY KEY,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    reason  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    until   INTEGER
) STRICT, WITHOUT ROWID;

-- What is asked too often to be counted each time. generation moves when an administrator has
-- changed something, changes with every message that comes, goes or dies; both only ever grow.
-- audit_bytes is kept by whoever adds events: a trigger for each would cost 3 us an event.
CREATE TABLE ledger (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    generation    INTEGER NOT NULL,
    changes       INTEGER NOT NULL,
    messages      INTEGER NOT NULL,
    content_bytes INTEGER NOT NULL,
    dead_messages INTEGER NOT NULL,
    dead_bytes    INTEGER NOT NULL,
    audit_bytes   INTEGER NOT NULL
) STRICT;

INSERT INTO ledger VALUES (1, 0, 0, 0, 0, 0, 0, 0);

CREATE TRIGGER message_comes AFTER INSERT ON message BEGIN
    UPDATE ledger SET
        changes = changes + 1,
        messages = messages + 1,
        content_bytes = content_bytes + new.size;
END;

CREATE TRIGGER message_goes AFTER DELETE ON message BEGIN
    UPDATE ledger SET
        changes = changes + 1,
        messages = messages - (old.dead_since IS NULL),
        content_bytes = content_bytes - (old.dead_since IS NULL) * old.size,
        dead_messages = dead_messages - (old.dead_since IS NOT NULL),
        dead_bytes = dead_bytes - (old.dead_since IS NOT NULL) * old.size;
END;

CREATE TRIGGER message_dies_or_revives AFTER UPDATE OF dead_since ON message
WHEN (old.dead_since IS NULL) <> (new.dead_since IS NULL) BEGIN
    UPDATE ledger SET
        changes = changes + 1,
        messages = messages + iif(new.dead_since IS NULL, 1, -1),
        content_bytes = content_bytes + iif(new.dead_since IS NULL, new.size, -new.size),
        dead_messages = dead_messages + iif(new.dead_since IS NULL, -1, 1),
        dead_bytes = dead_bytes + iif(new.dead_since IS NULL, -new.size, new.size);
END;
