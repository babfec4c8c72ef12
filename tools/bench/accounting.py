"""What processes used: CPU time, bytes written, memory. Reads /proc; a server and its PostgreSQL are told apart."""

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field

CLIENT_PATIENCE_SECONDS = 300
TICK = os.sysconf("SC_CLK_TCK")


def _read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _stat(pid):
    """(comm, parent, user ticks, system ticks); children that were waited for are included."""
    text = _read(pid, "stat")
    if not text:
        return None
    comm = text[text.index("(") + 1:text.rindex(")")]
    rest = text[text.rindex(")") + 2:].split()
    return comm, int(rest[1]), int(rest[11]) + int(rest[13]), int(rest[12]) + int(rest[14])


def field_of(pid, name, key):
    """A number of /proc/PID/NAME."""
    for line in _read(pid, name).splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0


@dataclass
class Usage:
    user: float = 0.0
    system: float = 0.0
    written_bytes: int = 0

    def minus(self, other):
        return Usage(self.user - other.user, self.system - other.system, self.written_bytes - other.written_bytes)


@dataclass
class Snapshot:
    server: Usage = field(default_factory=Usage)
    postgres: Usage = field(default_factory=Usage)


def snapshot(root):
    """The use so far of process `root` and everything below it."""
    found = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = {pid: stat for pid, stat in found.items() if stat}
    result = Snapshot()
    for pid, (comm, _, user, system) in found.items():
        above = pid
        while above in found and above != root:
            above = found[above][1]
        if above != root:
            continue
        usage = result.postgres if comm == "postgres" else result.server
        usage.user += user / TICK
        usage.system += system / TICK
        usage.written_bytes += field_of(pid, "io", "write_bytes")
    return result


def peak_memory_bytes(pid):
    return field_of(pid, "status", "VmHWM") * 1024


@dataclass
class Finished:
    seconds: float
    user: float
    system: float
    peak_bytes: int
    output: str


class ClientFailed(RuntimeError):
    pass


def run(command, log, environment=None):
    """Runs a client to its end. Its errors go to the file `log`."""
    with open(log, "wb") as errors:
        begin = time.monotonic()
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=errors,
                                   stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
        timer = threading.Timer(CLIENT_PATIENCE_SECONDS, process.kill)
        timer.start()
        output = process.stdout.read().decode(errors="replace")
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
    if process.returncode != 0:
        raise ClientFailed(f"{' '.join(map(str, command))[:500]}: exit {process.returncode}\n{output[-500:]}"
                           f"{open(log, encoding='utf-8', errors='replace').read()[-2000:]}")
    return Finished(seconds, used.ru_utime, used.ru_stime, used.ru_maxrss * 1024, output)
