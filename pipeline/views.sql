-- Views for analysts, made on every connection over one snapshot of the lake (pipeline/sql.py).
-- Times are UTC. The comment of a view is what `foreshock sql` lists. A name here is never a table's name.
-- "Now" is the lake's own newest time, not the wall clock: a replayed or paused lake still answers.

-- fault_codes is made before these, from the Xid catalogue and this site's overrides (pipeline/sql_views.py).

-- Nearly every GPU has a row in the newest ten minutes, and only those files are read. Whoever is silent for longer is
-- found by its rollups. ORDER BY ... LIMIT 1 is max(time) from what the files say of themselves.
CREATE VIEW gpu_now AS
WITH newest AS (
    SELECT time FROM telemetry ORDER BY time DESC LIMIT 1
),
fresh AS (
    SELECT gpu_uuid, max(time) AS time
    FROM telemetry
    WHERE time >= (SELECT time FROM newest) - INTERVAL 10 MINUTE
    GROUP BY gpu_uuid
),
silent AS (
    SELECT gpu_uuid, max(minute) AS minute
    FROM rollups ANTI JOIN fresh USING (gpu_uuid)
    WHERE minute >= (SELECT time FROM newest) - INTERVAL 1 DAY
    GROUP BY gpu_uuid
),
gone AS (
    SELECT t.gpu_uuid, max(t.time) AS time
    FROM telemetry AS t JOIN silent AS s ON t.gpu_uuid = s.gpu_uuid AND t.time >= s.minute
    GROUP BY t.gpu_uuid
)
FROM (
    SELECT t.* FROM telemetry AS t JOIN fresh USING (gpu_uuid, time)
    UNION ALL
    SELECT t.* FROM telemetry AS t JOIN gone USING (gpu_uuid, time)
)
QUALIFY row_number() OVER (PARTITION BY gpu_uuid ORDER BY time) = 1;
COMMENT ON VIEW gpu_now IS 'the last telemetry row of each GPU heard from in the newest day of the lake';

CREATE VIEW gpu_minute AS
SELECT
    minute, node, gpu_uuid, gpu_index, pci_bdf, gpu_state, samples, good_samples, nvml_errors, gap_max_s,
    sm_util_pct_mean, power_w_mean, power_w_max, power_w_std, temperature_c_mean, temperature_c_max,
    memory_temperature_c_max, sm_clock_mhz_mean, nvml_latency_us_max,
    nvlink_crc_flit_errors_delta, nvlink_crc_data_errors_delta, nvlink_replay_errors_delta,
    pcie_replay_delta, ecc_sbe_volatile_delta, ecc_dbe_volatile_delta, thermal_violation_us_delta,
    remapped_rows_correctable_last, remapped_rows_uncorrectable_last, remap_pending_last, remap_failure_last,
    synthetic, date
FROM rollups;
COMMENT ON VIEW gpu_minute IS 'one row per GPU and minute: the readings most asked for, and what the counters added';

CREATE VIEW gpu_day AS
SELECT
    date, gpu_uuid, any_value(node) AS node, any_value(gpu_index) AS gpu_index,
    count(*) AS minutes, sum(samples) AS samples, sum(good_samples) / nullif(sum(samples), 0) AS answered_share,
    max(gap_max_s) AS gap_max_s, avg(sm_util_pct_mean) AS sm_util_pct_mean,
    avg(power_w_mean) AS power_w_mean, sum(energy_j_delta) / 3.6e6 AS energy_kwh,
    avg(temperature_c_mean) AS temperature_c_mean, max(temperature_c_max) AS temperature_c_max,
    sum(nvlink_crc_flit_errors_delta) AS nvlink_crc_flit_errors,
    sum(nvlink_crc_data_errors_delta) AS nvlink_crc_data_errors,
    sum(pcie_replay_delta) AS pcie_replay, sum(ecc_sbe_volatile_delta) AS ecc_corrected,
    sum(ecc_dbe_volatile_delta) AS ecc_uncorrected, sum(thermal_violation_us_delta) / 1e6 AS thermal_throttle_s,
    bool_or(synthetic) AS synthetic
FROM rollups
GROUP BY date, gpu_uuid;
COMMENT ON VIEW gpu_day IS 'one row per GPU and UTC day: how much it was heard, worked, drew and erred';

-- A storm is one event that is told again as its count grows; a replay tells an old state of it once more.
CREATE VIEW events_now AS
SELECT *
FROM events
QUALIFY row_number() OVER (PARTITION BY fingerprint ORDER BY count DESC, seq DESC) = 1;
COMMENT ON VIEW events_now IS 'each event as it stands: one row per fingerprint, the one that knows most';

