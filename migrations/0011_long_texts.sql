-- PostgreSQL takes no more than about 2,700 bytes into an index, and a tag may be longer: the index
-- has the beginning of a text, and a search compares the beginnings before the texts.
DROP INDEX run_tags_by_key;
CREATE INDEX run_tags_by_key ON run_tags (key, SUBSTR(value, 1, 200));
DROP INDEX trace_metadata_by_key;
CREATE INDEX trace_metadata_by_key ON trace_metadata (key, SUBSTR(value, 1, 200));

-- The order in which a search shows traces by default, as it is written in the search.
DROP INDEX traces_by_time;
CREATE INDEX traces_by_time ON traces (experiment_id, timestamp_ms DESC, trace_id);

-- A purge asks what an import called a thing.
CREATE INDEX import_ledger_by_local_id ON import_ledger (kind, local_id);
