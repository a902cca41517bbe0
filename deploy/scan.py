"""Look at all that is delivered for what is unsafe: `make scan`, in an environment of its own.

checkov reads the chart (rendered with each file of `ci/` and `values/`), the overlays of kustomize,
the Dockerfiles, the workflows and Terraform; zizmor the workflows; check-jsonschema holds them to
GitHub's schema. What is left out of checkov, and why, stands in `deploy/checkov.yaml` and beside
what it is about.
Printed as JSON: for each kind of file how many checks passed and failed. Exit status 1 if any did.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_BESIDE = Path(sys.executable).parent
_COMMAND_S = 600.0


def run(*words: str, may_fail: bool = False) -> str:
    """A command of this environment or, second, of PATH; its output."""
    path = f"{_BESIDE}{os.pathsep}{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which(words[0], path=path)
    if program is None:
        raise SystemExit(f"{words[0]} is not installed: `make tools` has helm and kubectl")
    done = subprocess.run(
        [program, *words[1:]], capture_output=True, text=True, timeout=_COMMAND_S, cwd=ROOT
    )
    if done.returncode != 0 and not may_fail:
        raise SystemExit(f"{' '.join(words)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def render(to: Path) -> None:
    """The chart in all ways that have an example, and what kustomize makes."""
    chart = ROOT / "charts/weir"
    for values in (*sorted(chart.glob("ci/*.yaml")), *sorted(chart.glob("values/*.yaml"))):
        command = ("helm", "template", "weir", "charts/weir", "--namespace", "weir-system")
        (to / values.name).write_text(run(*command, "--values", str(values)))
    for overlay in ("standard", "namespaced"):
        made = run("kubectl", "kustomize", f"deploy/kustomize/overlays/{overlay}")
        (to / f"kustomize-{overlay}.yaml").write_text(made)


def copy_workflows(to: Path) -> None:
    """Without what checkov's copy of GitHub's schema does not have: it passes over such files."""
    to.mkdir(parents=True)
    for file in sorted((ROOT / ".github/workflows").glob("*.yml")):
        text = re.sub(r"(?m)^concurrency:\n(?:  .*\n)+", "", file.read_text())
        (to / file.name).write_text(re.sub(r"(?m)^ +attestations: write.*\n", "", text))


def checkov(framework: str, folder: Path) -> dict[str, Any]:
    """What one framework says: counts, and every failure in a line."""
    command = ("checkov", "--config-file", "deploy/checkov.yaml", "--framework", framework)
    told = run(*command, "--directory", str(folder), "--output", "json", may_fail=True)
    report = json.loads(told)
    if "results" not in report:  # it found nothing to look at
        return {"passed": 0, "failed": 0, "failures": []}
    summary, failures = report["summary"], report["results"]["failed_checks"]
    return {
        "passed": summary["passed"],
        "skipped": summary["skipped"],
        "failed": summary["failed"] + summary["parsing_errors"],
        "failures": sorted(
            {
                f"{one['check_id']} {one['file_path']} {one['resource']}: {one['check_name']}"
                for one in failures
            }
        ),
    }


def main() -> int:
    """The command."""
    workflows = [str(one) for one in sorted((ROOT / ".github/workflows").glob("*.yml"))]
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    run("zizmor", "--offline", "--persona", "pedantic", ".github")
    with tempfile.TemporaryDirectory(prefix="weir-scan-") as name:
        render(Path(name))
        copy_workflows(Path(name) / "hub/.github/workflows")
        found = {
            "kubernetes": checkov("kubernetes", Path(name)),
            "dockerfile": checkov("dockerfile", ROOT / "deploy/images"),
            "github_actions": checkov("github_actions", Path(name) / "hub"),
            "terraform": checkov("terraform", ROOT / "deploy/terraform"),
        }
    print(json.dumps(found, indent=1))
    unseen = [name for name, one in found.items() if not one["passed"]]
    if unseen:
        print(f"nothing was looked at: {', '.join(unseen)}", file=sys.stderr)
    return 1 if unseen or any(one["failed"] for one in found.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
