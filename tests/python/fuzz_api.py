"""Thousands of requests made from /openapi.json (schemathesis): right ones, wrong ones, and sequences of them.

    python tests/python/fuzz_api.py                                  # the short form, about a minute
    python tests/python/fuzz_api.py --examples 1000 --seed 7         # the long one

Starts a server of its own, with a key, in a temporary directory, and such that nothing leaves this machine: every webhook
goes to a name that resolves nowhere, and every network is denied besides. Ends with 0 when no request was answered with a 5xx or
with anything that the description does not say, and the server is well afterwards. fuzz_hooks.py says which demands of
schemathesis are none of HTTP's, and why.
"""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
KEY = "a-key-of-more-than-24-characters"
PATIENCE = 60  # Seconds. The bound on everything that has to happen but the requests themselves.

CONFIG = """
# A NUL is refused wherever it is, as malformed JSON: the description says so, in words. tests/api/validation.rs sends it.
generation.allow-x00 = false
# The shortest request that fails is worth less than the time to find it.
generation.no-shrink = true
request-timeout = 30
"""


class Server:
    """The binary, over an empty log."""

    def __init__(self, binary, directory):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLEDGER_")}
        environment |= {
            "HOOKLEDGER_API_KEYS": KEY,
            "HOOKLEDGER_DENY_NETWORK": "0.0.0.0/0,::/0",
            # What can't be delivered is given up at once.
            "HOOKLEDGER_MAX_RETRIES": "1",
            "HOOKLEDGER_BACKOFF_CAP": "10ms",
            "HOOKLEDGER_BACKOFF_BASE": "10ms",
            "HOOKLEDGER_PAUSE_AFTER": "0",
        }
        self.log = pathlib.Path(directory, "server.log")
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(pathlib.Path(directory, "data"))]
        self.child = subprocess.Popen(command, stderr=self.log.open("wb"), env=environment)
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(rb"address=(127\.0\.0\.1:\d+)", self.log.read_bytes())):
            assert self.child.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.url = "http://" + found[1].decode()

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def seed(self):
        """Some jobs whose deliveries are given up, for there to be dead letters."""
        for number in range(20):
            webhook = {"url": f"https://fuzz.invalid/{number}", "max_retries": 1}
            self.ask("POST", "/v1/batches", {"id": f"seed-{number}", "webhook": webhook, "status": "failed"})
        deadline = time.monotonic() + PATIENCE
        while self.ask("GET", "/v1/webhooks/dead-letter")["total"] < 20:
            assert time.monotonic() < deadline, "a delivery to nowhere is given up"
            time.sleep(0.1)

    def check(self):
        """It lives, it works, and it has logged no failure of its own."""
        assert self.child.poll() is None, f"the server has ended: {self.child.returncode}"
        assert self.ask("GET", "/health")["status"] == "ok" and self.ask("GET", "/ready")["status"] == "ready"
        made = self.ask("POST", "/v1/batches", {"metadata": {"after": "all that"}})
        assert self.ask("GET", f"/v1/batches/{made['id']}") == made
        assert self.ask("GET", "/v1/batches?limit=1")["first_id"] == made["id"]
        errors = [line for line in self.log.read_text().splitlines() if " ERROR " in line or "panicked" in line]
        assert not errors, "\n".join(errors)

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(PATIENCE)

    def kill(self):
        self.child.kill()
        self.child.wait()


def fuzz(server, directory, options):
    config = pathlib.Path(directory, "schemathesis.toml")
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", server.url + "/openapi.json"]
    command += ["--max-examples", str(options.examples), "--seed", str(options.seed), "--continue-on-failure"]
    command += ["--no-color", "--header", f"Authorization: Bearer {KEY}"]
    paths = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": paths, "NO_PROXY": "*"}
    environment |= {"FUZZ_SERVER": server.url, "FUZZ_KEY": KEY, "FUZZ_SEED": str(options.seed)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.run(command, cwd=directory, env=environment).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/debug/hookledger", help="the server (%(default)s)")
    parser.add_argument("--examples", type=int, default=100, help="the most for one operation and phase (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same requests (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = Server(options.binary, directory)
        try:
            server.seed()
            failed = fuzz(server, directory, options)
            server.check()
            assert server.end() == 0, "the server ends well"
        finally:
            server.kill()
    sys.exit("schemathesis has found something; see above" if failed else 0)


if __name__ == "__main__":
    main()
