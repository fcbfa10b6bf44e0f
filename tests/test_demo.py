"""The demo's report, from result files of its folders; the time it says is left; what it removes."""

import json
import shutil
import subprocess

import pytest

from demo import ROOT, SEEDS, SPLITS, write_report
from tests.commands import environment
from tests.report.written import METHOD_SETTINGS, save_run, verdicts

METHODS = {
    "zero_shot": "Zero-Shot CoT",
    "softcot": "SoftCoT (L=4)",
    "softcot_sc": "SoftCoT-SC (L=4, R=10)",
    "shuffled": "Shuffled thoughts (L=4)",
    "softcotpp": "SoftCoT++ (L=4, N=2)",
}


def test_the_report_holds_means_seeds_table_and_plot(tmp_path):
    expected = {}
    for name, label in METHODS.items():
        for split in SPLITS:
            for seed in SEEDS:
                pairs = verdicts(f"{seed} {name} {split}", count=8)
                save_run(tmp_path / "logs" / name / split, "x", seed, pairs, split=split, **METHOD_SETTINGS[label])
                expected.setdefault(name, {}).setdefault(split, []).append(sum(right for right, _ in pairs) / 8)
    write_report(tmp_path, {"test": 8, "unseen": 8}, {"train_softcot": 1.23, "total": 90, "total_cpu": 150})
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["seeds"] == expected
    assert summary["questions"] == {"test": 8, "unseen": 8} and summary["seconds"] == {
        "train_softcot": 1.2,
        "total": 90,
        "total_cpu": 150,
    }
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    for name, label in METHODS.items():
        assert summary[name] == {split: pytest.approx(sum(of) / 2) for split, of in expected[name].items()}
        (row,) = (line for line in table.splitlines() if line.startswith(f"| {label} |"))
        assert all(f"| {100 * mean:.2f} ± " in row for mean in summary[name].values())
    compared = [line for line in table.splitlines() if "| SoftCoT (L=4) | Shuffled thoughts (L=4) |" in line]
    assert len(compared) == len(SPLITS)
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_it_removes_what_an_earlier_demo_wrote_and_no_run_of_the_user(tmp_path):
    project = tmp_path / "my project"
    project.mkdir()
    shutil.copy(ROOT / "demo.py", project)
    own = [project / top / "demo-gsm8k-1.0-16-a-b" for top in ("ckpt", "logs", "results")]
    for folder in (*own, project / "results" / "demo" / "logs" / "softcot"):
        folder.mkdir(parents=True)
    done = subprocess.run(
        [environment()["PYTHON"], str(project / "demo.py")],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
    )
    # There are no data, so it ends at its first command.
    assert done.returncode == 1 and f"{project}/data/mini" in done.stderr, done.stderr
    assert all(folder.is_dir() for folder in own)
    assert list((project / "results" / "demo").iterdir()) == []
