"""`.ci/run`, the entry point of continuous integration."""

import re
import subprocess

import yaml

from tools.local.process import ROOT

SCRIPT = ROOT / ".ci" / "run"


def test_unknown_stage_is_rejected_with_the_usage() -> None:
    done = subprocess.run([SCRIPT, "deploy"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "usage: .ci/run [lint|test|images|soak]\n")


def test_workflow_jobs_call_the_stages() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    called = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert called == {stage: [f".ci/run {stage}"] for stage in ("lint", "test", "images", "soak")}


def test_script_reads_nothing_outside_the_checkout() -> None:
    assert re.findall(r"(?<![\w\"/])\.\./\S+", SCRIPT.read_text(encoding="utf-8")) == []
