"""The machine under a peer: packages, free ports, a Postgres of its own, processes and what they cost.

Knows no peer. Everything that it starts ends with it.
"""

import glob
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CACHE = Path(os.environ.get("AMENDS_CACHE") or Path.home() / ".cache/amends")
STARTS_WITHIN_S = 120


class Trouble(Exception):
    """Something that the caller reads as one line."""


def say(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


# --- packages -------------------------------------------------------------------------------------


def _once(name: str, files: list[Path], fill) -> Path:
    """A folder of the cache, named by what it is made of; made anew when an earlier attempt did not finish."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files) + sys.version.encode())
    folder = CACHE / f"peer-{name}-{digest.hexdigest()[:12]}"
    if not (folder / "complete").exists():
        say(f"installing into {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            fill(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Trouble(f"the packages cannot be installed: {error}") from error
        (folder / "complete").touch()
    return folder


def python_packages(name: str, requirements: Path) -> Path:
    """A venv's interpreter, with these packages."""

    def fill(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
        subprocess.run(pip, check=True)

    return _once(name, [requirements], fill) / "bin/python"


def node_packages(name: str, folder: Path) -> Path:
    """A `node_modules` with these packages; their install scripts do not run."""
    files = [folder / "package.json", folder / "package-lock.json"]

    def fill(into: Path) -> None:
        for file in files:
            shutil.copy(file, into)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=into, check=True, stdout=sys.stderr)

    return _once(name, files, fill) / "node_modules"


# --- processes ------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Processes:
    """Child processes by part; `close` ends them, the last one first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[tuple[str, subprocess.Popen]] = []

    def start(self, part: str, command: list, environment: dict[str, str], **options) -> subprocess.Popen:
        with (self.folder / f"{part.replace(' ', '-')}.log").open("ab") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
            # A session of its own: Ctrl-C is for this program, which then ends them in order.
            process = subprocess.Popen(command, env=environment, start_new_session=True, **options)
        self.running.append((part, process))
        return process

    def check(self) -> None:
        for part, process in self.running:
            if process.poll() is not None:
                log = self.folder / f"{part.replace(' ', '-')}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
                raise Trouble(f"{part} ended with {process.returncode}:\n{tail}")

    def close(self) -> None:
        for part, process in reversed(self.running):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                say(f"{part} does not end; killed")
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


class Loader:
    """A process that puts load on: a line in, a line of JSON out."""

    def __init__(self, processes: Processes, process: subprocess.Popen) -> None:
        self.processes, self.process = processes, process
        self.answer()

    def ask(self, line: str) -> None:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.processes.check()
        return json.loads(line)


def until(what: str, processes: Processes, answers) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            return answers()
        except OSError as error:
            processes.check()
            if time.monotonic() > end:
                raise Trouble(f"{what} does not answer after {STARTS_WITHIN_S} s: {error}") from error
            time.sleep(0.1)


def http(method: str, url: str, body: dict | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read()


# --- Postgres -------------------------------------------------------------------------------------


def psql(url: str, sql: str) -> list[str]:
    """The rows of all these statements."""
    chosen = os.environ.get("AMENDS_POSTGRES_BIN")
    found = [f"{chosen}/psql"] if chosen else sorted(glob.glob("/usr/lib/postgresql/*/bin/psql"))
    path = found[-1] if found and os.path.exists(found[-1]) else shutil.which("psql")
    if not path:
        raise Trouble("psql is missing: run deploy/install test")
    # By a pipe: of several statements in `-c`, an older psql shows the last one's rows alone.
    command = [path, "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url]
    done = subprocess.run(command, input=sql, capture_output=True, text=True)
    if done.returncode:
        raise Trouble(f"psql: {done.stderr.strip()}")
    return done.stdout.splitlines()


class Postgres:
    """A private cluster, made by `deploy/stack`: `fsync`, `synchronous_commit` and `full_page_writes` are on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stack"
        self.port = free_port()
        self.environment = {
            **os.environ,
            "AMENDS_STACK": str(self.folder),
            "AMENDS_STACK_SERVICES": "postgres",
            "AMENDS_STACK_POSTGRES_PORT": str(self.port),
        }

    def start(self) -> None:
        self._stack("up")
        password = (self.folder / "postgres.password").read_text().strip()
        self.server = f"postgresql://postgres:{password}@127.0.0.1:{self.port}"
        settings = self.rows("postgres", "show fsync; show synchronous_commit; show full_page_writes")
        if settings != ["on", "on", "on"]:
            raise Trouble(f"Postgres is not durable: {settings}")

    def stop(self) -> None:
        if self.folder.exists():
            self._stack("down")
            # The data may lie elsewhere, behind a link: `deploy/stack` says why.
            data = self.folder / "postgres"
            shutil.rmtree(data.resolve(), ignore_errors=True)

    def url(self, database: str) -> str:
        return f"{self.server}/{database}"

    def rows(self, database: str, sql: str) -> list[str]:
        return psql(self.url(database), sql)

    def _stack(self, command: str) -> None:
        done = subprocess.run([REPOSITORY / "deploy/stack", command], env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise Trouble(f"deploy/stack {command}: {done.stderr.strip()}")

    def process(self) -> int:
        """The postmaster's id."""
        data = self.folder / "postgres" / "data" / "postmaster.pid"
        return int(data.read_text().splitlines()[0])


# --- processor time -------------------------------------------------------------------------------


def cpu_s(roots: dict[int, str]) -> dict[str, float]:
    """Processor seconds so far, by part: of these processes and of those that they have started."""
    running: dict[int, tuple[int, float]] = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            text = Path(path).read_text()
        except OSError:
            continue  # it has just ended
        # The second field is the name, in parentheses, and may hold anything.
        fields = text.rsplit(")", 1)[1].split()
        running[int(path.split("/")[2])] = int(fields[1]), (int(fields[11]) + int(fields[12])) / 100
    spent = dict.fromkeys(roots.values(), 0.0)
    for pid, (_, seconds) in running.items():
        at = pid
        while at not in roots and at in running:
            at = running[at][0]
        if at in roots:
            spent[roots[at]] += seconds
    return spent
