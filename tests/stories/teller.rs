//! Drives the engine through a script, step by step, and writes down what happens.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use hookledger::attempt::Attempt;
use hookledger::domain::command::{Command, Rotation};
use hookledger::domain::event::Event;
use hookledger::domain::headers::CustomHeaders;
use hookledger::domain::id::{DeadLetterId, DeliveryId, JobId, Seq};
use hookledger::domain::job::{JobSpec, Report, Status};
use hookledger::domain::options::WebhookOptions;
use hookledger::domain::outcome::{Failure, FailureKind, Outcome, Response, RetryAfter};
use hookledger::domain::state::State;
use hookledger::domain::time::Timestamp;
use hookledger::domain::webhook::{EventKind, Format, Webhook};
use hookledger::engine::replay::{differences, rebuild};
use hookledger::engine::{Asked, Confidential, Engine, Input, Settings, Ticket, When};
use hookledger::log::memory::MemoryLog;
use hookledger::log::{EventLog, LogReader};
use hookledger::signature::Secret;
use hookledger::transport::Request;
use hookledger::verify::Verifier;
use hookledger::views::{DeliveryFilter, LetterFilter, Views};
use sha2::{Digest, Sha256};

use crate::lines::{Names, Rows};
use crate::script::{Line, duration, seconds};

/// 2026-01-31T09:30:00Z.
const START: Timestamp = Timestamp::from_seconds(1_769_851_800);

/// More steps than any story takes at one time: an engine that asks to be woken for nothing ends the test.
const PATIENCE: usize = 1_000;

pub struct Teller {
    disk: MemoryLog,
    settings: Settings,
    /// `None` until the first command that needs it, so that the settings can be made before.
    engine: Option<Engine>,
    openings: u8,
    now: Timestamp,
    answers: VecDeque<Option<Outcome>>,
    on_hold: VecDeque<Attempt>,
    requests: Vec<Request>,
    /// What each job was registered with, where it has a secret of its own.
    secrets: HashMap<JobId, Secret>,
    jobs: HashMap<DeliveryId, JobId>,
    names: Names,
    written: Seq,
    /// When a job was pruned last.
    pruned: Seq,
    shown: Vec<(Seq, String)>,
    out: String,
}

impl Teller {
    pub fn tell(script: &str) -> Self {
        let mut teller = Self {
            disk: MemoryLog::new(),
            settings: Settings::default(),
            engine: None,
            openings: 0,
            now: START,
            answers: VecDeque::new(),
            on_hold: VecDeque::new(),
            requests: Vec::new(),
            secrets: HashMap::new(),
            jobs: HashMap::new(),
            names: Names { start: START, deliveries: BTreeMap::new() },
            written: Seq::ZERO,
            pruned: Seq::ZERO,
            shown: Vec::new(),
            out: String::new(),
        };
        for line in script.lines() {
            match Line::read(line) {
                Some(command) => {
                    teller.say(format_args!("> {}", line.trim_end()));
                    teller.obey(&command);
                }
                None if line.starts_with('#') => teller.say(format_args!("{line}")),
                None => teller.say(format_args!("")),
            }
        }
        teller.look_back();
        teller
    }

    /// What happened.
    pub fn told(&self) -> &str {
        &self.out
    }

