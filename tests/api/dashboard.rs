//! The dashboard's files: who gets them, and what is said of them to the browser. What the page does is in
//! `tests/browser.rs`.

use hookledger::api::{ApiOptions, Keys};
use serde_json::{Value, json};

use crate::fixture::{Answer, Api};

/// Every file that the description names.
fn files(api: &Api) -> Vec<String> {
    let description = api.get("/openapi.json").expect(200).body;
    let names = &description["paths"]["/dashboard/{file}"]["get"]["parameters"][0]["schema"]["enum"];
    let names = names.as_array().unwrap().iter().map(|name| format!("/dashboard/{}", name.as_str().unwrap()));
    std::iter::once("/".into()).chain(names).collect()
}

fn get(api: &Api, path: &str, tag: &str) -> Answer {
    api.send("GET", path, &[("If-None-Match", tag)], b"")
}

#[test]
fn every_file_is_of_its_type_and_allows_nothing_from_elsewhere() {
    let api = Api::start();
    let files = files(&api);
    assert!(files.len() > 10, "{files:?}");
    for path in &files {
        let file = api.get(path).expect(200);
        let kind = match path.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(file.header("content-type"), Some(kind), "{path}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(file.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(file.header("cache-control"), Some("no-cache"));
        let policy: Vec<&str> = file.header("content-security-policy").unwrap().split("; ").collect();
        let expected = [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ];
        assert_eq!(policy, expected);
    }
    let page = api.get("/").text;
    assert!(files.iter().any(|path| path == "/dashboard/app.js") && page.contains("dashboard/app.js"));
}

/// Whatever a file names is there, and nothing of it is inline or elsewhere: that is what the policy would refuse.
#[test]
fn files_name_only_one_another() {
    let api = Api::start();
    for path in files(&api) {
        let text = api.get(&path).expect(200).text;
        for foreign in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "style=\""]
        {
            assert!(!text.contains(foreign), "{path} has {foreign}");
        }
        let elsewhere = text.match_indices("http").filter(|(at, _)| {
            let rest = &text[*at..];
            let is_namespace = rest.starts_with("http://www.w3.org/2000/svg");
            (rest.starts_with("http://") || rest.starts_with("https://"))
                && !is_namespace
                && !rest.starts_with("http://127.0.0.1:9000/")
        });
        assert_eq!(elsewhere.count(), 0, "{path} names another origin");
        let imports = text
            .lines()
            .filter_map(|line| line.split_once(" from \"./"))
            .filter(|(start, _)| start.starts_with("import"));
        for (_, name) in imports {
            api.get(&format!("/dashboard/{}", name.trim_end_matches("\";"))).expect(200);
        }
    }
}

#[test]
fn what_the_browser_has_is_not_sent_again() {
    let api = Api::start();
    for path in files(&api) {
        let file = api.get(&path).expect(200);
        let tag = file.header("etag").unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
            let known = get(&api, &path, &known).expect(304);
            assert_eq!((known.text.as_str(), known.header("etag")), ("", Some(&*tag)));
            assert!(known.header("content-security-policy").is_some());
        }
        for other in ["\"other\"", "other", "", &tag[1..tag.len() - 1]] {
            assert_eq!(get(&api, &path, other).expect(200).text, file.text);
        }
        let head = api.send("HEAD", &path, &[], b"").expect(200);
        assert_eq!((head.text.as_str(), head.header("etag")), ("", Some(&*tag)));
    }
}

#[test]
fn with_keys_the_files_are_open_and_nothing_else_is() {
    let keys = Keys::new(["a-key-that-must-never-be-answered"]).unwrap();
    let api = Api::start_with(ApiOptions { keys, ..ApiOptions::default() });
    let page = api.get("/").expect(200).text;
    assert!(page.contains("<title>hookledger</title>"));
    api.get("/dashboard/app.js").expect(200);
    api.send("HEAD", "/dashboard/style.css", &[], b"").expect(200);
    api.get("/dashboard/none.js").expect_problem(404, "not_found", Value::Null);
    for path in ["/dashboard", "/dashboards", "//", "/v1/batches", "/openapi.json", "/metrics"] {
        api.get(path).expect_problem(401, "missing_api_key", Value::Null);
    }
    for path in ["/", "/dashboard/app.js"] {
        api.post(path, &json!({})).expect_problem(401, "missing_api_key", Value::Null);
    }
}

/// A page of another site can't have the dashboard under its own name, nor anything in a query.
#[test]
fn without_keys_the_files_are_for_loopback_names() {
    let api = Api::start();
    for path in ["/", "/dashboard/app.js"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n");
        api.send_raw(head.as_bytes()).expect_problem(403, "host_not_allowed", Value::Null);
        api.get(&format!("{path}?a=b")).expect_problem(422, "unknown_parameter", "a");
        api.delete(path).expect_problem(405, "method_not_allowed", Value::Null);
    }
    api.get("/dashboard/none.js").expect_problem(404, "not_found", Value::Null);
}
