//! A client of `runner mcp`, written from the protocol's text: it shares no code with the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{BINARY, Project};

/// A client of one server process.
pub(super) struct Client {
    pub(super) server: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Client {
    /// Starts a server, without a word said to it.
    pub(super) fn start(project: &Project, arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("mcp").args(arguments).current_dir(project.root()).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let input = server.stdin.take();
        let output = BufReader::new(server.stdout.take().unwrap());
        Self { server, input, output, next: 0 }
    }

    /// Starts one and makes the client known under a name.
    pub(super) fn connect(project: &Project, name: &str, arguments: &[&str]) -> Self {
        let mut client = Self::start(project, arguments);
        client.initialize(name, "2025-06-18");
        client
    }

    pub(super) fn initialize(&mut self, name: &str, version: &str) -> Value {
        let parameters = json!({"protocolVersion": version, "capabilities": {},
            "clientInfo": {"name": name, "version": "1"}});
        let answer = self.request("initialize", &parameters);
        self.line(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        answer["result"].clone()
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    pub(super) fn line(&mut self, line: &str) {
        self.bytes(format!("{line}\n").as_bytes());
    }

    /// Sends a request without waiting; gives its id.
    pub(super) fn send(&mut self, method: &str, parameters: &Value) -> u64 {
        self.next += 1;
        self.line(
            &json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": parameters}).to_string(),
        );
        self.next
    }

    /// The next line of the server, which is a message of the protocol whatever happens.
    pub(super) fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    pub(super) fn request(&mut self, method: &str, parameters: &Value) -> Value {
        let id = self.send(method, parameters);
        let answer = self.receive();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The result of a call.
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let answer = self.request("tools/call", &json!({"name": tool, "arguments": arguments}));
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].clone()
    }

    /// The data of a call that is not refused.
    pub(super) fn ok(&mut self, tool: &str, arguments: &Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        let data = result["structuredContent"].clone();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), data, "both say the same");
        data
    }

    /// The words of a call that is refused.
    pub(super) fn refused(&mut self, tool: &str, arguments: &Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(
            (&result["isError"], &result["structuredContent"]),
            (&json!(true), &Value::Null),
            "{result}"
        );
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    pub(super) fn create(&mut self, title: &str) -> String {
        self.ok("issue_create", &json!({"title": title}))["issue"]["id"].as_str().unwrap().to_owned()
    }

    /// Ends the input and waits: the exit code, what was still said, and the messages.
    pub(super) fn end(mut self) -> (Option<i32>, String, String) {
        drop(self.input.take());
        let (mut rest, mut messages) = (String::new(), String::new());
        self.output.read_to_string(&mut rest).unwrap();
        self.server.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
        (self.server.wait().unwrap().code(), rest, messages)
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.server.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
