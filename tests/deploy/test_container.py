"""The image, built by buildah on a base system made here, and run as nobody on a root it cannot write to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
LARGEST_MB = 560
"""Of what is laid upon the base; measured: 504 MB, more than half of them polars and Arrow."""

# No image registry, no engine: the root is mounted as an engine would, read-only but for the volumes, in a network of its own.
RUN = """
root=$1; shift
mount --bind $root $root && mount -o remount,bind,ro $root
for volume in tmp data logs; do mount -t tmpfs -o mode=1777 tmpfs $root/$volume; done
mount --rbind /proc $root/proc && mount --rbind /dev $root/dev
ip link set lo up
exec chroot --userspec=10001:10001 $root /usr/bin/env -i OVERROUND_MOCK__ENABLED=true OVERROUND_MOCK__MARKETS=60 "$@"
"""
LIFE = """
id -u; touch /opt/overround/x 2>&1
{health}; echo before $?
overround collect >/tmp/log & collector=$!
for i in $(seq 60); do sleep 1; {{ {health}; }} >/tmp/health 2>&1 && break; done; echo during $?
kill -TERM $collector; wait $collector; echo end $?
overround lake verify 2>&1
"""


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[list[str]]:
    for tool in ("buildah", "mmdebstrap", "unshare", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"container: {tool} is not installed")
    if os.geteuid() != 0:
        pytest.skip("container: a base system is made by root only")
    command = [
        "buildah",
        "--storage-driver",
        "vfs",
        "--root",
        str(tmp_path / "store"),
        "--runroot",
        str(tmp_path / "run"),
    ]
    yield command
    subprocess.run([*command, "rm", "--all"], check=False, capture_output=True, timeout=60)
    shutil.rmtree(tmp_path / "store", ignore_errors=True)


def called(*command: str | Path) -> str:
    done = subprocess.run([*command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout.strip()


def test_the_image_records_as_nobody_on_a_read_only_root(buildah: list[str], tmp_path: Path) -> None:
    called(
        "mmdebstrap", "--variant=minbase", "--include=python3-venv,ca-certificates", "bookworm", tmp_path / "base.tar"
    )
    base = called(*buildah, "from", "scratch")
    called(*buildah, "add", "--quiet", base, tmp_path / "base.tar", "/")
    called(*buildah, "commit", "--quiet", base, "localhost/base")
    (tmp_path / "base.tar").unlink()
    # The package clients inside trust whom this machine trusts.
    (tmp_path / "pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
    (tmp_path / "uv.toml").write_text("native-tls = true\n")
    mounts = [
        ("/etc/ssl/certs", "/etc/ssl/certs"),
        (tmp_path / "pip.conf", "/etc/pip.conf"),
        (tmp_path / "uv.toml", "/etc/uv/uv.toml"),
    ]
    called(
        *buildah, "bud", "--isolation", "chroot", "--format", "docker", "--network", "host", "--layers=false",
        *(word for source, target in mounts for word in ("--volume", f"{source}:{target}:ro")),
        "--build-arg", "BASE=localhost/base", "--file", "deploy/container/Dockerfile", "--tag", "localhost/overround", ".",
    )  # fmt: skip
    docker = json.loads(called(*buildah, "inspect", "--type", "image", "localhost/overround"))["Docker"]["config"]
    assert docker["User"] == "10001:10001"
    assert set(docker["Volumes"]) == {"/data", "/logs"}
    kind, health = docker["Healthcheck"]["Test"]
    assert kind == "CMD-SHELL"

    root = Path(called(*buildah, "mount", called(*buildah, "from", "localhost/overround")))
    installed = sum(file.lstat().st_size for file in (root / "opt/overround").rglob("*"))
    assert installed / 1e6 < LARGEST_MB
    parts = json.loads((root / "opt/overround/sbom.cdx.json").read_text())
    assert parts["bomFormat"] == "CycloneDX"
    listed = {part["name"] for part in parts["components"]}
    found = {
        path.name.split("-")[0].lower().replace("_", "-")
        for path in root.glob("opt/overround/lib/python3*/site-packages/*.dist-info")
    }
    assert found - {"overround"} <= {name.replace(".", "-").replace("_", "-") for name in listed} | {
        name.lower() for name in listed
    }

    (tmp_path / "run.sh").write_text(RUN)
    said = subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-eu", tmp_path / "run.sh", root, *docker["Env"], "sh", "-c", LIFE.format(health=health)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    lines = said.stdout.splitlines()
    assert lines[0] == "10001", said
    assert "Read-only file system" in lines[1]
    assert [line for line in lines if line.startswith(("before", "during", "end"))] == ["before 1", "during 0", "end 0"]
    assert lines[-1].startswith("nothing is wrong"), said
