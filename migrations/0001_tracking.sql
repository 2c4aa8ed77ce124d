-- Experiments and runs.
--
-- Rules for every migration: append only, never edit one that was released; types that SQLite and
-- PostgreSQL both know (TEXT, BIGINT, DOUBLE PRECISION; flags are BIGINT 0 or 1); times are
-- milliseconds since the epoch.

-- Numbers that must never be given twice, not even after what had them is purged.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
-- Experiment 0 is the default experiment, which the server creates when it opens the database.
INSERT INTO counters (name, value) VALUES ('experiment', 0);

CREATE TABLE experiments (
    experiment_id     BIGINT NOT NULL PRIMARY KEY,
    -- A deleted experiment keeps its name until it is purged.
    name              TEXT   NOT NULL UNIQUE,
    artifact_location TEXT   NOT NULL,
    lifecycle_stage   TEXT   NOT NULL CHECK (lifecycle_stage IN ('active', 'deleted')),
    creation_time     BIGINT NOT NULL,
    last_update_time  BIGINT NOT NULL
);

CREATE TABLE experiment_tags (
    experiment_id BIGINT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    key           TEXT   NOT NULL,
    value         TEXT   NOT NULL,
    PRIMARY KEY (experiment_id, key)
);

CREATE TABLE runs (
    run_id          TEXT   NOT NULL PRIMARY KEY,
    experiment_id   BIGINT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    -- Mirrors the tag `mlflow.runName`.
    run_name        TEXT   NOT NULL,
    user_id         TEXT   NOT NULL,
    status          TEXT   NOT NULL,
    start_time      BIGINT,
    end_time        BIGINT,
    deleted_time    BIGINT,
    lifecycle_stage TEXT   NOT NULL CHECK (lifecycle_stage IN ('active', 'deleted')),
    artifact_uri    TEXT   NOT NULL
);
-- The order in which a search shows runs by default.
CREATE INDEX runs_by_start ON runs (experiment_id, lifecycle_stage, start_time);

CREATE TABLE run_tags (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
);
CREATE INDEX run_tags_by_key ON run_tags (key, value);

CREATE TABLE run_params (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
);

-- Every point of every metric. The key makes replays of a point idempotent, and reads a history
-- in its order. NaN is kept as 0 with is_nan = 1, as neither database sorts NaN as MLflow does.
CREATE TABLE metrics (
    run_id    TEXT             NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key       TEXT             NOT NULL,
    timestamp BIGINT           NOT NULL,
    step      BIGINT           NOT NULL,
    value     DOUBLE PRECISION NOT NULL,
    is_nan    BIGINT           NOT NULL,
    PRIMARY KEY (run_id, key, timestamp, step, value, is_nan)
);

-- The point of each metric with the greatest (step, timestamp, value): what searches look at.
CREATE TABLE latest_metrics (
    run_id    TEXT             NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key       TEXT             NOT NULL,
    timestamp BIGINT           NOT NULL,
    step      BIGINT           NOT NULL,
    value     DOUBLE PRECISION NOT NULL,
    is_nan    BIGINT           NOT NULL,
    PRIMARY KEY (run_id, key)
);
CREATE INDEX latest_metrics_by_value ON latest_metrics (key, value);
