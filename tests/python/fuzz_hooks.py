"""What schemathesis is told about this API that a schema can't say. Loaded by fuzz_api.py."""

import json
import os
import random
import re
import time
import urllib.parse
import urllib.request

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

SERVER, KEY = os.environ["FUZZ_SERVER"], os.environ["FUZZ_KEY"]

# Whatever the server takes as a webhook's URL has this form.
URL = re.compile(r"(https?)://[^/?#@\\ ]+(?:([/?])([^#\\ ]*))?", re.IGNORECASE | re.DOTALL)

# Answers to a request that is as described, given for what is there, or for what only the description's words say.
OF_THE_MOMENT = {
    # If-Match names a version; whether it is the batch's is not a matter of form.
    (412, "stale_version", None),
    # The same key with another request.
    (422, "idempotency_key_reused", None),
    (400, "already_retried", None),
    (400, "already_delivered", None),
    # "At most 4 KiB" is a sum of lengths; "more than nothing and at most ten years" is a product.
    (422, "too_long", "errors"),
    (422, "invalid_completion_window", "completion_window"),
    # A filter of which every part is null is none.
    (422, "missing_filter", None),
    # A pair of the client's own that is called webhook_url has to be one.
    (422, "invalid_url", "metadata.webhook_url"),
}

# A position or an entry of a list that is not there.
NOT_THERE = re.compile(r"There is no (batch|delivery) with id |The log ends at position ")


@schemathesis.hook
def before_call(context, case, kwargs):
    to_where_nothing_is(case)
    in_a_hurry(case)
    to_what_there_is(case)


def to_where_nothing_is(case):
    """Webhooks go to a name that resolves nowhere (RFC 6761), so that nothing leaves this machine, whatever is drawn."""
    body = case.body if isinstance(case.body, dict) else {}
    for place, name in [(body.get("webhook"), "url"), (body.get("metadata"), "webhook_url")]:
        url = place.get(name) if isinstance(place, dict) else None
        form = URL.fullmatch(url) if isinstance(url, str) and len(url.encode("utf-8", "replace")) <= 2048 else None
        if form:
            # http is refused without --dev, and control characters always: no schema says so.
            rest = urllib.parse.quote((form[2] or "") + (form[3] or ""), safe="/?&=@:", errors="replace")
            place[name] = ("https://fuzz.invalid" + rest)[:2048]


def in_a_hurry(case):
    """Waiting is not what is tried here."""
    wait = (case.query or {}).get("wait")
    if isinstance(wait, int) and not isinstance(wait, bool) and 0 < wait <= 30:
        case.query["wait"] = wait % 2


class Known:
    """Identifiers of what there is, asked for now and then."""

    def __init__(self, path):
        self.path, self.ids, self.asked = path, [], 0

    def any(self):
        if self.asked % 20 == 0:
            self.ids = [entry["id"] for entry in ask(f"{self.path}?limit=100")["data"]]
        self.asked += 1
        return CHANCE.choice(self.ids) if self.ids else None


BATCHES, DELIVERIES, LETTERS = Known("/v1/batches"), Known("/v1/webhooks/deliveries"), Known("/v1/webhooks/dead-letter")
CHANCE = random.Random(int(os.environ["FUZZ_SEED"]))


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(SERVER + path, data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def letter():
    """A dead letter that there is: most of what is drawn deletes them, so there may have to be a new one."""
    deadline = time.monotonic() + 60
    asked = False
    while not (data := ask(f"{LETTERS.path}?limit=100")["data"]):
        assert time.monotonic() < deadline, "a delivery to nowhere is given up"
        if not asked:
            webhook = {"url": "https://fuzz.invalid/", "max_retries": 1}
            ask("/v1/batches", {"webhook": webhook, "status": "failed"})
            asked = True
        time.sleep(0.02)
    return CHANCE.choice(data)["id"]


def to_what_there_is(case):
    """What is drawn names nothing: half of the requests that are to be accepted get names of what there is."""
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    known = next((known for known in (BATCHES, DELIVERIES, LETTERS) if case.path.startswith(known.path)), None)
    if "id" in case.path_parameters and CHANCE.random() < 0.5:
        case.path_parameters["id"] = letter() if known is LETTERS else known.any()
    if known and "after" in case.query and CHANCE.random() < 0.5:
        case.query["after"] = known.any() or case.query["after"]
    if "at" in case.query and CHANCE.random() < 0.5:
        case.query["at"] = CHANCE.randrange(1, 100)
    if isinstance(case.body, dict) and isinstance(case.body.get("id"), str) and CHANCE.random() < 0.5:
        case.body["id"] = f"{case.body['id'][:40]}-{CHANCE.getrandbits(64):x}"
    if "If-Match" in case.headers and CHANCE.random() < 0.8:
        case.headers["If-Match"] = "*"
    # A key that is used again gets nothing done.
    if "Idempotency-Key" in case.headers and CHANCE.random() < 0.8:
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'][:200]}-{CHANCE.getrandbits(64):x}"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if isinstance(failure, AcceptedNegativeData):
        # An If-Match that names no version is refused with 412, which schemathesis does not count as refusing.
        return response.status_code != 412
    if not isinstance(failure, RejectedPositiveData):
        return True
    error = response.json()["error"]
    if error["code"] == "invalid_parameter" and error["param"] in ("after", "at"):
        return not NOT_THERE.match(error["message"])
    return (response.status_code, error["code"], error["param"]) not in OF_THE_MOMENT
