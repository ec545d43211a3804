"""The PrometheusRule of Kubernetes: `deploy/prometheus/rules.yaml` in the operator's envelope. As a command it writes the file."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules.yaml"
RESOURCE = ROOT / "deploy/kubernetes/components/monitoring/prometheusrule.yaml"

ENVELOPE = """\
# Made from deploy/prometheus/rules.yaml, where the rules are explained and tested: edit that, then run
#   python3 tests/deploy/prometheus_rule.py
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: strongroom
  namespace: strongroom
  labels:
    app.kubernetes.io/name: strongroom
spec:
"""


def rendered() -> str:
    text = RULES.read_text()
    groups = text[text.index("groups:") :]
    return ENVELOPE + "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))


if __name__ == "__main__":
    RESOURCE.write_text(rendered())
