-- Points of metrics, packed.
--
-- A request's points arrive as one row of metric_log, which is what acknowledging them takes. From
-- there they are folded, many requests at once, into metric_chunks (the history of each metric, some
-- hundred points a row) and latest_metrics. The rows of `metrics`, one a point, are moved to
-- metric_log when the database is opened; the table stays empty.

-- Without a reference to runs: checking one costs more than the row itself. What is left of a run
-- that was purged meanwhile is dropped when it is folded.
CREATE TABLE metric_log (
    run_id TEXT   NOT NULL,
    -- A random number.
    entry  BIGINT NOT NULL,
    points BYTEA  NOT NULL,
    PRIMARY KEY (run_id, entry)
);

CREATE TABLE metric_chunks (
    run_id TEXT   NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key    TEXT   NOT NULL,
    chunk  BIGINT NOT NULL,
    points BYTEA  NOT NULL,
    PRIMARY KEY (run_id, key, chunk)
);

-- How many points of the metric were folded: it tells which chunk the next ones go to.
ALTER TABLE latest_metrics ADD COLUMN points BIGINT NOT NULL DEFAULT 0;
