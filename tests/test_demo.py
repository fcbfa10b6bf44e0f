"""The demo removes what an earlier demo wrote, and no run of the user."""

import shutil
import subprocess

from tests.commands import ROOT, environment


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
