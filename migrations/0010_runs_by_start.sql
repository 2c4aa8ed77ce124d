-- The order in which a search shows runs by default, as it is written in the search.
DROP INDEX runs_by_start;
CREATE INDEX runs_by_start
    ON runs (experiment_id, lifecycle_stage, COALESCE(start_time, -9007199254740993) DESC, run_id);
