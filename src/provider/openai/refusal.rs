//! What the errors of the OpenAI family mean, whether they come as a response or inside a stream.

use serde_json::Value;

use crate::provider::{Advice, CallError, ErrorClass};

/// Who was asked, for messages that name the remedy.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub host: &'a str,
    pub model: &'a str,
    pub module: &'a str,
    /// Where its credential is written.
    pub credential: &'a str,
}

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

/// What an error says of itself, however its server writes errors.
#[derive(Debug, Default)]
struct Told {
    kind: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

impl Told {
    /// From `{"error": {…}}`, `{"error": "…"}`, `{"message": …}` or `{"detail": …}`.
    fn read(json: &Value) -> Self {
        let error = match &json["error"] {
            Value::Null => json,
            error => error,
        };
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            other => Some(other.to_string()),
        };
        let message = [&error["message"], &error["detail"]].into_iter().find_map(text);
        Self {
            // `error` is what a flat event calls itself, not what went wrong.
            kind: text(&error["type"]).filter(|kind| kind != "error"),
            code: text(&error["code"]),
            message: message.or_else(|| error.as_str().map(str::to_owned)),
        }
    }

    /// What the words say. The code is the exacter one; a number in its place is a status.
    fn class(&self) -> Option<ErrorClass> {
        let number = |code: &String| code.parse().ok().filter(|status| (400..600).contains(status));
        let code = self.code.as_ref();
        code.and_then(|code| class_of_word(code))
            .or_else(|| code.and_then(number).map(ErrorClass::of_status))
            .or_else(|| self.kind.as_deref().and_then(class_of_word))
    }

    fn words(&self) -> Option<String> {
        let message = self.message.as_deref()?;
        let kind = match (&self.kind, &self.code) {
            (Some(kind), Some(code)) if kind != code => format!("{kind}, {code}: "),
            (Some(word), _) | (None, Some(word)) => format!("{word}: "),
            (None, None) => String::new(),
        };
        Some(format!("{kind}{message}"))
    }
}

/// What an error response means: its code decides, then its status, then its type; never its message.
pub fn read_response(asked: &Asked<'_>, response: &Response<'_>) -> CallError {
    let Response { status, headers, body } = *response;
    let told = Told::read(&serde_json::from_slice(body).unwrap_or(Value::Null));
    let class = class(&told, response);
    let said = match told.words() {
        Some(words) => format!("{status} {words}"),
        None if response.is_page() => format!("{status}, with a web page instead of JSON"),
        None => {
            let text = String::from_utf8_lossy(body);
            let text: String = text.trim().chars().take(EXCERPT_CHARS).collect();
            if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }
        }
    };
    let Asked { host, model, module, credential } = *asked;
    let message = match class {
        ErrorClass::Credential => {
            format!("{host} refuses the credential ({said}); check {credential} of {module}")
        }
        ErrorClass::Billing => format!("{host} wants the account settled ({said})"),
        ErrorClass::Request if status == 404 => format!(
            "{host} does not know the model `{model}` or the address ({said}); set `default_model` or `base_url` of {module}, or the role's `model`"
        ),
        ErrorClass::Request if (300..400).contains(&status) => format!(
            "{host} redirects to {} ({said}); set `base_url` of {module} to the address that answers",
            response.header("location").unwrap_or("another address"),
        ),
        ErrorClass::Request => format!("{host} refuses the request ({said})"),
        ErrorClass::RateLimit => format!("{host} has had too many requests ({said})"),
        ErrorClass::Overloaded => format!("{host} is overloaded ({said})"),
        _ => format!("{host} failed ({said})"),
    };
    let advice = Advice::from_headers(headers);
    CallError {
        class,
        message,
        status: Some(status),
        retry_after_ms: advice.retry_after_ms,
        should_retry: advice.should_retry,
        request_id: response.header("x-request-id").map(str::to_owned),
        ..CallError::new(class, String::new())
    }
}

fn class(told: &Told, response: &Response<'_>) -> ErrorClass {
    let status = response.status;
    let by_code = told.code.as_deref().and_then(class_of_word);
    match status {
        // Too large is too large, whatever the limit it is counted against.
        413 => ErrorClass::Request,
        // A page instead of JSON comes from something in front of the API, and such blocks pass.
        403 if response.is_page() => ErrorClass::Server,
        // `invalid_request_error` is the type of a wrong key too.
        401..=403 | 408 | 429 | 500.. => match by_code.or_else(|| told.kind.as_deref().and_then(quota)) {
            Some(class) => class,
            None => ErrorClass::of_status(status),
        },
        _ => by_code
            .or_else(|| told.kind.as_deref().and_then(class_of_word))
            .unwrap_or(ErrorClass::of_status(status)),
    }
}

fn quota(kind: &str) -> Option<ErrorClass> {
    (kind == "insufficient_quota").then_some(ErrorClass::Billing)
}

