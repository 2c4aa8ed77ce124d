-- Logged models, registered models, their versions and aliases.

CREATE TABLE logged_models (
    model_id                  TEXT   NOT NULL PRIMARY KEY,
    experiment_id             BIGINT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    name                      TEXT   NOT NULL,
    artifact_uri              TEXT   NOT NULL,
    status                    TEXT   NOT NULL,
    status_message            TEXT,
    model_type                TEXT,
    -- No reference: a model outlives the run that made it.
    source_run_id             TEXT,
    lifecycle_stage           TEXT   NOT NULL CHECK (lifecycle_stage IN ('active', 'deleted')),
    creation_timestamp_ms     BIGINT NOT NULL,
    last_updated_timestamp_ms BIGINT NOT NULL
);
CREATE INDEX logged_models_by_creation ON logged_models (experiment_id, lifecycle_stage, creation_timestamp_ms);
CREATE INDEX logged_models_by_run ON logged_models (source_run_id);

CREATE TABLE logged_model_tags (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
);

CREATE TABLE logged_model_params (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
);

-- Points of runs' metrics that say which model they are about.
CREATE TABLE logged_model_metrics (
    model_id       TEXT             NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    run_id         TEXT             NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key            TEXT             NOT NULL,
    timestamp      BIGINT           NOT NULL,
    step           BIGINT           NOT NULL,
    value          DOUBLE PRECISION NOT NULL,
    is_nan         BIGINT           NOT NULL,
    dataset_name   TEXT,
    dataset_digest TEXT,
    PRIMARY KEY (model_id, run_id, key, timestamp, step)
);
CREATE INDEX logged_model_metrics_by_run ON logged_model_metrics (run_id);

-- Logged models that a run made.
CREATE TABLE run_outputs (
    run_id   TEXT   NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    model_id TEXT   NOT NULL,
    step     BIGINT NOT NULL,
    PRIMARY KEY (run_id, model_id)
);

CREATE TABLE registered_models (
    name                   TEXT   NOT NULL PRIMARY KEY,
    description            TEXT,
    -- The last version that was given: versions are dense and never given twice.
    last_version           BIGINT NOT NULL,
    creation_timestamp     BIGINT NOT NULL,
    last_updated_timestamp BIGINT NOT NULL
);

CREATE TABLE registered_model_tags (
    name  TEXT NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name, key)
);

CREATE TABLE model_versions (
    name                   TEXT   NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    version                BIGINT NOT NULL,
    description            TEXT,
    user_id                TEXT,
    current_stage          TEXT   NOT NULL,
    source                 TEXT   NOT NULL,
    -- Where the files are, when `source` names another version or a logged model.
    storage_location       TEXT   NOT NULL,
    run_id                 TEXT,
    run_link               TEXT,
    model_id               TEXT,
    status                 TEXT   NOT NULL,
    status_message         TEXT,
    creation_timestamp     BIGINT NOT NULL,
    last_updated_timestamp BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE INDEX model_versions_by_run ON model_versions (run_id);
CREATE INDEX model_versions_by_stage ON model_versions (name, current_stage, version);

CREATE TABLE model_version_tags (
    name    TEXT   NOT NULL,
    version BIGINT NOT NULL,
    key     TEXT   NOT NULL,
    value   TEXT   NOT NULL,
    PRIMARY KEY (name, version, key),
    FOREIGN KEY (name, version) REFERENCES model_versions (name, version) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE model_aliases (
    name    TEXT   NOT NULL,
    alias   TEXT   NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (name, alias),
    -- A deleted version takes its aliases with it.
    FOREIGN KEY (name, version) REFERENCES model_versions (name, version) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE INDEX model_aliases_by_version ON model_aliases (name, version);
