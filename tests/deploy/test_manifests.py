"""The compose file and the Kubernetes manifests: their schemas, and that they name what there is."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from overround.cli.app import root
from overround.clock import SystemClock
from overround.config import MonitoringSettings, load_settings
from overround.services import Endpoint

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = (DEPLOY / "container" / "Dockerfile").read_text()
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = DEPLOY / "compose" / "compose.yml"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SHELL_COMMAND = re.compile(r"\boverround ((?:scan|collect|mine|lake|health) [^;|\n'\"]*)")


def tool(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"manifests: {name} is not installed (uv sync --all-groups)")


def documents(path: Path) -> list[Any]:
    return [document for document in tool("yaml").safe_load_all(path.read_text()) if document]


def stateful_set() -> Any:
    (found,) = [each for path in MANIFESTS for each in documents(path) if each["kind"] == "StatefulSet"]
    return found


def pods() -> Any:
    return stateful_set()["spec"]["template"]["spec"]


def container(name: str) -> Any:
    return next(each for each in pods()["containers"] if each["name"] == name)


@pytest.mark.parametrize(
    "path", [path for path in MANIFESTS if path.stem != "kustomization"], ids=lambda path: path.stem
)
def test_a_manifest_is_of_kubernetes_schema(path: Path) -> None:
    validate = tool("kubernetes_validate").validate
    found = documents(path)
    assert found
    for each in found:
        validate(each, "1.37", strict=True)


def test_a_manifest_with_a_misspelt_field_is_refused() -> None:
    checker, found = tool("kubernetes_validate"), stateful_set()
    found["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(checker.ValidationError):
        checker.validate(found, "1.37", strict=True)


def test_kustomize_lists_every_manifest() -> None:
    (listed,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    assert sorted(listed["resources"]) == [path.name for path in MANIFESTS if path.stem != "kustomization"]


def test_the_ordinal_is_the_shard_of_as_many_as_there_are_pods() -> None:
    env = {each["name"]: each for each in container("collector")["env"]}
    field = env["SHARD"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.labels['apps.kubernetes.io/pod-index']"
    assert env["SHARDS"]["value"] == str(stateful_set()["spec"]["replicas"])
    assert "$(SHARD)/$(SHARDS)" in container("collector")["args"]


def test_probes_ask_what_the_collector_answers(tmp_path: Path) -> None:
    endpoint = Endpoint(MonitoringSettings(), data_dir=tmp_path, clock=SystemClock())
    answers = {getattr(route, "path", "") for route in endpoint.app().routes}
    probes = [
        container("collector")[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")
    ]
    assert probes == ["/livez", "/livez", "/readyz"]
    assert {*probes, "/metrics"} <= answers


def test_nothing_runs_as_root_or_writes_outside_its_volumes() -> None:
    user = int(re.findall(r"^USER (\d+):", DOCKERFILE, flags=re.MULTILINE)[-1])
    assert user > 0
    assert pods()["securityContext"]["runAsUser"] == user
    for each in [*pods()["initContainers"], *pods()["containers"]]:
        context = each["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert each["resources"]["limits"]["memory"]
    (compose,) = documents(COMPOSE)
    for service in compose["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_the_settings_in_the_config_map_are_settings(tmp_path: Path) -> None:
    (found,) = [each for path in MANIFESTS for each in documents(path) if each["kind"] == "ConfigMap"]
    (tmp_path / "surveillance.toml").write_text(found["data"]["surveillance.toml"])
    settings = load_settings(tmp_path, environ={}).settings
    ports = container("collector")["ports"]
    assert settings.monitoring.port == ports[0]["containerPort"]
    assert str(settings.data_dir) == "/data"


def test_the_compose_file_is_of_the_compose_schema(tmp_path: Path) -> None:
    tool("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(COMPOSE)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace"))
    assert subprocess.run([*command, str(wrong)], capture_output=True, timeout=60).returncode != 0


def test_what_the_compose_file_mounts_is_there_and_is_read(tmp_path: Path) -> None:
    (compose,) = documents(COMPOSE)
    mounted = {}
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                mounted[target] = COMPOSE.parent / source
                assert mounted[target].exists()
            else:
                assert source in compose["volumes"]
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("prometheus: promtool is not installed")
    for name in ("prometheus.yml", "rules.yml"):
        shutil.copy(mounted[f"/etc/prometheus/{name}"], tmp_path / name)
    done = subprocess.run([promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (config,) = documents(tmp_path / "prometheus.yml")
    asked = [config["scrape_configs"][0], config["alerting"]["alertmanagers"][0]]
    names = [target.split(":")[0] for part in asked for target in part["static_configs"][0]["targets"]]
    assert set(names) <= set(compose["services"])


def commands() -> Iterator[tuple[str, str]]:
    for unit in UNITS:
        for line in SHELL_COMMAND.findall(unit.read_text().replace("%i", "0" if "collect" in unit.name else "kalshi")):
            yield unit.name, line
    for line in SHELL_COMMAND.findall(DOCKERFILE.replace("uv run ", "").split("ENTRYPOINT")[0].split("HEALTHCHECK")[1]):
        yield "Dockerfile", line
    for path in (COMPOSE, DEPLOY / "kubernetes" / "collector.yaml"):
        text = path.read_text()
        for line in SHELL_COMMAND.findall(text):
            yield path.name, line
        for line in re.findall(r"(?:args|command): \[(collect.*)\]", text):
            yield path.name, line.replace(",", " ")


@pytest.mark.parametrize(("where", "line"), sorted(set(commands())))
def test_what_is_started_exists_with_its_options(where: str, line: str) -> None:
    for name, value in (("$$venue", "kalshi"), ("$venue", "kalshi"), ("$(SHARD)", "0")):
        line = line.replace(name, value)
    line = re.sub(r"\$[({]SHARDS[)}]", "2", line)
    command: click.Command = root
    ctx = click.Context(root, info_name="overround")
    words = shlex.split(line)
    while isinstance(command, click.Group):
        found = command.get_command(ctx, words.pop(0))
        assert found is not None, f"{where}: {line}"
        command = found
    command.make_context("overround", words)


def test_every_deployment_starts_what_it_needs() -> None:
    started = {where: set() for where, _ in commands()}
    for where, line in commands():
        started[where].add(line.split()[0])
    assert started["compose.yml"] == started["collector.yaml"] == {"scan", "collect", "mine", "lake"}
    assert started["Dockerfile"] == {"health"}


@pytest.mark.parametrize(
    "path", sorted(path for path in DEPLOY.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_no_file_holds_a_secret(path: Path) -> None:
    text = path.read_text()
    assert "PRIVATE KEY" not in text
    assert not re.search(r"(?i)(api_key|api_secret|password|bearer_token)\s*[:=]\s*[\"']?\w", text)
