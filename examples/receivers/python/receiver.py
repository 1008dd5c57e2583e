#!/usr/bin/env python3
"""A webhook receiver in Python, with the standardwebhooks package.

    pip install standardwebhooks
    WEBHOOK_SECRET=whsec_... python3 receiver.py [PORT]
"""
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

secret = os.environ["WEBHOOK_SECRET"]
# The library takes a text for base64, with or without whsec_; a secret of another form is given as bytes.
webhook = Webhook(secret if secret.startswith("whsec_") else secret.encode())

# Deliveries come at least once. In a real program these are in the database, written with what the delivery causes.
seen = set()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        try:
            # The bytes as they came, before anything parses them.
            webhook.verify(body, dict(self.headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:  # ValueError: a header that is not even well-formed
            return self.answer(401, f"401 refused: {error}")
        delivery = self.headers["webhook-id"]
        note = "seen before" if delivery in seen else "verified"
        seen.add(delivery)
        event, attempt, job = self.headers["x-webhook-event"], self.headers["x-webhook-attempt"], json.loads(body)["id"]
        self.answer(200, f"200 {event} {job} attempt {attempt} {delivery} {note}")

    def answer(self, status, line):
        print(line, flush=True)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
