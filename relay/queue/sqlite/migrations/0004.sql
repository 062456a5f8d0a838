-- What to do about the very reply or failure that was met last, where that is better than the remedy
-- of its cause. NULL: the cause's, as with all that an older relay has stored.

ALTER TABLE pause ADD COLUMN remedy TEXT;
ALTER TABLE recipient ADD COLUMN remedy TEXT;

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
                upstream, unknown, remedy
            ))
            FROM recipient
            WHERE recipient.message = message.id
        )
    ) AS facts
FROM message;
