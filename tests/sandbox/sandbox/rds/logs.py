"""DescribeDBLogFiles and DownloadDBLogFilePortion, from the files the server itself writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moto.rds.models import RDSBackend

from . import checks, errors
from .snapshots import find_instance

PORTION = 1024 * 1024
DEFAULT_LINES = 10000


def files(backend: RDSBackend, params: Any) -> dict[str, Any]:
    instance = find_instance(backend, params.get("DBInstanceIdentifier"))
    shown = []
    for path in sorted(instance.cluster.logs.glob("*")):
        facts = path.stat()
        entry = {
            "LogFileName": f"error/{path.name}",
            "LastWritten": int(facts.st_mtime * 1000),
            "Size": facts.st_size,
        }
        if _selected(entry, params):
            shown.append(entry)
    items, marker = checks.page(shown, params, lambda each: str(each["LogFileName"]))
    return {"DescribeDBLogFiles": items, "Marker": marker}


def _selected(entry: dict[str, Any], params: Any) -> bool:
    contains, written, size = (params.get(key) for key in ("FilenameContains", "FileLastWritten", "FileSize"))
    return (
        (not contains or contains in entry["LogFileName"])
        and (written is None or entry["LastWritten"] >= int(written))
        and (size is None or entry["Size"] >= int(size))
    )


def portion(backend: RDSBackend, params: Any) -> dict[str, Any]:
    """Up to 1 MiB: from the marker (`0` is the beginning), or the last lines when no marker is given."""
    instance = find_instance(backend, params.get("DBInstanceIdentifier"))
    name = params.get("LogFileName") or ""
    path: Path = instance.cluster.logs / Path(name).name
    if name != f"error/{path.name}" or not path.is_file():
        raise errors.RdsError("DBLogFileNotFoundFault", f"DBLog File: {name}, is not found on the DB instance")
    data = path.read_bytes()
    marker, lines = params.get("Marker"), int(params.get("NumberOfLines") or DEFAULT_LINES)
    if marker is None:
        wanted = b"".join(data.splitlines(keepends=True)[-lines:])[-PORTION:]
        start, end = len(data) - len(wanted), len(data)
    else:
        try:
            start = int(str(marker).rsplit(":", 1)[-1])
        except ValueError as error:
            raise errors.invalid_value(f"Invalid marker: {marker}") from error
        window = data[start : start + PORTION]
        kept = b"".join(window.splitlines(keepends=True)[:lines])
        end = start + len(kept)
    text = data[start:end].decode(errors="replace")
    return {"LogFileData": text, "Marker": f"0:{end}", "AdditionalDataPending": end < len(data)}