CREATE VIEW xid_events AS
SELECT
    e.time, e.node, e.gpu_uuid, e.gpu_index, e.pci_bdf, e.kind, e.code,
    -- some codes (144 to 150, NVLink5) are faults only where the line does not say Nonfatal
    f.code IS NOT NULL AND NOT (f.only_if_fatal AND regexp_matches(e.text, '(?i)non-?fatal')) AS is_fault,
    e.count, e.last_time, e.process, e.pid, e.job, e.root_code, e.root_fingerprint, e.recovery_action, e.source,
    e.text, e.fingerprint, e.synthetic, e.date
FROM events_now AS e LEFT JOIN fault_codes AS f ON e.kind = 'xid' AND e.code = f.code
WHERE e.kind IN ('xid', 'sxid');
COMMENT ON VIEW xid_events IS 'Xids and switch errors, each marked as a fault or not (application errors are not)';

-- One failing GPU tells of it many times. Tellings closer than half an hour are one fault.
CREATE VIEW faults AS
WITH told AS (
    SELECT
        time, node, coalesce(gpu_uuid, node || ' ' || coalesce(pci_bdf, '')) AS gpu, gpu_uuid, gpu_index, pci_bdf,
        kind, code, text, job, count, synthetic
    FROM (
        SELECT * FROM xid_events WHERE is_fault
        UNION ALL BY NAME
        SELECT * FROM events_now WHERE kind IN ('gpu_lost', 'gpu_missing')
    )
),
spaced AS (
    SELECT *, time - lag(time) OVER (PARTITION BY gpu ORDER BY time) > INTERVAL 30 MINUTE AS apart FROM told
),
numbered AS (
    SELECT *, count(*) FILTER (apart) OVER (PARTITION BY gpu ORDER BY time) AS episode FROM spaced
)
SELECT
    min(time) AS time, max(time) AS last_time, arg_min(node, time) AS node, arg_min(gpu_uuid, time) AS gpu_uuid,
    arg_min(gpu_index, time) AS gpu_index, arg_min(pci_bdf, time) AS pci_bdf,
    arg_min(kind, time) AS first_kind, arg_min(code, time) AS first_code,
    list_sort(list(DISTINCT code) FILTER (code IS NOT NULL)) AS codes, sum(count)::BIGINT AS events,
    any_value(job) AS job, arg_min(text, time) AS text, bool_or(synthetic) AS synthetic
FROM numbered
GROUP BY gpu, episode;
COMMENT ON VIEW faults IS 'one row per fault: fault Xids and lost GPUs, those within 30 minutes on one GPU taken together';

-- The job is the one that the event names, else the one that held the GPU in the ten minutes before. Its size is
-- what its GPUs were in those minutes: one dead GPU stops all of them.
CREATE VIEW job_impact AS
WITH held AS (
    SELECT f.gpu_uuid, f.time, arg_max(r.job, r.minute) AS job
    FROM faults AS f JOIN rollups AS r
        ON r.gpu_uuid = f.gpu_uuid AND r.minute BETWEEN f.time - INTERVAL 10 MINUTE AND f.time
    WHERE r.job IS NOT NULL
    GROUP BY f.gpu_uuid, f.time
),
hit AS (
    SELECT f.* REPLACE (coalesce(f.job, held.job) AS job)
    FROM faults AS f LEFT JOIN held USING (gpu_uuid, time)
    WHERE coalesce(f.job, held.job) IS NOT NULL
),
sized AS (
    SELECT h.job, h.time, count(DISTINCT r.gpu_uuid) AS job_gpus, count(DISTINCT r.node) AS job_nodes
    FROM (SELECT DISTINCT job, time FROM hit) AS h JOIN rollups AS r
        ON r.job = h.job AND r.minute BETWEEN h.time - INTERVAL 10 MINUTE AND h.time
    GROUP BY h.job, h.time
)
SELECT
    h.time, h.job, h.node, h.gpu_uuid, h.gpu_index, h.pci_bdf, h.first_kind AS kind, h.first_code AS code, h.codes,
    s.job_gpus, s.job_nodes, h.text, h.synthetic
FROM hit AS h LEFT JOIN sized AS s USING (job, time);
COMMENT ON VIEW job_impact IS 'one row per fault that hit a job: which, and how many GPUs it held at that time';

