"""Brings the chart's copies of what stands elsewhere up to date.

usage: helm/sync.py PATH_OF_CONEXUSD [FOLDER]      (FOLDER is helm/conexus by default)

A chart is packaged by itself, so it holds the rules, the dashboards and the schema of the configuration a second time. A
test runs this on a copy and compares.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def copy(pattern: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(ROOT.glob(pattern)):
        shutil.copy(path, folder / path.name)


def configuration(conexusd: str) -> dict:
    printed = subprocess.run([conexusd, "config", "schema"], check=True, capture_output=True, text=True).stdout
    schema = json.loads(printed)
    # It becomes a part of another schema, which says the version.
    schema.pop("$schema")
    return schema


def main() -> None:
    chart = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE / "conexus"
    copy("observability/prometheus/rules/*.yml", chart / "files/rules")
    copy("observability/grafana/dashboards/*.json", chart / "files/dashboards")
    path = chart / "values.schema.json"
    schema = json.loads(path.read_text())
    schema["properties"]["config"] = configuration(sys.argv[1])
    path.write_text(json.dumps(schema, indent=1) + "\n")


main()
