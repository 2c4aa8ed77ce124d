-- Datasets and logged models that runs read.

-- A dataset belongs to an experiment and is known there by name and digest.
CREATE TABLE datasets (
    dataset_id    TEXT   NOT NULL PRIMARY KEY,
    experiment_id BIGINT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    name          TEXT   NOT NULL,
    digest        TEXT   NOT NULL,
    source_type   TEXT   NOT NULL,
    source        TEXT   NOT NULL,
    schema        TEXT,
    profile       TEXT,
    UNIQUE (experiment_id, name, digest)
);

CREATE TABLE run_datasets (
    run_id     TEXT   NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    dataset_id TEXT   NOT NULL REFERENCES datasets (dataset_id) ON DELETE CASCADE,
    -- The order in which the run read them.
    position   BIGINT NOT NULL,
    PRIMARY KEY (run_id, dataset_id)
);
CREATE INDEX run_datasets_by_dataset ON run_datasets (dataset_id);

CREATE TABLE run_dataset_tags (
    run_id     TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (run_id, dataset_id, key),
    FOREIGN KEY (run_id, dataset_id) REFERENCES run_datasets (run_id, dataset_id) ON DELETE CASCADE
);

-- Logged models that a run read. No reference to the model, as in run_outputs.
CREATE TABLE run_inputs (
    run_id   TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    model_id TEXT NOT NULL,
    PRIMARY KEY (run_id, model_id)
);

-- A search may look at metrics about one dataset only.
CREATE INDEX logged_model_metrics_by_dataset ON logged_model_metrics (dataset_name, dataset_digest);
