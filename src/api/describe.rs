//! The description of the API, made from what serves it: a handler's own arguments and answer say which parameters,
//! bodies and answers there are.

use std::collections::BTreeMap;
use std::future::Future;

use axum::Router;
use axum::extract::State;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::MethodFilter;
use axum::routing::on;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Shared;
use super::problem::Problem;
use super::schema;

/// Something in a handler's signature that says a part of its description.
pub(super) trait Describe {
    fn describe(operation: &mut Operation<'_>);
}

/// The description of one operation, as it comes together.
pub(super) struct Operation<'a> {
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    requests: &'a mut SchemaGenerator,
    given: &'a mut SchemaGenerator,
}

impl Operation<'_> {
    /// Says a parameter of the path, the query or the header.
    pub(super) fn parameter(&mut self, place: &str, name: &str, schema: &Value, description: &str) {
        self.parameters.push(json!({
            "in": place, "name": name, "required": place == "path", "schema": schema, "description": description,
        }));
    }

    /// Says the body.
    pub(super) fn body<T: JsonSchema>(&mut self, required: bool) {
        let schema = self.requests.subschema_for::<T>();
        self.body = Some(json!({"required": required, "content": {"application/json": {"schema": schema}}}));
    }

    /// Says an answer in JSON.
    pub(super) fn answer<T: JsonSchema>(&mut self, status: u16, description: &str, headers: &Value) {
        let schema = self.given.subschema_for::<T>();
        let content = json!({"application/json": {"schema": schema}});
        self.answers.insert(status, json!({"description": description, "headers": headers, "content": content}));
    }

    /// Says an answer that is text.
    pub(super) fn text(&mut self, status: u16, description: &str, kind: &str) {
        let content = json!({kind: {"schema": {"type": "string"}}});
        self.answers.insert(status, json!({"description": description, "content": content}));
    }

    /// Says an answer that is a status alone.
    pub(super) fn nothing(&mut self, status: u16, description: &str) {
        self.answers.insert(status, json!({"description": description}));
    }

    /// Says which problems there may be.
    pub(super) fn problems(&mut self, statuses: &[u16]) {
        for status in statuses {
            let problem = json!({"$ref": "#/components/responses/Problem"});
            self.answers.entry(*status).or_insert(problem);
        }
    }
}

impl Describe for State<Shared> {
    fn describe(_: &mut Operation<'_>) {}
}

/// A handler that can be described: a function of described things to a described answer.
pub(super) trait Described<Signature> {
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! described {
    ($($argument:ident)*) => {
        impl<F, Going, Given, $($argument),*> Described<($($argument,)* Given,)> for F
        where
            F: Fn($($argument),*) -> Going,
            Going: Future<Output = Result<Given, Problem>>,
            Given: Describe,
            $($argument: Describe,)*
        {
            fn describe(operation: &mut Operation<'_>) {
                $($argument::describe(operation);)*
                Given::describe(operation);
            }
        }
    };
}

described!();
described!(A);
described!(A B);
described!(A B C);
described!(A B C D);
described!(A B C D E);
described!(A B C D E G);

/// Routes and their descriptions, put together in one go.
pub(super) struct Routes {
    router: Router<Shared>,
    paths: BTreeMap<String, Map<String, Value>>,
    requests: SchemaGenerator,
    given: SchemaGenerator,
    /// What every operation that is added from here on may answer.
    common: Vec<u16>,
    is_open: bool,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            router: Router::new(),
            paths: BTreeMap::new(),
            requests: schema::generator(false),
            given: schema::generator(true),
            common: Vec::new(),
            is_open: false,
        }
    }

    /// What follows may answer these problems as well; `is_open` without a key.
    pub(super) fn common(mut self, problems: &[u16], is_open: bool) -> Self {
        (self.common, self.is_open) = (problems.to_vec(), is_open);
        self
    }

    /// Adds an operation.
    pub(super) fn on<H, T, S>(mut self, method: Method, path: &str, summary: &str, handler: H) -> Self
    where
        H: Handler<T, Shared> + Described<S>,
        T: 'static,
    {
        let mut operation = Operation {
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            requests: &mut self.requests,
            given: &mut self.given,
        };
        H::describe(&mut operation);
        operation.problems(&self.common);
        let Operation { parameters, body, answers, .. } = operation;
        let answers: Map<String, Value> =
            answers.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect();
        let mut described = json!({
            "operationId": operation_id(std::any::type_name::<H>()),
            "summary": summary,
            "parameters": parameters,
            "responses": answers,
        });
        if let Some(body) = body {
            described["requestBody"] = body;
        }
        if self.is_open {
            described["security"] = json!([{}]);
        }
        self.paths.entry(path.to_owned()).or_default().insert(method.as_str().to_ascii_lowercase(), described);
        // It knows every method of RFC 9110, and no other stands in the table.
        let filter = MethodFilter::try_from(method).unwrap_or(MethodFilter::GET);
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// The routes, and all of their description: an OpenAPI 3.1 document.
    pub(super) fn finish(mut self) -> (Router<Shared>, Value) {
        let problem = self.given.subschema_for::<super::problem::ProblemObject>();
        let mut schemas = self.given.take_definitions(true);
        schemas.extend(self.requests.take_definitions(true));
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "hookledger",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Signed webhooks about jobs, delivered reliably. Every answer carries X-Request-Id. Fields and \
                                parameters that are not described are refused, and so are bodies with a NUL or with the \
                                same key twice in one object.",
                "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            },
            "paths": self.paths,
            "security": [{"key": []}, {}],
            "components": {
                "schemas": schemas,
                "securitySchemes": {"key": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API key. A server without keys answers to loopback names without one.",
                }},
                "responses": {"Problem": {
                    "description": "Why the request was not answered with what it asked for",
                    "headers": {"Retry-After": {
                        "description": "With 429 and 503: seconds to wait", "schema": {"type": "integer", "minimum": 1},
                    }},
                    "content": {"application/json": {"schema": problem}},
                }},
            },
        });
        (self.router, document)
    }
}

/// `batches_list` of `hookledger::api::batches::list`.
fn operation_id(name: &str) -> String {
    let mut parts: Vec<&str> = name.rsplit("::").take(2).collect();
    parts.reverse();
    parts.join("_")
}
