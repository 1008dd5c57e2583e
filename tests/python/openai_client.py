"""OpenAI's own Python package against a running server: its clients are told that this is OpenAI's batch object.

    hookledger serve --dev &
    python tests/python/openai_client.py http://127.0.0.1:4080

The server has to allow http and loopback (--dev): a receiver in here gets real deliveries, which OpenAI's and Standard
Webhooks' own packages verify. HOOKLEDGER_API_KEY is the key, for a server that has one; any other is as good for one
without. Ends with 0 when everything holds.
"""

import json
import os
import queue
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import standardwebhooks

PATIENCE = 60  # Seconds. The bound on everything that has to happen; reaching it is a failure.
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # In two pieces, so that no scanner takes it for a leak.


class Receiver:
    """Takes deliveries on loopback, and keeps the headers and the bytes."""

    def __init__(self):
        got = self.got = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                got.put((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def next(self):
        return self.got.get(timeout=PATIENCE)


def refused(error, code, call):
    """`call` fails with this class of error, and the client finds the code and the message in it."""
    try:
        call()
    except error as caught:
        assert type(caught) is error, f"{type(caught)} instead of {error}"
        assert caught.code == code, f"{caught.code!r} instead of {code!r}: {caught}"
        assert caught.body["message"] and caught.request_id, caught
        return caught
    raise AssertionError(f"no {error.__name__}")


def fails(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def report(client, batch, **what):
    """What the job's worker reports; OpenAI has no such call, so it goes the way that their client has for others."""
    return client.patch(f"/batches/{batch}", body=what, cast_to=openai.types.Batch)


def batches(client):
    created = client.batches.create(
        input_file_id="file-abc",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"team": "grüße", "run": "7"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert isinstance(created, openai.types.Batch) and created.object == "batch"
    assert (created.status, created.input_file_id, created.endpoint) == ("validating", "file-abc", "/v1/chat/completions")
    assert created.metadata == {"team": "grüße", "run": "7"} and created.completion_window == "24h"
    assert created.expires_at - created.created_at == 24 * 3600 and abs(created.created_at - time.time()) < PATIENCE
    assert (created.request_counts.total, created.errors, created.usage) == (0, None, None)
    # Strictly, field by field: what the client was given is what its own types say.
    openai.types.Batch.model_validate(created.model_dump(), strict=True)
    assert client.batches.retrieve(created.id) == created

    moved = report(client, created.id, status="in_progress", request_counts={"total": 3, "completed": 1})
    assert (moved.status, moved.request_counts.completed) == ("in_progress", 1) and moved.in_progress_at
    cancelling = client.batches.cancel(created.id)
    assert cancelling.status == "cancelling" and cancelling.cancelling_at
    assert report(client, created.id, status="cancelled").cancelled_at
    assert client.batches.cancel(created.id).status == "cancelled", "asking again changes nothing"
    done = report(client, client.batches.create(**JOB).id, status="completed", output_file_id="file-out")
    assert done.output_file_id == "file-out" and done.completed_at
    refused(openai.ConflictError, "illegal_transition", lambda: client.batches.cancel(done.id))

    errors = {"object": "list", "data": [{"code": "bad_line", "line": 3, "message": "not JSON", "param": None}]}
    failed = report(client, client.batches.create(**JOB).id, status="failed", errors=errors)
    assert (failed.status, failed.errors.data[0].line, failed.errors.data[0].code) == ("failed", 3, "bad_line")


JOB = {"input_file_id": "file-abc", "endpoint": "/v1/embeddings", "completion_window": "24h"}


def pages(client):
    ids = [client.batches.create(**JOB).id for _ in range(7)]
    page = client.batches.list(limit=3)
    assert [batch.id for batch in page.data] == ids[::-1][:3] and page.has_more and page.has_next_page()
    following = page.get_next_page()
    assert [batch.id for batch in following.data] == ids[::-1][3:6]
    # The client goes from page to page by itself.
    seen = [batch.id for batch in client.batches.list(limit=2)]
    assert seen[:7] == ids[::-1] and len(seen) == len(set(seen)), seen
    assert [batch.id for batch in client.batches.list(after=ids[1])][:1] == [ids[0]]


def errors(client):
    refused(openai.NotFoundError, "not_found", lambda: client.batches.retrieve("batch_unknown"))
    refused(openai.NotFoundError, "not_found", lambda: client.batches.cancel("batch_unknown"))
    unprocessable = openai.UnprocessableEntityError
    week = {**JOB, "completion_window": "1w"}
    caught = refused(unprocessable, "invalid_completion_window", lambda: client.batches.create(**week))
    assert (caught.param, caught.type, caught.status_code) == ("completion_window", "invalid_request_error", 422)
    refused(unprocessable, "unknown_field", lambda: client.batches.create(**JOB, extra_body={"webook": {}}))
    refused(unprocessable, "invalid_parameter", lambda: client.batches.list(limit=0))
    refused(unprocessable, "invalid_parameter", lambda: client.batches.list(after="batch_unknown"))
    key = {"Idempotency-Key": "x" * 300}
    refused(openai.BadRequestError, "invalid_idempotency_key", lambda: client.batches.create(**JOB, extra_headers=key))
    taken = {"id": f"taken-{uuid.uuid4()}"}
    client.batches.create(**JOB, extra_body=taken)
    other = {**JOB, "endpoint": "/v1/responses"}
    refused(openai.ConflictError, "id_taken", lambda: client.batches.create(**other, extra_body=taken))


def idempotency(client):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.batches.with_raw_response.create(**JOB, extra_headers=key)
    again = client.batches.with_raw_response.create(**JOB, extra_headers=key)
    assert first.parse() == again.parse() and again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    other = {**JOB, "endpoint": "/v1/responses"}
    refused(
        openai.UnprocessableEntityError,
        "idempotency_key_reused",
        lambda: client.batches.create(**other, extra_headers=key),
    )
    # For all that a client does.
    always = client.with_options(default_headers={"Idempotency-Key": str(uuid.uuid4())})
    assert always.batches.create(**JOB).id == always.batches.create(**JOB).id


def keys(client, url):
    """A server with keys refuses another one; a server without takes any."""
    other = openai.OpenAI(base_url=url, api_key="sk-another", max_retries=0)
    if client.api_key == NO_KEY:
        other.batches.list(limit=1)
    else:
        refused(openai.AuthenticationError, "invalid_api_key", lambda: other.batches.list(limit=1))


def deliveries(client, receiver):
    webhook = {"url": receiver.url, "secret": SECRET, "format": "event"}
    batch = client.batches.create(**JOB, extra_body={"webhook": webhook})
    report(client, batch.id, status="completed", output_file_id="file-out")
    headers, body = receiver.next()
    event = client.webhooks.unwrap(body, headers, secret=SECRET)
    assert (event.type, event.data.id, event.object) == ("batch.completed", batch.id, "event")
    assert isinstance(event, openai.types.webhooks.BatchCompletedWebhookEvent), type(event)
    assert headers["webhook-id"] and abs(event.created_at - time.time()) < PATIENCE

    invalid = openai.InvalidWebhookSignatureError
    unwrap = client.webhooks.unwrap
    fails(invalid, lambda: unwrap(body, headers, secret="whsec_" + "A" * 32))
    fails(invalid, lambda: unwrap(body.replace(b"completed", b"cancelled"), headers, secret=SECRET))
    old = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    fails(invalid, lambda: unwrap(body, old, secret=SECRET))
    fails(invalid, lambda: unwrap(body, {**headers, "webhook-id": "msg_another"}, secret=SECRET))

    for status, kind in [("failed", "batch.failed"), ("cancelled", "batch.cancelled"), ("expired", "batch.expired")]:
        # A job that is over already: registered and reported in one write.
        client.batches.create(**JOB, extra_body={"webhook": webhook, "status": status})
        headers, body = receiver.next()
        assert client.webhooks.unwrap(body, headers, secret=SECRET).type == kind

    batch = client.batches.create(**JOB, extra_body={"webhook": {**webhook, "format": "batch"}, "status": "completed"})
    headers, body = receiver.next()
    headers = {name.lower(): value for name, value in headers.items()}
    verifier = standardwebhooks.Webhook(SECRET)
    payload = verifier.verify(body, headers)
    assert (payload["id"], payload["object"], payload["status"]) == (batch.id, "batch", "completed")
    assert openai.types.Batch.model_validate(payload).completed_at
    assert json.dumps(json.loads(body), sort_keys=True).encode() == body, "re-serialised, the bytes are the same"
    invalid = standardwebhooks.WebhookVerificationError
    fails(invalid, lambda: standardwebhooks.Webhook("whsec_" + "A" * 32).verify(body, headers))
    fails(invalid, lambda: verifier.verify(body + b" ", headers))
    old = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    fails(invalid, lambda: verifier.verify(body, old))


NO_KEY = "no-key-needed"


def main(server):
    url = server.rstrip("/") + "/v1"
    key = os.environ.get("HOOKLEDGER_API_KEY") or NO_KEY
    # Without retries: a 409 or a 5xx is to be seen, not hidden.
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=PATIENCE)
    steps = [
        ("batches: create, retrieve, report, cancel", lambda: batches(client)),
        ("pages", lambda: pages(client)),
        ("errors", lambda: errors(client)),
        ("idempotency keys", lambda: idempotency(client)),
        ("API keys", lambda: keys(client, url)),
        ("deliveries, verified", lambda: deliveries(client, Receiver())),
    ]
    for name, step in steps:
        step()
        print(f"ok  {name}", flush=True)
    print(f"openai {openai.__version__} works against {server}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
