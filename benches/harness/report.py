"""Figures as tables for people."""

from .config import Tuning
from .measure import Figures

# What the daemon may use beside the parts that it has in flight (issue 2).
RSS_BASE_MIB = 64


def comparison(medians: dict[str, Figures], level: int, engine: str) -> str:
    titles = {
        "dump": "pg_dump -Fc -Z0",
        "zstd": f"pg_dump -Fc -Z0 | zstd -{level} -T1",
        "aws": "… | zstd -3 -T1 | aws s3 cp -",
        "daemon": f"strongroom, {engine}, level {level}",
    }
    head = ["pipeline (medians)", "wall s", "client CPU s", "server CPU s", "store CPU s", "peak RSS MiB", "stored MB", "CPU : zstd", "wall : aws"]
    rows = [head]
    for name, figures in medians.items():
        rows.append(
            [
                titles[name],
                f"{figures.wall_seconds:.1f}",
                f"{figures.client_cpu_seconds:.1f}",
                f"{figures.server_cpu_seconds:.1f}",
                f"{figures.store_cpu_seconds:.1f}",
                f"{figures.peak_rss_mib:.0f}",
                f"{figures.stored_bytes / 1e6:.0f}",
                ratio(figures.client_cpu_seconds, medians.get("zstd"), "client_cpu_seconds"),
                ratio(figures.wall_seconds, medians.get("aws"), "wall_seconds"),
            ]
        )
    lines = [table(rows)]
    if "daemon" in medians and {"zstd", "aws"} <= medians.keys():
        lines.append("wanted of strongroom: CPU : zstd at most 1.15, wall : aws at most 1.00")
        lines.append(f"strongroom alone, without its child: {medians['daemon'].last_stage_rss_mib:.0f} MiB")
    return "\n".join(lines)


def memory(figures: dict[float, Figures], tuning: Tuning) -> str:
    limit = RSS_BASE_MIB + tuning.parts_in_flight * tuning.part_mib
    rows = [["scale", "stored MB", "peak RSS MiB", "daemon alone MiB", "limit MiB", "within"]]
    for scale, each in figures.items():
        within = "yes" if each.peak_rss_mib < limit else "NO"
        rows.append(
            [f"{scale:g}", f"{each.stored_bytes / 1e6:.0f}", f"{each.peak_rss_mib:.1f}", f"{each.last_stage_rss_mib:.1f}", str(limit), within]
        )
    formula = f"limit: {RSS_BASE_MIB} MiB + {tuning.parts_in_flight} parts in flight x {tuning.part_mib} MiB"
    return f"{table(rows)}\n{formula}"


def table(rows: list[list[str]]) -> str:
    """The first column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def ratio(value: float, baseline: Figures | None, field: str) -> str:
    return "" if baseline is None else f"{value / getattr(baseline, field):.2f}"
