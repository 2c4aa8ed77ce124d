-- Traces, their spans and their assessments.

CREATE TABLE traces (
    trace_id          TEXT   NOT NULL PRIMARY KEY,
    experiment_id     BIGINT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    timestamp_ms      BIGINT NOT NULL,
    execution_time_ms BIGINT,
    status            TEXT   NOT NULL,
    client_request_id TEXT,
    request_preview   TEXT,
    response_preview  TEXT,
    -- 1 once the client has said what the trace is; spans that come later change it no more.
    finalized         BIGINT NOT NULL
);
CREATE INDEX traces_by_time ON traces (experiment_id, timestamp_ms);

CREATE TABLE trace_tags (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (trace_id, key)
);

CREATE TABLE trace_metadata (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (trace_id, key)
);
-- The traces of a run.
CREATE INDEX trace_metadata_by_key ON trace_metadata (key, value);

CREATE TABLE spans (
    trace_id       TEXT   NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    span_id        TEXT   NOT NULL,
    parent_span_id TEXT,
    name           TEXT   NOT NULL,
    type           TEXT,
    status         TEXT   NOT NULL,
    start_ns       BIGINT NOT NULL,
    -- The whole span as JSON, as it is shown.
    content        TEXT   NOT NULL,
    PRIMARY KEY (trace_id, span_id)
);

CREATE TABLE assessments (
    assessment_id       TEXT   NOT NULL PRIMARY KEY,
    trace_id            TEXT   NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    name                TEXT   NOT NULL,
    type                TEXT   NOT NULL CHECK (type IN ('feedback', 'expectation', 'issue')),
    -- JSON.
    value               TEXT   NOT NULL,
    -- The value where it is a number or a truth value.
    number              DOUBLE PRECISION,
    -- JSON.
    error               TEXT,
    source_type         TEXT   NOT NULL,
    source_id           TEXT,
    span_id             TEXT,
    rationale           TEXT,
    -- JSON.
    metadata            TEXT,
    overrides           TEXT,
    valid               BIGINT NOT NULL,
    creation_timestamp  BIGINT NOT NULL,
    last_updated_timestamp BIGINT NOT NULL
);
CREATE INDEX assessments_by_trace ON assessments (trace_id);
CREATE INDEX assessments_by_name ON assessments (name, type);

-- Traces that were linked to a run after they were made.
CREATE TABLE trace_runs (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    run_id   TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    PRIMARY KEY (run_id, trace_id)
);
CREATE INDEX trace_runs_by_trace ON trace_runs (trace_id);

-- The versions of prompts that traces used: `name/version`.
CREATE TABLE trace_prompts (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    prompt   TEXT NOT NULL,
    PRIMARY KEY (prompt, trace_id)
);
CREATE INDEX trace_prompts_by_trace ON trace_prompts (trace_id);