    /// The request of that number, from 1.
    pub fn request(&self, number: usize) -> &Request {
        &self.requests[number - 1]
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.out, "{line}").unwrap();
    }

    fn obey(&mut self, line: &Line<'_>) {
        match line.verb {
            "settings" => self.set(line),
            "register" => self.register(line),
            "report" => {
                line.allow(&["total", "completed", "failed", "output", "errors", "if_match"]);
                let job = JobId::new(line.word(0)).unwrap();
                let (if_match, report) = (line.number("if_match"), report(line, line.words.get(1)));
                self.ask(Command::Report { job, if_match, report, rotation: None }, Confidential::none());
            }
            "rotate" => self.rotate(line),
            "cancel" => self.ask(Command::Cancel { job: JobId::new(line.word(0)).unwrap() }, Confidential::none()),
            "retry" => {
                let force = line.words.get(1).is_some_and(|word| *word == "force");
                self.ask(Command::RetryDeadLetter { id: dead_letter(line), force }, Confidential::none());
            }
            "delete" => self.ask(Command::DeleteDeadLetter { id: dead_letter(line) }, Confidential::none()),
            "erase" => {
                self.ask(Command::ErasePayloads { job: JobId::new(line.word(0)).unwrap() }, Confidential::none());
            }
            "history" => self.history(&JobId::new(line.word(0)).unwrap()),
            "answer" => self.answers.extend(line.words.iter().map(|word| outcome(word, line.number("retry_after")))),
            "end" => self.end(line),
            "advance" => self.advance(duration(line.word(0))),
            "clock" => {
                self.now = Timestamp::from_millis(self.now.as_millis() + seconds(line.word(0)) * 1000);
                self.run(Vec::new());
            }
            "crash" => {
                self.now = self.now.plus(line.words.first().map_or(Duration::ZERO, |down| duration(down)));
                self.on_hold.clear();
                self.engine = None;
                self.run(Vec::new());
            }
            "show" => self.show(),
            "body" => {
                let body = String::from_utf8(self.request(line.word(0).parse().unwrap()).body.to_vec()).unwrap();
                self.say(format_args!("    {body}"));
            }
            "verify" => self.verify(line),
            verb => panic!("what is '{verb}'?"),
        }
    }

    fn set(&mut self, line: &Line<'_>) {
        line.allow(&["max_attempts", "timeout", "secret", "per_destination", "progress_interval", "retention"]);
        assert!(self.engine.is_none(), "settings come first");
        let settings = &mut self.settings;
        settings.policy.max_attempts = line.number("max_attempts").unwrap_or(settings.policy.max_attempts);
        settings.policy.timeout = line.number("timeout").map_or(settings.policy.timeout, Duration::from_secs);
        settings.pacing.slots = line.number("per_destination").unwrap_or(settings.pacing.slots);
        settings.progress_interval = line.get("progress_interval").map_or(settings.progress_interval, duration);
        settings.retention = line.get("retention").map(duration).or(settings.retention);
        let secrets = line.get("secret").into_iter().flat_map(|secrets| secrets.split(','));
        settings.global_secrets = secrets.map(|secret| Secret::new(secret).unwrap()).collect();
    }

    fn register(&mut self, line: &Line<'_>) {
        let keys =
            ["url", "secret", "max_retries", "timeout", "events", "format", "window", "status", "metadata", "total"];
        line.allow(&[&keys[..], &["headers", "rate_limit", "retry_schedule"]].concat());
        let events = line.get("events").map(|events| {
            let names: Vec<_> = events.split(',').map(str::to_owned).collect();
            EventKind::parse_list(&names).unwrap()
        });
        let webhook = line.text("url").map(|url| Webhook {
            max_retries: line.number("max_retries"),
            timeout: line.number("timeout"),
            events,
            format: line.get("format").map(|format| Format::parse(format).unwrap()).unwrap_or_default(),
            ..Webhook::to(url)
        });
        let metadata = line.get("metadata").and_then(|pair| pair.split_once(':'));
        let spec = JobSpec {
            completion_window: line.text("window").unwrap_or_else(|| "24h".into()),
            metadata: metadata.map(|(key, value)| (key.into(), value.into())).into_iter().collect(),
            total: line.number("total").unwrap_or(0),
            webhook,
            options: WebhookOptions {
                rate_limit: line.number("rate_limit"),
                retry_schedule: line
                    .get("retry_schedule")
                    .map(|waits| waits.split(',').map(|wait| wait.parse().unwrap()).collect()),
                ..WebhookOptions::default()
            },
            report: Report { total: None, ..report(line, line.get("status").as_ref()) },
            ..JobSpec::default()
        };
        let id = JobId::new(line.word(0)).unwrap();
        let secret = line.get("secret").map(|secret| Secret::new(secret).unwrap());
        if !self.secrets.contains_key(&id) {
            self.secrets.extend(secret.clone().map(|secret| (id.clone(), secret)));
        }
        let headers = line.get("headers").and_then(|pair| pair.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = CustomHeaders::new(headers).unwrap();
        self.ask(Command::Register { id, spec }, Confidential { secret, headers });
    }

    fn rotate(&mut self, line: &Line<'_>) {
        line.allow(&["secret", "overlap"]);
        let job = JobId::new(line.word(0)).unwrap();
        let secret = Secret::new(line.get("secret").unwrap()).unwrap();
        let overlap =
            line.get("overlap").map_or(Rotation::DEFAULT_OVERLAP.into(), |overlap| duration(overlap).as_secs());
        let rotation = Some(Rotation { secret: None, overlap: overlap.try_into().unwrap() });
        self.secrets.insert(job.clone(), secret.clone());
        let report = report(line, line.words.get(1));
        self.ask(Command::Report { job, if_match: None, report, rotation }, Some(secret).into());
    }

    fn ask(&mut self, command: Command, confidential: Confidential) {
        let when = if matches!(command, Command::RetryDeadLetter { .. }) { When::Attempted } else { When::Committed };
        let asked = Asked { ticket: Ticket(0), when, keep: None };
        self.run(vec![Input { command, confidential, asked: Some(asked) }]);
    }

    fn end(&mut self, line: &Line<'_>) {
        let attempt = self.on_hold.pop_front().expect("an attempt is on hold");
        let outcome = outcome(line.word(0), None).expect("this is an end");
        self.run(vec![ended(&attempt, outcome)]);
    }

    /// Steps until nothing more happens at this moment.
    fn run(&mut self, mut inputs: Vec<Input>) {
        for _ in 0..PATIENCE {
            if self.engine.is_none() {
                self.openings += 1;
                let log = Box::new(self.disk.reopen());
                let engine = Engine::open(log, self.settings.clone(), [self.openings; 32], self.now).unwrap();
                self.engine = Some(engine);
            }
            let step = self.engine.as_mut().unwrap().step(self.now, std::mem::take(&mut inputs), 16).unwrap();
            self.write_events();
            for (_, reply) in &step.replies {
                self.say(format_args!("    = {}", self.names.clone().reply(reply)));
            }
            if step.attempts.is_empty() {
                return;
            }
            for attempt in step.attempts {
                self.send(&attempt);
                match self.answers.pop_front().expect("every answer is in the script") {
                    Some(outcome) => inputs.push(ended(&attempt, outcome)),
                    None => self.on_hold.push_back(attempt),
                }
            }
        }
        panic!("the engine does not come to rest");
    }

    /// Lets time pass, from one thing that is due to the next.
    fn advance(&mut self, duration: Duration) {
        let until = self.now.plus(duration);
        for _ in 0..PATIENCE {
            match self.engine.as_ref().and_then(Engine::next_wake).filter(|wake| *wake <= until) {
                Some(wake) => self.now = wake.max(self.now),
                None => {
                    self.now = until;
                    return self.run(Vec::new());
                }
            }
            self.run(Vec::new());
        }
        panic!("the engine asks to be woken for nothing");
    }

    fn send(&mut self, attempt: &Attempt) {
        let request = attempt.request(self.now);
        let header = |name: &str| {
            let found = request.headers.iter().find(|(header, _)| *header == name);
            found.map_or("none", |(_, value)| value).to_owned()
        };
        assert_eq!(header("webhook-id"), attempt.delivery.to_string(), "the receiver's idempotency key");
        assert_eq!(header("webhook-timestamp"), self.now.as_seconds().to_string(), "every timestamp is fresh");
        assert_eq!(header("X-Webhook-Timestamp"), header("webhook-timestamp"));
        let secret = self.secrets.get(&self.jobs[&attempt.delivery]).or(self.settings.global_secrets.first());
        match secret.map(|secret| Verifier::new(secret.expose()).unwrap()) {
            Some(receiver) => {
                let verified = receiver.verify(request.headers.clone(), &request.body, self.now.as_seconds());
                assert!(verified.is_ok(), "every request verifies when it arrives");
            }
            None => {
                let signatures = [header("webhook-signature"), header("X-Webhook-Signature")];
                assert_eq!(signatures, ["none", "none"]);
            }
        }
        let digest = Sha256::digest(&request.body).iter().take(6).fold(String::new(), |mut digest, byte| {
            write!(digest, "{byte:02x}").unwrap();
            digest
        });
        let (number, url, timeout) = (self.requests.len() + 1, &request.url, request.timeout.as_secs());
        let (event, attempt_number) = (header("X-Webhook-Event"), header("X-Webhook-Attempt"));
        let first = format!(
            "    request {number} to {url}: {} {event}, attempt {attempt_number}, timestamp {}, within {timeout} s, body {digest}",
            self.names.delivery(attempt.delivery),
            header("webhook-timestamp"),
        );
        let signatures = format!("      {} {}", header("webhook-signature"), header("X-Webhook-Signature"));
        let custom: Vec<_> = request.custom.iter().map(|(name, _)| format!("\n      {name}: …")).collect();
        self.say(format_args!("{first}\n{signatures}{}", custom.concat()));
        self.requests.push(request);
    }

    fn write_events(&mut self) {
        let reader = self.engine.as_ref().unwrap().reader();
        for envelope in reader.events(self.written, usize::MAX).unwrap() {
            if let Event::DeliveryScheduled { delivery, .. } = envelope.event {
                self.jobs.insert(delivery, envelope.job.clone());
                self.names.deliveries.insert(delivery, self.names.deliveries.len() + 1);
            }
            if envelope.event == Event::JobPruned {
                self.pruned = envelope.seq;
            }
            let line = self.names.event(&envelope);
            self.say(format_args!("  {line}"));
            self.written = envelope.seq;
        }
    }

    /// The rows as they are stored, and as the events lead to them.
    fn show(&mut self) {
        let reader = self.disk.reopen().reader();
        let views = Views::new(&*reader);
        let stored = self.names.rows(Rows {
            jobs: views.jobs(None, None, usize::MAX).unwrap(),
            deliveries: views.deliveries(&DeliveryFilter::default(), None, usize::MAX).unwrap(),
            letters: views.letter_page(&LetterFilter::default(), 0, usize::MAX).unwrap().letters,
            totals: views.totals().unwrap(),
        });
        assert_eq!(self.rebuilt(&*reader, self.written), stored, "stored and rebuilt rows say the same");
        self.say(format_args!("{}", stored.trim_end()));
        self.shown.push((self.written, stored));
    }

    /// A job's events from its first, wherever they lie.
    fn history(&mut self, job: &JobId) {
        let reader = self.disk.reopen().reader();
        let views = Views::new(&*reader);
        let job = views.job(job).unwrap().unwrap();
        for envelope in views.history(&job).unwrap() {
            let line = self.names.event(&envelope);
            self.say(format_args!("    | {line}"));
        }
    }

    fn rebuilt(&self, reader: &dyn LogReader, until: Seq) -> String {
        let state: State = rebuild(reader, until).unwrap();
        self.names.rows(Rows {
            jobs: state.jobs().cloned().collect(),
            deliveries: state.deliveries().cloned().collect(),
            letters: state.dead_letters().cloned().collect(),
            totals: state.totals(),
        })
    }

    /// From the end: every position that was shown can be seen again, if nothing was pruned since, and every row follows from
    /// the events.
    fn look_back(&self) {
        let reader = self.disk.reopen().reader();
        for (position, shown) in self.shown.iter().filter(|(position, _)| *position >= self.pruned) {
            assert_eq!(self.rebuilt(&*reader, *position), *shown, "as of position {position}");
        }
        let state = rebuild(&*reader, self.written).unwrap();
        assert!(differences(&state, &*reader).unwrap().is_empty());
        assert!(self.answers.is_empty(), "every answer in the script was given");
    }

    fn verify(&mut self, line: &Line<'_>) {
        line.allow(&["secret", "clock"]);
        let request = self.request(line.word(0).parse().unwrap());
        let sent = request.headers.iter().find(|(name, _)| *name == "webhook-timestamp").unwrap();
        let clock = sent.1.parse::<i64>().unwrap() + line.get("clock").map_or(0, seconds);
        let verifier = Verifier::new(line.get("secret").unwrap()).unwrap();
        let said = match verifier.verify(request.headers.clone(), &request.body, clock) {
            Ok(_) => "accepted".into(),
            Err(error) => format!("rejected: {error}"),
        };
        self.say(format_args!("    = {said}"));
    }
}

