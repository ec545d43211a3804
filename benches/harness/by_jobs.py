"""How the parallel engine's throughput grows with its connections where each of them is slow."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import report
from .cluster import Cluster
from .config import Source, Tuning, write_account, write_config
from .measure import Figures
from .store import NullStore
from .throttle import Throttle

JOBS = (1, 2, 4, 8)
GROWTH_WANTED = 6.5
MB_PER_S = 4.0
"""Of each connection: so little that eight of them leave the machine idle."""

Dump = Callable[[Source, Path, NullStore], Figures]


def measure(cluster: Cluster, null_s3: Path, folder: Path, tuning: Tuning, scale: float, dump: Dump) -> dict[str, object]:
    """Dumps a bank, and one table that has as much, with 1 to 8 jobs; prints seconds and growth."""
    throttle = Throttle(cluster.port, MB_PER_S * 1e6)
    databases = {"bank": cluster.load_bank, "one": cluster.load_one_table}
    try:
        sources = []
        for name, load in databases.items():
            load(name, scale)
            sources.append(Source(name, name, throttle.port, cluster.password, cluster.version()))
        store = NullStore(null_s3, write_account(folder / "account.json", sources))
        try:
            seconds: dict[str, list[float]] = {source.name: [] for source in sources}
            for jobs in JOBS:
                wanted = replace(tuning, engine="parallel", jobs=jobs, parts_in_flight=max(JOBS))
                config = write_config(folder / f"jobs-{jobs}.toml", sources, wanted, cluster.ca_file)
                for source in sources:
                    seconds[source.name].append(dump(source, config, store).wall_seconds)
        finally:
            store.stop()
    finally:
        throttle.stop()
    titles = {"bank": "the bank, 18 tables", "one": "one table"}
    rows = [[f"each connection {MB_PER_S:g} MB/s", *(f"{jobs} jobs, s" for jobs in JOBS), "1 : 8", "wanted"]]
    for name, taken in seconds.items():
        growth = taken[0] / taken[-1]
        rows.append([titles[name], *(f"{each:.1f}" for each in taken), f"{growth:.2f}", f"at least {GROWTH_WANTED}"])
    print(report.table(rows))
    return {"mb_per_s": MB_PER_S, "scale": scale, "jobs": JOBS, "seconds": seconds}
