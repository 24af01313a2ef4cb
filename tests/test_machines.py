"""Two machines that train one model under torchrun, shown as two network namespaces: a worker, an agent and the link between them fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from ganzoo.files import read_lines

pytestmark = [
    pytest.mark.skipif(not os.environ.get("GANZOO_SLOW"), reason="takes minutes: GANZOO_SLOW=1 runs it"),
    pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0 or not shutil.which("ip"), reason="namespaces need Linux and root"),
]

SMALL = ["--generator.width", "16", "--discriminator.width", "16", "--batch-size", "16", "--image-size", "16", "--precision", "fp32"]
SMALL += ["--device", "cpu", "--save-every", "20", "--sample-every", "100000", "--keep", "0"]


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def machines():
    """The names of two namespaces with a link between them, 10.77.0.1 and 10.77.0.2."""
    names = [f"ganzoo{os.getpid()}{letter}" for letter in "ab"]
    links = [f"gz{os.getpid() % 100000}{letter}" for letter in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError:
        pytest.skip("this machine makes no network namespaces")
    try:
        ip("link", "add", links[0], "type", "veth", "peer", "name", links[1])
        for i, (name, link) in enumerate(zip(names, links, strict=True), 1):
            ip("link", "set", link, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{i}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield list(zip(names, links, strict=True))
    finally:
        for name in names:
            for left in subprocess.run(["ip", "netns", "pids", name], stdout=subprocess.PIPE, text=True, check=False).stdout.split():
                os.kill(int(left), signal.SIGKILL)
            ip("netns", "del", name)


class Agent:
    """torchrun on one of the machines."""

    def __init__(self, machine, number, out, steps, nodes="2", restarts=3, more=()):
        name, link = machine
        env = os.environ | {"GLOO_SOCKET_IFNAME": link, "OMP_NUM_THREADS": "1", "GANZOO_TIMEOUT": "10", "LOGLEVEL": "ERROR"}
        words = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "1"]
        words += ["--max-restarts", str(restarts), "--rdzv-backend", "c10d", "--rdzv-endpoint", "10.77.0.1:29400", "--rdzv-id", "run"]
        words += ["--rdzv-conf", f"is_host={1 - number},timeout=60,last_call_timeout=3", "--local-addr", f"10.77.0.{number + 1}"]
        words += ["-m", "ganzoo", "run", "dcgan", *SMALL, "--steps", str(steps), "--out", str(out), "--resume-or-start", *more]
        self.log = out.parent / f"{out.name}-{number}.log"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True)

    @property
    def worker(self):
        """The process that trains."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid), "-f", "ganzoo run"], stdout=subprocess.PIPE, text=True, check=False)
        return int(found.stdout.split()[0])

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def until(wanted, seconds, *agents):
    """Wait until something holds; returns how long that took."""
    start = time.monotonic()
    while not wanted():
        assert time.monotonic() - start < seconds, "\n".join(agent.log.read_text(encoding="utf-8")[-3000:] for agent in agents)
        time.sleep(0.1)
    return time.monotonic() - start


def step_of(out):
    """The last step that has been logged."""
    return max((line["step"] for line in read_lines(out / "metrics.jsonl")), default=0) if (out / "metrics.jsonl").exists() else 0


def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(machines, tmp_path):
    straight, out = tmp_path / "straight", tmp_path / "killed"
    agents = [Agent(machine, i, straight, 60) for i, machine in enumerate(machines)]
    until(lambda: all(agent.process.poll() is not None for agent in agents), 240, *agents)
    agents = [Agent(machine, i, out, 60) for i, machine in enumerate(machines)]
    until((out / "checkpoints" / "000020.safetensors").exists, 120, *agents)
    os.kill(agents[1].worker, signal.SIGKILL)
    until(lambda: all(agent.process.poll() == 0 for agent in agents), 240, *agents)
    a, b = (load_file(folder / "checkpoints" / "000060.safetensors") for folder in (straight, out))
    assert a.keys() == b.keys()
    assert all(a[name].equal(b[name]) for name in a)


def test_an_agent_that_dies_takes_its_worker_along_and_the_step_is_saved(machines, tmp_path):
    out = tmp_path / "run"
    agents = [Agent(machine, i, out, 10**6, restarts=0) for i, machine in enumerate(machines)]
    try:
        until(lambda: step_of(out) >= 10, 120, *agents)
        worker, before = agents[1].worker, step_of(out)
        os.kill(agents[1].process.pid, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{worker}") and "which is saved" in agents[0].log.read_text(), 60, *agents)
        assert max(int(path.stem) for path in (out / "checkpoints").glob("*.safetensors")) >= before
    finally:
        for agent in agents:
            agent.kill()


@pytest.mark.parametrize("often", [[], ["--save-every", "1"]], ids=["in a step", "while the first one writes"])
def test_a_link_that_breaks_ends_both_and_the_first_goes_on_alone(often, machines, tmp_path):
    out = tmp_path / "run"
    agents = [Agent(machine, i, out, 10**6, nodes="1:2", more=often) for i, machine in enumerate(machines)]
    try:
        until(lambda: step_of(out) >= 20, 120, *agents)
        ip("-n", machines[1][0], "link", "set", machines[1][1], "down")
        before = step_of(out)
        until(lambda: "Error: rank 1: " in agents[1].log.read_text(), 60, *agents)
        until(lambda: step_of(out) > before + 20, 120, *agents)
        assert "ranks 1 (was 2)" in agents[0].log.read_text()
    finally:
        for agent in agents:
            agent.kill()
