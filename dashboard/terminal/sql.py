"""The fleet as it stands, as SQL over the lake's views: for those who have no Streamlit (`foreshock top`).

Means what dashboard/now.py means by the same columns; a test compares them.
"""

from __future__ import annotations

from typing import Final

SILENT_S: Final = 60
"""A GPU whose last row is this much older than the lake's newest is silent, whatever that row said."""

NEWEST: Final = """
SELECT (SELECT max(time) FROM telemetry) AS telemetry, (SELECT max(time) FROM predictions) AS predictions
"""

FLEET: Final = """
WITH newest AS (SELECT time FROM predictions ORDER BY time DESC LIMIT 1),
fresh AS (
    SELECT gpu_uuid, max(time) AS time, arg_max({
        'node': node, 'gpu_index': gpu_index, 'risk': risk, 'model_id': model_id, 'why': reasons[1].text,
        'synthetic': synthetic
    }, time) AS told
    FROM predictions WHERE time >= (SELECT time FROM newest) - INTERVAL 2 MINUTE GROUP BY gpu_uuid
),
late AS (
    SELECT gpu_uuid, max(time) AS time, arg_max({
        'node': node, 'gpu_index': gpu_index, 'risk': risk, 'model_id': model_id, 'why': NULL::VARCHAR,
        'synthetic': synthetic
    }, time) AS told
    FROM predictions ANTI JOIN fresh USING (gpu_uuid)
    WHERE time >= (SELECT time FROM newest) - INTERVAL 1 DAY GROUP BY gpu_uuid
),
r AS (
    SELECT gpu_uuid, time, unnest(told) FROM (FROM fresh UNION ALL FROM late)
)
SELECT
    coalesce(g.node, r.node) AS node, coalesce(g.gpu_index, r.gpu_index) AS gpu_index,
    coalesce(g.gpu_uuid, r.gpu_uuid) AS gpu_uuid,
    CASE
        WHEN g.time IS NULL OR g.time < (SELECT max(time) FROM telemetry) - to_seconds($silent_s) THEN 'silent'
        ELSE coalesce(g.gpu_state, 'unread')
    END AS state,
    g.time, g.temperature_c, g.power_w, CASE WHEN isnan(r.risk) THEN NULL ELSE r.risk END AS risk,
    r.time AS risk_time, r.model_id, r.why, coalesce(g.synthetic, r.synthetic) AS synthetic
FROM gpu_now AS g FULL JOIN r ON g.gpu_uuid = r.gpu_uuid
WHERE $node = '*' OR coalesce(g.node, r.node) GLOB $node
ORDER BY node, gpu_index, gpu_uuid
"""
"""Risks of the newest minutes first, and of the day before only those of GPUs that have none there: the view `risk_now`
would sort a day of reasons, which takes longer than a look may."""

OPEN_INCIDENTS: Final = """
WITH stands AS (
    SELECT incident_id, action_id, arg_max(action || ' ' || state, time) AS done, max(time) AS time
    FROM actions GROUP BY incident_id, action_id
),
done AS (SELECT incident_id, string_agg(done, ', ' ORDER BY time) AS done FROM stands GROUP BY incident_id)
SELECT
    i.incident_id, i.opened, i.time, i.state, i.severity, i.node, i.gpu_index, i.gpu_uuid, i.summary, d.done,
    i.synthetic
FROM incidents_now AS i LEFT JOIN done AS d USING (incident_id)
WHERE i.is_open AND ($node = '*' OR i.node GLOB $node)
ORDER BY i.time DESC
"""
