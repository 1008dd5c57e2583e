#!/usr/bin/env python3
"""A receiver for trying things: verifies what comes as Standard Webhooks says, and prints it. Standard library only.

    WEBHOOK_SECRET=whsec_... python3 examples/receiver.py [--port 9000] [--fail 2]

--fail N answers 500 to the first N requests. In production use a Standard Webhooks library for your language.
"""
import argparse
import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_PAST, TOLERANCE_FUTURE = 300, 60  # seconds


def signing_key(secret):
    return base64.b64decode(secret[len("whsec_"):]) if secret.startswith("whsec_") else secret.encode()


def verify(secret, headers, body, now):
    """Raises ValueError unless the request is fresh and was signed with the secret."""
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if not message_id or not timestamp or not timestamp.isascii() or not timestamp.isdigit():
        raise ValueError("webhook-id or webhook-timestamp is missing or malformed")
    if not now - TOLERANCE_PAST <= int(timestamp) <= now + TOLERANCE_FUTURE:
        raise ValueError("the timestamp is too old or too new")
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(signing_key(secret), signed, hashlib.sha256).digest()).decode()
    if not any(hmac.compare_digest(expected.encode(), candidate.encode()) for candidate in (headers["webhook-signature"] or "").split(" ")):
        raise ValueError("no signature matches")


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        status, note = 200, "verified"
        try:
            if secret:
                verify(secret, self.headers, body, time.time())
            else:
                note = "not verified: WEBHOOK_SECRET is not set"
        except ValueError as error:
            status, note = 401, f"REFUSED: {error}"
        if status == 200 and self.server.failures > 0:
            self.server.failures -= 1
            status, note = 500, note + ", failing on purpose"
        payload = json.loads(body or b"{}")
        event, attempt = self.headers["x-webhook-event"], self.headers["x-webhook-attempt"]
        print(f"{status} {event} {payload.get('id')} attempt {attempt} {self.headers['webhook-id']} {note}", flush=True)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--fail", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    secret = os.environ.get("WEBHOOK_SECRET", "")
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Receiver)
    server.failures = arguments.fail
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
