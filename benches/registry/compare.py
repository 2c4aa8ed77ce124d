"""Runs the load against `mlflow server` and against the registry in turns and prints one table."""

import argparse
import glob
import json
import os
import pwd
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Postgres:
    """A cluster of its own with PostgreSQL's default settings."""

    def __init__(self, folder):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
        if not found:
            sys.exit("PostgreSQL is missing (Debian: apt-get install postgresql)")
        self.bin, self.data, self.port = found[-1], f"{folder}/postgres", free_port()
        self.user = None
        if os.getuid() == 0:
            self.user = "postgres"
            entry = pwd.getpwnam("postgres")
            os.makedirs(self.data)
            os.chown(self.data, entry.pw_uid, entry.pw_gid)
            os.chmod(folder, 0o755)
        self.run("initdb", "-A", "trust", "-U", "bench", "-E", "UTF8", "--locale", "C.UTF-8", "-D", self.data)
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
        self.run("pg_ctl", "-D", self.data, "-l", f"{self.data}/log", "-w", "-o", options, "start")

    def run(self, program, *arguments):
        subprocess.run([f"{self.bin}/{program}", *arguments], user=self.user, cwd="/", check=True, stdout=subprocess.DEVNULL)

    def create(self, name):
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", name)
        return f"postgresql+psycopg2://bench@127.0.0.1:{self.port}/{name}"

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")


def serve(command, port, folder):
    began = time.perf_counter()
    log = open(f"{folder}/log-{port}", "w")
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
            return process, time.perf_counter() - began
        except OSError:
            if process.poll() is not None:
                sys.exit(f"{command[0]} ended: {open(log.name).read()[-2000:]}")
            time.sleep(0.005)


def stop(server):
    server.terminate()
    server.wait()


def family(pid):
    """A process and all its descendants; each thread has its own children."""
    pids = [str(pid)]
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/children"):
            try:
                pids += open(path).read().split()
            except OSError:
                pass
    return pids


def settle(pid):
    """Waits until a server that has just started has nothing more to do: MLflow's goes on importing for a while."""
    ticks = lambda: {p: sum(map(int, open(f"/proc/{p}/stat").read().rsplit(")")[-1].split()[11:13])) for p in family(pid)}
    for _ in range(60):
        before = ticks()
        time.sleep(1)
        if sum(now - before.get(p, 0) for p, now in ticks().items()) < 10:
            return


def memory(pid):
    """Resident MiB of a process and its descendants."""
    total = 0
    for pid in family(pid):
        try:
            total += next(int(l.split()[1]) for l in open(f"/proc/{pid}/status") if l.startswith("VmRSS"))
        except (OSError, StopIteration):
            pass
    return total / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", type=int, default=4, help="of mlflow server")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--only")
    parser.add_argument("--ours", action="store_true")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="foreshock-bench-")
    postgres = Postgres(folder)
    rates = {}
    sides = ["foreshock"] if options.ours else ["mlflow", "foreshock"]
    python = os.path.dirname(sys.executable)
    try:
        servers = {}
        for name in sides:
            port, uri = free_port(), postgres.create(name)
            command = ["--backend-store-uri", uri, "--artifacts-destination", f"{folder}/{name}", "--port", str(port)]
            if name == "mlflow":
                command = [f"{python}/mlflow", "server", "--workers", str(options.workers), "--host", "127.0.0.1", *command]
            else:
                command = [f"{options.binaries}/registry", "serve", *command]
            load = [f"{options.binaries}/examples/load", f"http://127.0.0.1:{port}", "--runs", str(options.runs)]
            load += ["--prepared", f"{folder}/prepared-{name}"]
            if options.only:
                load += ["--only", options.only]
            servers[name] = (command, port, load)
            server, _ = serve(command, port, folder)
            settle(server.pid)
            idle = memory(server.pid)
            began = time.perf_counter()
            subprocess.run([*load, "--seconds", "0"], check=True)
            print(f"{name}: {idle:.0f} MiB idle; filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            stop(server)
        # One server at a time: the other's idle processes would cost it.
        for turn in range(options.turns):
            for name, (command, port, load) in servers.items():
                server, seconds = serve(command, port, folder)
                print(f"turn {turn + 1}, {name}: first answer after {seconds * 1e3:.0f} ms", file=sys.stderr)
                settle(server.pid)
                measure = [*load, "--pid", str(server.pid), "--seconds", str(options.seconds)]
                output = subprocess.run(measure, check=True, stdout=subprocess.PIPE, text=True).stdout
                for line in output.splitlines():
                    row = json.loads(line.replace("NaN", "null"))
                    rates.setdefault((row["scenario"], row["connections"]), {}).setdefault(name, []).append(row)
                print(f"turn {turn + 1}, {name}: {memory(server.pid):.0f} MiB after the load", file=sys.stderr)
                stop(server)
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    header = ["scenario", "connections", "ours/s", "p50 ms", "p99 ms", "CPU µs"]
    header += [] if options.ours else ["MLflow/s", "p50 ms", "p99 ms", "CPU µs", "ratio", "CPU ratio"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for (scenario, connections), found in rates.items():
        median = lambda side, field: statistics.median(row[field] for row in found[side])
        cells = [scenario, str(connections)]
        for side in reversed(sides):
            cells += [f"{median(side, 'per_second'):.0f}", f"{median(side, 'p50_ms'):.2f}"]
            cells += [f"{median(side, 'p99_ms'):.2f}", f"{median(side, 'cpu_us'):.0f}"]
        if not options.ours:
            cells.append(f"{median('foreshock', 'per_second') / median('mlflow', 'per_second'):.0f}")
            cells.append(f"{median('mlflow', 'cpu_us') / max(median('foreshock', 'cpu_us'), 1):.0f}")
        print("| " + " | ".join(cells) + " |")


main()
