"""The node agent: NVML telemetry and Xid/SXid events, from the node to the stream."""
