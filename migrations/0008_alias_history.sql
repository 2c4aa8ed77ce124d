-- Every change of every alias: who, when, why, from where to where.

-- No reference to a model: its history outlives it. A rename takes it along.
CREATE TABLE alias_history (
    -- Given by the counter below, whose row stays locked until its writer commits: numbers become
    -- visible in their order and without gaps, so that a reader who saw 7 has missed nothing
    -- before it. A sequence of the database would not promise that.
    sequence     BIGINT NOT NULL PRIMARY KEY,
    name         TEXT   NOT NULL,
    alias        TEXT   NOT NULL,
    -- NULL: there was no such alias.
    from_version BIGINT,
    -- NULL: there is no such alias any more.
    to_version   BIGINT,
    user_name    TEXT   NOT NULL,
    time         BIGINT NOT NULL,
    reason       TEXT,
    cause        TEXT   NOT NULL
);
CREATE INDEX alias_history_by_alias ON alias_history (name, alias, sequence);

INSERT INTO counters (name, value) VALUES ('alias_history', 0);
