-- A search by a metric walks through the runs of one experiment, in the order of the metric: among
-- the metrics of all experiments that have it, it would mostly meet others' runs.
ALTER TABLE latest_metrics ADD COLUMN experiment_id BIGINT NOT NULL DEFAULT 0;
UPDATE latest_metrics SET experiment_id =
    (SELECT r.experiment_id FROM runs r WHERE r.run_id = latest_metrics.run_id);
DROP INDEX latest_metrics_by_value;
CREATE INDEX latest_metrics_by_value ON latest_metrics (experiment_id, key, is_nan, value);

-- The versions of a model that have a tag, and all prompts.
CREATE INDEX model_version_tags_by_key ON model_version_tags (key, SUBSTR(value, 1, 200));
