"""The pieces of `benches/pipeline.py`: a PostgreSQL cluster, the null store, the daemon's configuration, measuring."""
