"""As a process: stdout holds one document, whatever workers and libraries say."""

import json
import subprocess
import sys


def test_workers_keep_off_stdout(project):
    for run in project.run_names:  # a warning from every worker
        path = project.folder / f"ExperimentRuns/{run}/VoxelSpacing10.000/wbp.zarr/.zattrs"
        path.write_text(path.read_text().replace("10.0", "10.012444"))
    command = [sys.executable, "-m", "copick_tools.cli", "targets", "-c", str(project.config), "-i", "*:truth/0"]
    command += ["--tomogram", "wbp", "-o", "t:popsicle/0?multilabel=true", "-w", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in json.loads(done.stdout)["runs"]] == ["done"] * 3
    assert "10.0124" in done.stderr
