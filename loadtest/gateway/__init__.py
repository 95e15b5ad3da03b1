"""Load on the gateway: overload, streams, latency, a long feed, flow control; see docs/gateway-load.md."""
