-- What scorers and feeds write to Kafka, kept for longer than Kafka keeps it.
--
-- What stands in a comment that begins with `postgres:` is for PostgreSQL alone, a line that ends
-- with `-- sqlite` for SQLite alone. In PostgreSQL the tables are partitioned by event time; rows of
-- times that no partition is made for go to the one named `…_other`.
--
-- Times are µs since the epoch. `kept_since` is the event time, or the time of arrival where the
-- event was then older than is kept, or far ahead: it says when a row is forgotten.

CREATE TABLE alerts (
    alert_id    TEXT             NOT NULL,
    event_time  BIGINT           NOT NULL,
    symbol      TEXT             NOT NULL,
    period      TEXT             NOT NULL,
    severity    TEXT             NOT NULL,
    score       DOUBLE PRECISION NOT NULL,
    model       TEXT             NOT NULL,
    version     TEXT             NOT NULL,
    incident_id TEXT,
    label       TEXT,
    -- The alert as it was published, JSON.
    record      TEXT             NOT NULL,
    kept_since  BIGINT           NOT NULL,
    PRIMARY KEY (alert_id, event_time)
) /* postgres: PARTITION BY RANGE (event_time) */;
/* postgres: CREATE TABLE alerts_other PARTITION OF alerts DEFAULT; */
CREATE INDEX alerts_by_time ON alerts (event_time, alert_id);
CREATE INDEX alerts_by_symbol ON alerts (symbol, event_time, alert_id);
CREATE INDEX alerts_by_incident ON alerts (incident_id, event_time, alert_id);
CREATE INDEX alerts_by_age ON alerts (kept_since); -- sqlite
/* postgres: CREATE INDEX alerts_by_age ON alerts_other (kept_since); */

CREATE TABLE drift_verdicts (
    -- A digest of the verdict where it has no id itself.
    verdict_id TEXT   NOT NULL,
    event_time BIGINT NOT NULL,
    model      TEXT   NOT NULL,
    version    TEXT,
    statistic  TEXT   NOT NULL,
    feature    TEXT,
    symbol     TEXT,
    action     TEXT,
    -- The verdict as it was published, JSON.
    record     TEXT   NOT NULL,
    kept_since BIGINT NOT NULL,
    PRIMARY KEY (event_time, verdict_id)
) /* postgres: PARTITION BY RANGE (event_time) */;
/* postgres: CREATE TABLE drift_verdicts_other PARTITION OF drift_verdicts DEFAULT; */
CREATE INDEX drift_verdicts_by_age ON drift_verdicts (kept_since); -- sqlite
/* postgres: CREATE INDEX drift_verdicts_by_age ON drift_verdicts_other (kept_since); */

CREATE TABLE candles (
    symbol       TEXT             NOT NULL,
    period       TEXT             NOT NULL,
    -- When it opened.
    event_time   BIGINT           NOT NULL,
    open         DOUBLE PRECISION NOT NULL,
    high         DOUBLE PRECISION NOT NULL,
    low          DOUBLE PRECISION NOT NULL,
    close        DOUBLE PRECISION NOT NULL,
    volume       DOUBLE PRECISION NOT NULL,
    quote_volume DOUBLE PRECISION,
    buy_volume   DOUBLE PRECISION,
    trade_count  BIGINT,
    kept_since   BIGINT           NOT NULL,
    PRIMARY KEY (symbol, period, event_time)
) /* postgres: PARTITION BY RANGE (event_time) */;
/* postgres: CREATE TABLE candles_other PARTITION OF candles DEFAULT; */
CREATE INDEX candles_by_age ON candles (kept_since); -- sqlite
/* postgres: CREATE INDEX candles_by_age ON candles_other (kept_since); */

CREATE TABLE scores (
    symbol     TEXT             NOT NULL,
    -- When the candle opened.
    event_time BIGINT           NOT NULL,
    period     TEXT             NOT NULL,
    model      TEXT             NOT NULL,
    version    TEXT             NOT NULL,
    -- Absent while the windows of the row's features weren't full.
    score      DOUBLE PRECISION,
    -- 0 or 1; absent where the score is.
    flagged    BIGINT,
    label      TEXT,
    -- The row as it was published, JSON.
    record     TEXT             NOT NULL,
    kept_since BIGINT           NOT NULL,
    PRIMARY KEY (symbol, event_time, period, model, version)
) /* postgres: PARTITION BY RANGE (event_time) */;
/* postgres: CREATE TABLE scores_other PARTITION OF scores DEFAULT; */
CREATE INDEX scores_by_age ON scores (kept_since); -- sqlite
/* postgres: CREATE INDEX scores_by_age ON scores_other (kept_since); */

-- Where reading goes on, written in the transaction of the rows: whoever finds another offset than
-- the one it began at writes nothing.
CREATE TABLE kafka_offsets (
    cluster         TEXT   NOT NULL,
    topic           TEXT   NOT NULL,
    topic_partition BIGINT NOT NULL,
    next_offset     BIGINT NOT NULL,
    PRIMARY KEY (cluster, topic, topic_partition)
);
