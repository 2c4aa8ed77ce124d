-- Webhooks, and what is still to be delivered to them.

CREATE TABLE webhooks (
    webhook_id             TEXT   NOT NULL PRIMARY KEY,
    name                   TEXT   NOT NULL,
    description            TEXT,
    url                    TEXT   NOT NULL,
    -- Encrypted.
    secret                 BYTEA,
    status                 TEXT   NOT NULL CHECK (status IN ('ACTIVE', 'DISABLED')),
    creation_timestamp     BIGINT NOT NULL,
    last_updated_timestamp BIGINT NOT NULL
);

CREATE TABLE webhook_events (
    webhook_id TEXT NOT NULL REFERENCES webhooks (webhook_id) ON DELETE CASCADE,
    entity     TEXT NOT NULL,
    action     TEXT NOT NULL,
    -- The order in which they were given.
    position   BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, entity, action)
);
CREATE INDEX webhook_events_by_event ON webhook_events (entity, action);

-- A delivery is here until the receiver took it or all attempts failed, so that a restart or another
-- replica goes on.
CREATE TABLE webhook_deliveries (
    delivery_id   TEXT   NOT NULL PRIMARY KEY,
    webhook_id    TEXT   NOT NULL REFERENCES webhooks (webhook_id) ON DELETE CASCADE,
    payload       TEXT   NOT NULL,
    attempts      BIGINT NOT NULL,
    -- Not before, ms since the epoch; whoever attempts it puts it off first, by longer than an
    -- attempt takes.
    next_attempt  BIGINT NOT NULL
);
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (next_attempt);

-- Keys that the server made for itself, where it was given none.
CREATE TABLE server_keys (
    name TEXT  NOT NULL PRIMARY KEY,
    key  BYTEA NOT NULL
);