/// An error inside a stream, whose HTTP status said 200: in an `error` of its own, or flat.
pub fn read_event(data: &Value) -> CallError {
    let told = Told::read(data);
    let class = told.class().unwrap_or(ErrorClass::Server);
    let words = told.words().unwrap_or_else(|| "no reason given".to_owned());
    CallError::new(class, format!("the provider broke off its reply ({words})"))
}

fn class_of_word(word: &str) -> Option<ErrorClass> {
    Some(match word {
        "invalid_api_key"
        | "account_deactivated"
        | "authentication_error"
        | "permission_error"
        | "permission_denied" => ErrorClass::Credential,
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "billing_error"
        | "insufficient_credits" => ErrorClass::Billing,
        "rate_limit_exceeded" | "rate_limit_error" | "too_many_requests" | "requests" | "tokens" => {
            ErrorClass::RateLimit
        }
        "server_is_overloaded" | "overloaded_error" | "overloaded" | "slow_down" => ErrorClass::Overloaded,
        // The server could not read what its model wrote as a call; another attempt may be luckier.
        "tool_use_failed"
        | "server_error"
        | "api_error"
        | "internal_error"
        | "internal_server_error"
        | "timeout_error"
        | "InternalServerError" => ErrorClass::Server,
        "invalid_request_error"
        | "context_length_exceeded"
        | "model_not_found"
        | "not_found_error"
        | "invalid_prompt"
        | "content_policy_violation"
        | "content_filter"
        | "BadRequestError"
        | "NotFoundError" => ErrorClass::Request,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ASKED: Asked<'static> =
        Asked { host: "h", model: "m-1", module: "provider-x", credential: "X_KEY or `api_key`" };

    fn read(status: u16, headers: &[(&str, &str)], body: &Value) -> CallError {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read_response(&ASKED, &Response { status, headers: &headers, body: body.to_string().as_bytes() })
    }

    fn error(kind: &str, code: &Value) -> Value {
        json!({"error": {"message": "m", "type": kind, "param": null, "code": code}})
    }

    #[test]
    fn the_code_decides_then_the_status_then_the_type() {
        use ErrorClass::*;
        let invalid = "invalid_request_error";
        let table = [
            (401, error(invalid, &json!("invalid_api_key")), Credential),
            (401, error(invalid, &json!(null)), Credential),
            (404, error(invalid, &json!("model_not_found")), Request),
            (400, error(invalid, &json!("context_length_exceeded")), Request),
            (429, error("requests", &json!("rate_limit_exceeded")), RateLimit),
            (429, error("insufficient_quota", &json!("insufficient_quota")), Billing),
            (429, error("insufficient_quota", &json!(null)), Billing),
            (413, error("tokens", &json!("rate_limit_exceeded")), Request),
            (503, error("server_error", &json!("slow_down")), Overloaded),
            (503, error(invalid, &json!(null)), Server),
            (400, error(invalid, &json!("tool_use_failed")), Server),
            (402, json!({"error": {"message": "m", "code": 402}}), Billing),
            (
                400,
                json!({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}),
                Request,
            ),
            (404, json!({"error": "model 'x' not found"}), Request),
            (422, json!({"detail": [{"loc": ["body"], "msg": "m"}]}), Request),
        ];
        for (status, body, class) in table {
            let read = read(status, &[], &body);
            assert_eq!(read.class, class, "{status} {body}: {read}");
        }
    }

    #[test]
    fn an_error_in_a_stream_is_read_nested_or_flat_and_by_number() {
        use ErrorClass::*;
        let table = [
            (error("insufficient_quota", &json!("insufficient_quota")), Billing),
            (
                json!({"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": null}),
                RateLimit,
            ),
            (json!({"error": {"code": "server_error", "message": "m"}}), Server),
            (json!({"error": {"code": 400, "message": "Token limit reached"}}), Request),
            (json!({"error": {"code": "502", "message": "m"}}), Server),
            (error("a_new_one", &json!(null)), Server),
        ];
        for (data, class) in table {
            assert_eq!(read_event(&data).class, class, "{data}");
        }
        assert_eq!(read_event(&json!({})).message, "the provider broke off its reply (no reason given)");
    }

    #[test]
    fn messages_name_the_remedy_and_keep_the_request_id() {
        let refused = read(
            401,
            &[("x-request-id", "req_1"), ("retry-after", "7")],
            &error("invalid_request_error", &json!("invalid_api_key")),
        );
        assert_eq!(
            refused.message,
            "h refuses the credential (401 invalid_request_error, invalid_api_key: m); check X_KEY or `api_key` of provider-x"
        );
        assert_eq!((refused.request_id.as_deref(), refused.retry_after_ms), (Some("req_1"), Some(7_000)));
        assert!(read(404, &[], &json!({})).message.contains("`m-1`"));
        assert!(
            read(307, &[("location", "https://b.example")], &json!(null))
                .message
                .contains("https://b.example")
        );
        let page = read(403, &[("content-type", "text/html")], &json!("x"));
        assert_eq!(page.class, ErrorClass::Server);
    }
}