-- Operation is what was observed: a minute without a rollup is no minute of operation. A fault of a time that nothing
-- was observed in (events older than the first rollup) does not count.
CREATE VIEW fleet_mtbf AS
WITH work AS (
    SELECT node, count(*) / 60.0 AS gpu_hours, count(DISTINCT gpu_uuid) AS gpus, min(minute) AS since,
        max(minute) + INTERVAL 1 MINUTE AS until, bool_or(synthetic) AS synthetic
    FROM rollups
    GROUP BY node
),
failed AS (
    SELECT node, count(*) AS faults
    FROM faults
    WHERE time BETWEEN (SELECT min(since) FROM work) AND (SELECT max(until) FROM work)
    GROUP BY node
),
nodes AS (
    SELECT w.*, coalesce(f.faults, 0) AS faults FROM work AS w LEFT JOIN failed AS f USING (node)
),
scopes AS (
    SELECT 'node' AS scope, node, gpus, gpu_hours, faults, since, until, synthetic FROM nodes
    UNION ALL BY NAME
    SELECT
        'fleet' AS scope, NULL AS node, sum(gpus)::BIGINT AS gpus, sum(gpu_hours) AS gpu_hours,
        sum(faults)::BIGINT AS faults, min(since) AS since, max(until) AS until, bool_or(synthetic) AS synthetic
    FROM nodes HAVING count(*) > 0
)
SELECT
    scope, node, gpus, gpu_hours / 24 AS gpu_days, faults, faults / (gpu_hours / 24) AS faults_per_gpu_day,
    gpu_hours / nullif(faults, 0) AS gpu_mtbf_h, gpu_hours / gpus / nullif(faults, 0) AS mtbf_h, since, until, synthetic
FROM scopes;
COMMENT ON VIEW fleet_mtbf IS 'faults per GPU-day and mean time between faults, of each node and of the fleet';

CREATE VIEW inventory_now AS
SELECT *
FROM inventory
QUALIFY row_number() OVER (PARTITION BY gpu_uuid ORDER BY time DESC, seq DESC) = 1;
COMMENT ON VIEW inventory_now IS 'each GPU as it was last described: driver, firmware, limits, and the slot it is in';

CREATE VIEW repeat_offenders AS
SELECT
    gpu_uuid, count(*) AS faults, min(time) AS first_fault, max(time) AS last_fault,
    date_diff('second', min(time), max(time)) / 86400.0 / (count(*) - 1) AS days_between,
    arg_max(node, time) AS node, arg_max(pci_bdf, time) AS pci_bdf,
    count(DISTINCT node || ' ' || coalesce(pci_bdf, '')) AS slots,
    list_sort(list_distinct(flatten(list(codes) FILTER (codes IS NOT NULL)))) AS codes,
    bool_or(synthetic) AS synthetic
FROM faults
WHERE gpu_uuid IS NOT NULL
GROUP BY gpu_uuid
HAVING count(*) > 1;
COMMENT ON VIEW repeat_offenders IS 'GPUs that failed more than once, and whether they moved: the most predictable ones';

CREATE VIEW risk_now AS
-- the newest times first: a day of reasons would be sorted for the last of each
WITH newest AS (
    SELECT gpu_uuid, max(time) AS time
    FROM predictions
    WHERE time >= (SELECT max(time) FROM predictions) - INTERVAL 1 DAY
    GROUP BY gpu_uuid
)
SELECT p.*
FROM predictions AS p JOIN newest USING (gpu_uuid, time)
QUALIFY row_number() OVER (PARTITION BY gpu_uuid ORDER BY time DESC) = 1;
COMMENT ON VIEW risk_now IS 'the last prediction of each GPU in the newest day of the lake, with its reasons';

CREATE VIEW incidents_now AS
SELECT *, state IN ('open', 'failed') AS is_open
FROM incidents
-- rows of one moment: the later state counts
QUALIFY row_number() OVER (
    PARTITION BY incident_id ORDER BY time DESC, list_position(['open', 'failed', 'recovered', 'lapsed', 'replaced'], state) DESC
) = 1;
COMMENT ON VIEW incidents_now IS 'each incident as it stands: the last row of its log';

CREATE VIEW actions_log AS
SELECT
    a.time, a.action_id, a.action, a.intent, a.state, a.node, a.gpu_uuid, a.detail, a.incident_id,
    i.cause, i.opened, date_diff('millisecond', i.opened, a.time) / 1000.0 AS after_opening_s, a.synthetic, a.date
FROM actions AS a LEFT JOIN incidents_now AS i USING (incident_id);
COMMENT ON VIEW actions_log IS 'what was decided, delivered, acknowledged or failed, and how long after the incident opened';
