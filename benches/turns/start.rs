//! How long it takes from the start of the process to its first request.

use std::time::Duration;

use crate::figures::{Sample, now};
use crate::harness::Project;
use crate::say;
use crate::server::brain::{Answer, brain};
use crate::server::{AnthropicServer, Chunking};

/// How often each is measured.
const TIMES: usize = 20;

/// Prints the table.
pub fn measure() {
    let (mut request, mut version, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        nothing.push(whole("/bin/true", &[]));
        version.push(whole(crate::harness::BINARY, &["--version"]));
        request.push(first_request());
    }
    say("\n## Start\n\n| from the start of the process | ms |\n|---|---:|");
    for (name, spans) in [
        ("to the first request of `hello.yaml` at the server", request),
        ("to the end of `runner --version`", version),
        ("to the end of `/bin/true`, for comparison", nothing),
    ] {
        say(&format!("| {name} | {} |", Sample::of(spans).spread()));
    }
}

fn first_request() -> Duration {
    let hello = brain(|_| Answer::text("Hello, world."));
    let server = AnthropicServer::start_with(hello, Chunking::ByEvent);
    let project = Project::shipped();
    project.point_at(&server);
    let begun = now();
    project.runner(["scenarios/hello.yaml"]).with_key().run().expect_code(0);
    server.requests()[0].arrived - begun
}

fn whole(program: &str, args: &[&str]) -> Duration {
    let project = Project::new();
    let command = project.command(program).args(args);
    let begun = now();
    command.run().expect_code(0);
    begun.elapsed()
}
