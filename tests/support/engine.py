"""Real Spark for the tests of the jobs, on this machine.

Tests that need it are skipped if pyspark or Java is missing; `.ci/run` installs both.
"""

import contextlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import pytest

from local import process

PROJECT = Path(__file__).resolve().parents[2]
JOB_SECONDS = 300

MISSING = (
    "pyspark is not installed (tests/requirements-jobs.txt)"
    if importlib.util.find_spec("pyspark") is None
    else "Java is not installed (openjdk-17-jre-headless)"
    if shutil.which("java") is None
    else ""
)
needs_spark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

CONFIGURATION = {
    "spark.driver.memory": "1g",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.stage.maxConsecutiveAttempts": "1",  # as the job sets where it starts Spark
}


def home() -> Path:
    """Spark's folder in the package pyspark."""
    found = importlib.util.find_spec("pyspark")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of every Spark process: the project's modules, this Python, loopback."""
    return {
        "PATH": os.environ["PATH"],
        "SPARK_HOME": str(home()),
        "SPARK_LOCAL_IP": "127.0.0.1",
        # A job this short takes less time to run than to compile well.
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(PROJECT),
        **settings,
    }


@contextlib.contextmanager
def session(settings: Mapping[str, str]) -> Iterator[None]:
    """Runs Spark for the jobs that this process calls; they take a second, not a Java start.

    Four tasks run at a time, each up to four times until it succeeds, as on a cluster.

    Args:
        settings: the environment of Spark's workers.
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    arguments = shlex.join([*_options("local[4,4]", CONFIGURATION), "pyspark-shell"])
    with mock.patch.dict(
        os.environ, {**environment(settings), "PYSPARK_SUBMIT_ARGS": arguments}, clear=True
    ):
        SparkSession.builder.getOrCreate()
    gateway = SparkContext._gateway
    with mock.patch.dict(os.environ, PYSPARK_PYTHON=sys.executable):
        yield
    SparkSession.builder.getOrCreate().stop()
    gateway.shutdown()
    process.stop(gateway.proc)


def workers() -> list[int]:
    """The processes that run tasks of `session`: the children of Spark's daemon."""
    from pyspark import SparkContext

    def children(pid: int) -> list[int]:
        listed = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for each in listed for child in each.read_text().split()]

    daemons = [
        pid
        for pid in children(SparkContext._gateway.proc.pid)
        if b"pyspark.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return [worker for daemon in daemons for worker in children(daemon)]


def command(
    job: str, *arguments: str, master: str = "local[2]", **configuration: str
) -> list[str | Path]:
    """The command that submits a job; `_` in a configuration's name means a dot, `__` means `_`."""
    given = {
        name.replace("__", "\0").replace("_", ".").replace("\0", "_"): value
        for name, value in configuration.items()
    }
    script = PROJECT / "jobs" / f"{job}.py"
    options = _options(master, CONFIGURATION | given)
    return [home() / "bin" / "spark-submit", *options, script, *arguments]


def _options(master: str, configuration: Mapping[str, str]) -> list[str]:
    """The options of spark-submit for a master and its properties."""
    properties = [f"--conf={name}={value}" for name, value in configuration.items()]
    return [f"--master={master}", *properties]


def run(
    settings: Mapping[str, str], folder: Path, job: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Runs a job on two local workers to its end; `stdout` has all of its output."""
    return subprocess.run(
        command(job, *arguments),
        cwd=folder,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=JOB_SECONDS,
    )
