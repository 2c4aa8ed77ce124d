-- Users, what they may do, their tokens, and who changed what.

CREATE TABLE users (
    user_id       BIGINT NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL UNIQUE,
    -- argon2id, in the PHC format.
    password_hash TEXT   NOT NULL,
    -- On everything that no grant is about.
    role          TEXT   NOT NULL CHECK (role IN ('none', 'reader', 'writer', 'admin')),
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('user', 0);
-- Grows with every change of users, grants and tokens: replicas forget logins when it does.
INSERT INTO counters (name, value) VALUES ('auth_version', 0);
INSERT INTO counters (name, value) VALUES ('audit', 0);

-- Grants are of one thing each; they follow a model that is renamed.
CREATE TABLE experiment_grants (
    user_id       BIGINT NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    experiment_id BIGINT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    role          TEXT   NOT NULL CHECK (role IN ('none', 'reader', 'writer', 'admin')),
    PRIMARY KEY (user_id, experiment_id)
);
CREATE INDEX experiment_grants_by_experiment ON experiment_grants (experiment_id);

CREATE TABLE model_grants (
    user_id BIGINT NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    name    TEXT   NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    role    TEXT   NOT NULL CHECK (role IN ('none', 'reader', 'writer', 'admin')),
    PRIMARY KEY (user_id, name)
);
CREATE INDEX model_grants_by_name ON model_grants (name);

CREATE TABLE tokens (
    token_id   TEXT   NOT NULL PRIMARY KEY,
    user_id    BIGINT NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    -- What its owner calls it.
    name       TEXT   NOT NULL,
    -- SHA-256 of the token, which nobody but its owner has.
    hash       BYTEA  NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX tokens_by_user ON tokens (user_id);

-- No references: it outlives what it is about.
CREATE TABLE audit_log (
    id         BIGINT NOT NULL PRIMARY KEY,
    time       BIGINT NOT NULL,
    user_name  TEXT,
    client     TEXT,
    request_id TEXT,
    action     TEXT   NOT NULL,
    resource   TEXT   NOT NULL,
    -- The HTTP status, or `done` where no request was.
    outcome    TEXT   NOT NULL
);
CREATE INDEX audit_log_by_time ON audit_log (time);
CREATE INDEX experiments_by_location ON experiments (artifact_location);
