//! What the API's errors mean, whether they come as a response or inside a stream.

use serde_json::Value;

use super::config::{Config, INFO};
use crate::provider::{Advice, CallError, ErrorClass};

/// A response that is an error.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    pub status: u16,
    pub headers: &'a [(String, String)],
    pub body: &'a [u8],
}

impl Response<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn is_page(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
    }
}

/// Most characters of a body that is not the API's own that are shown.
const EXCERPT_CHARS: usize = 200;

/// What an error response means: its `error.type` decides, then its status; never its message.
pub fn read_response(config: &Config, response: &Response<'_>) -> CallError {
    let Response { status, headers, body } = *response;
    let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let kind = json["error"]["type"].as_str();
    let class = match kind.and_then(class_of_type) {
        Some(class) => class,
        // A page instead of JSON comes from something in front of the API, and such blocks pass.
        None if status == 403 && response.is_page() => ErrorClass::Server,
        None => ErrorClass::of_status(status),
    };
    let told = said(&json, response);
    let message = match class {
        ErrorClass::Credential => format!(
            "{} refuses the credential ({told}); check ANTHROPIC_API_KEY or `api_key` of {}",
            config.host, INFO.name
        ),
        ErrorClass::Billing => format!("{} wants the account settled ({told})", config.host),
        ErrorClass::Request if status == 404 => format!(
            "{} does not know the model `{}` or the address ({told}); set `default_model` or `base_url` of {}, or the role's `model`",
            config.host, config.model, INFO.name
        ),
        ErrorClass::Request if (300..400).contains(&status) => format!(
            "{} redirects to {} ({told}); set `base_url` of {} to the address that answers",
            config.host,
            response.header("location").unwrap_or("another address"),
            INFO.name
        ),
        ErrorClass::Request => format!("{} refuses the request ({told})", config.host),
        ErrorClass::RateLimit => format!("{} has had too many requests ({told})", config.host),
        ErrorClass::Overloaded => format!("{} is overloaded ({told})", config.host),
        _ => format!("{} failed ({told})", config.host),
    };
    let advice = Advice::from_headers(headers);
    let request_id = json["request_id"].as_str();
    CallError {
        class,
        message,
        status: Some(status),
        retry_after_ms: advice.retry_after_ms,
        should_retry: advice.should_retry,
        request_id: request_id.or_else(|| response.header("request-id")).map(str::to_owned),
        ..CallError::new(class, String::new())
    }
}

/// An `error` event inside a stream, whose HTTP status said 200.
pub fn read_event(data: &Value) -> CallError {
    let error = &data["error"];
    let kind = error["type"].as_str().unwrap_or("error");
    let class = class_of_type(kind).unwrap_or(ErrorClass::Server);
    let message = error["message"].as_str().unwrap_or("no reason given");
    CallError {
        request_id: data["request_id"].as_str().map(str::to_owned),
        ..CallError::new(class, format!("the provider broke off its reply ({kind}: {message})"))
    }
}

fn said(json: &Value, response: &Response<'_>) -> String {
    let status = response.status;
    let error = &json["error"];
    match (error["type"].as_str(), error["message"].as_str()) {
        (Some(kind), Some(message)) => match error["details"]["error_code"].as_str() {
            Some(code) => format!("{status} {kind}, {code}: {message}"),
            None => format!("{status} {kind}: {message}"),
        },
        _ if response.is_page() => format!("{status}, with a web page instead of JSON"),
        _ => {
            let text = String::from_utf8_lossy(response.body);
            let text: String = text.trim().chars().take(EXCERPT_CHARS).collect();
            if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }
        }
    }
}

fn class_of_type(kind: &str) -> Option<ErrorClass> {
    Some(match kind {
        "authentication_error" | "permission_error" => ErrorClass::Credential,
        "billing_error" => ErrorClass::Billing,
        "invalid_request_error" | "not_found_error" | "request_too_large" | "conflict_error" => {
            ErrorClass::Request
        }
        "rate_limit_error" => ErrorClass::RateLimit,
        "overloaded_error" => ErrorClass::Overloaded,
        "api_error" | "timeout_error" => ErrorClass::Server,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::anthropic::encode::testing::config;

    fn read(status: u16, headers: &[(&str, &str)], body: &str) -> CallError {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let response = Response { status, headers: &headers, body: body.as_bytes() };
        read_response(&config(&serde_json::json!({"default_model": "claude-x"})), &response)
    }

    fn body(kind: &str) -> String {
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"m","details":null}},"request_id":null}}"#
        )
    }

    #[test]
    fn every_documented_status_has_its_class() {
        use ErrorClass::*;
        let table = [
            (400, "invalid_request_error", Request),
            (401, "authentication_error", Credential),
            (402, "billing_error", Billing),
            (403, "permission_error", Credential),
            (404, "not_found_error", Request),
            (409, "conflict_error", Request),
            (413, "request_too_large", Request),
            (429, "rate_limit_error", RateLimit),
            (500, "api_error", Server),
            (504, "timeout_error", Server),
            (529, "overloaded_error", Overloaded),
        ];
        for (status, kind, class) in table {
            assert_eq!(read(status, &[], &body(kind)).class, class, "{status} {kind}");
            assert_eq!(read(status, &[], "").class, class, "{status} without a body");
        }
    }

    #[test]
    fn the_type_wins_over_the_status() {
        assert_eq!(read(200, &[], &body("overloaded_error")).class, ErrorClass::Overloaded);
        assert_eq!(read(503, &[], &body("rate_limit_error")).class, ErrorClass::RateLimit);
        assert_eq!(read(503, &[], &body("a_new_error")).class, ErrorClass::Server);
    }

    #[test]
    fn messages_name_the_remedy() {
        let refused = read(401, &[("request-id", "req_1")], &body("authentication_error"));
        assert_eq!(
            refused.message,
            "api.anthropic.com refuses the credential (401 authentication_error: m); \
             check ANTHROPIC_API_KEY or `api_key` of provider-anthropic"
        );
        assert_eq!(refused.request_id.as_deref(), Some("req_1"));
        assert!(read(404, &[], &body("not_found_error")).message.contains("`claude-x`"));
        assert!(read(307, &[("location", "https://b.example")], "").message.contains("https://b.example"));
    }

    #[test]
    fn headers_and_error_codes_are_kept() {
        let json = r#"{"error":{"type":"invalid_request_error","message":"m","details":{"error_code":"spend"}},"request_id":"req_2"}"#;
        let error =
            read(400, &[("retry-after", "7"), ("x-should-retry", "true"), ("request-id", "req_h")], json);
        assert_eq!((error.retry_after_ms, error.should_retry), (Some(7_000), Some(true)));
        assert_eq!(error.request_id.as_deref(), Some("req_2"));
        assert!(error.message.contains("invalid_request_error, spend: m"), "{}", error.message);
    }

    #[test]
    fn a_page_in_front_of_the_api_is_not_the_api() {
        let page = read(403, &[("content-type", "text/html; charset=UTF-8")], "<html>blocked</html>");
        assert_eq!(page.class, ErrorClass::Server);
        assert!(!page.message.contains("<html>"));
    }
}
