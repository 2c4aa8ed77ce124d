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


def memory(pid):
    """Resident MiB of a process and its children."""
    pids = [str(pid)]
    for pid in pids:
        try:
            pids += open(f"/proc/{pid}/task/{pid}/children").read().split()
        except OSError:
            pass
    total = 0
    for pid in pids:
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
    try:
        for turn in range(options.turns):
            for name in ["foreshock"] if options.ours else ["mlflow", "foreshock"]:
                port, uri = free_port(), postgres.create(f"{name}_{turn}")
                common = ["--backend-store-uri", uri, "--artifacts-destination", f"{folder}/{name}-{turn}", "--port", str(port)]
                if name == "mlflow":
                    python = os.path.dirname(sys.executable)
                    command = [f"{python}/mlflow", "server", "--workers", str(options.workers), "--host", "127.0.0.1", *common]
                else:
                    command = [f"{options.binaries}/registry", "serve", *common]
                server, _ = serve(command, port, folder)
                idle = memory(server.pid)
                load = [f"{options.binaries}/examples/load", f"http://127.0.0.1:{port}", "--pid", str(server.pid)]
                load += ["--seconds", str(options.seconds), "--runs", str(options.runs)]
                if options.only:
                    load += ["--only", options.only]
                output = subprocess.run(load, check=True, stdout=subprocess.PIPE, text=True).stdout
                for line in output.splitlines():
                    row = json.loads(line.replace("NaN", "null"))
                    rates.setdefault((row["scenario"], row["connections"]), {}).setdefault(name, []).append(row)
                print(f"{name}: {idle:.0f} MiB idle, {memory(server.pid):.0f} MiB after the load", file=sys.stderr)
                server.terminate()
                server.wait()
                if name == "foreshock":
                    server, seconds = serve(command, port, folder)
                    print(f"foreshock: first answer on this database after {seconds * 1e3:.0f} ms", file=sys.stderr)
                    server.terminate()
                    server.wait()
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    header = ["scenario", "connections", "ours/s", "p50 ms", "p99 ms", "CPU µs"]
    header += [] if options.ours else ["MLflow/s", "p50 ms", "p99 ms", "CPU µs", "ratio", "CPU ratio"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for (scenario, connections), sides in rates.items():
        median = lambda side, field: statistics.median(row[field] for row in sides[side])
        cells = [scenario, str(connections)]
        for side in ["foreshock"] if options.ours else ["foreshock", "mlflow"]:
            cells += [f"{median(side, 'per_second'):.0f}", f"{median(side, 'p50_ms'):.2f}"]
            cells += [f"{median(side, 'p99_ms'):.2f}", f"{median(side, 'cpu_us'):.0f}"]
        if not options.ours:
            cells.append(f"{median('foreshock', 'per_second') / median('mlflow', 'per_second'):.0f}")
            cells.append(f"{median('mlflow', 'cpu_us') / max(median('foreshock', 'cpu_us'), 1):.0f}")
        print("| " + " | ".join(cells) + " |")


main()
