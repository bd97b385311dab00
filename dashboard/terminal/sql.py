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
SELECT
    coalesce(g.node, r.node) AS node, coalesce(g.gpu_index, r.gpu_index) AS gpu_index,
    coalesce(g.gpu_uuid, r.gpu_uuid) AS gpu_uuid,
    CASE
        WHEN g.time IS NULL OR g.time < (SELECT max(time) FROM telemetry) - to_seconds($silent_s) THEN 'silent'
        ELSE coalesce(g.gpu_state, 'unread')
    END AS state,
    g.time, g.temperature_c, g.power_w, CASE WHEN isnan(r.risk) THEN NULL ELSE r.risk END AS risk,
    r.time AS risk_time, r.model_id, r.reasons[1].text AS why, coalesce(g.synthetic, r.synthetic) AS synthetic
FROM gpu_now AS g FULL JOIN risk_now AS r ON g.gpu_uuid = r.gpu_uuid
WHERE $node = '*' OR coalesce(g.node, r.node) GLOB $node
ORDER BY node, gpu_index, gpu_uuid
"""

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
