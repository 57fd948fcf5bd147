"""What runs on GitHub: nothing that moves by itself, and nothing that a pull request could use."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orders_lakehouse.settings import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> dict[Any, Any]:
    path: Path = request.param
    return dict(yaml.safe_load(path.read_text()))


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_actions_are_pinned_by_commit(workflow: dict[Any, Any]) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []


def test_only_jobs_without_code_of_the_change_may_write(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        if "permissions" in job:
            assert job["permissions"] == {"actions": "read", "pull-requests": "write"}
            assert "head.repo.full_name == github.repository" in job["if"]
            commands = [line.split()[0] for step in job["steps"] for line in step["run"].splitlines()]
            assert set(commands) <= {"gh", "head", "#"}
            assert not [step for step in job["steps"] if "uses" in step]
    assert "secrets." not in str(workflow)
    # In YAML, `on` is a boolean.
    assert "pull_request_target" not in workflow[True]


def test_workflows_run_make_targets_and_no_branch_names(workflow: dict[Any, Any]) -> None:
    runs = [step["run"] for step in steps(workflow) if "run" in step]
    targets = re.findall(r"make ([\w-]+)", " ".join(runs))
    assert {"check", "test", "pr-checks"} <= set(targets)
    makefile = (PROJECT / "Makefile").read_text()
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    assert [run for run in runs if "${{" in run] == []
