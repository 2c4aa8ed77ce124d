-- What imports and purges must remember to go on after an interruption.

-- What an import has brought, so that the same command goes on where it was stopped, and changes
-- nothing when all is there.
CREATE TABLE import_ledger (
    -- Where it comes from: the server's URL without credentials, or an exported folder's id.
    source      TEXT NOT NULL,
    -- `experiment`, `run`, `logged_model`, `registered_model` or `model_version`.
    kind        TEXT NOT NULL,
    source_id   TEXT NOT NULL,
    -- What it is here.
    local_id    TEXT NOT NULL,
    -- A digest of what was read from the source; NULL until all of it has arrived.
    fingerprint TEXT,
    PRIMARY KEY (source, kind, source_id)
);

-- Artifacts of what was purged, until they are deleted too. Written in the transaction that purges,
-- so that no leftover is ever forgotten.
CREATE TABLE purged_artifacts (
    uri         TEXT   NOT NULL PRIMARY KEY,
    purged_time BIGINT NOT NULL
);