fn dead_letter(line: &Line<'_>) -> DeadLetterId {
    DeadLetterId(line.word(0).parse().unwrap())
}

fn report(line: &Line<'_>, status: Option<&&str>) -> Report {
    Report {
        status: status.map(|status| Status::parse(status).unwrap()),
        total: line.number("total"),
        completed: line.number("completed"),
        failed: line.number("failed"),
        output_file_id: line.text("output"),
        error_file_id: line.text("errors"),
        errors: None,
    }
}

/// What an attempt comes to; `None`: it is on hold.
fn outcome(word: &str, retry_after: Option<u64>) -> Option<Outcome> {
    let failed = |kind, detail: &str| Err(Failure { kind, detail: detail.into() });
    let result = match word {
        "hold" => return None,
        "timeout" => failed(FailureKind::Timeout, "no answer in time"),
        "refused" => failed(FailureKind::Connect, "connection refused"),
        "blocked" => failed(FailureKind::Blocked, "10.0.0.0/8 is private"),
        status => {
            let status = status.parse().unwrap_or_else(|_| panic!("what is the answer '{status}'?"));
            Ok(Response { status, excerpt: String::new(), retry_after: retry_after.map(RetryAfter::Seconds) })
        }
    };
    Some(Outcome { duration_ms: 5, result })
}

fn ended(attempt: &Attempt, outcome: Outcome) -> Input {
    Input::of(Command::RecordOutcome { delivery: attempt.delivery, attempt: attempt.number, outcome })
}
