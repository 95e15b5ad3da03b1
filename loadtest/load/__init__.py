"""Load on a gateway with locust: every call, in shapes, judged by stated objectives; see docs/loadtest.md."""
