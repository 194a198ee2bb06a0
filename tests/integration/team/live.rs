//! The demo live: its workers race over a real wire, and whatever way they raced, its recording plays it again.

use super::{DEMO, DEMO_WORKSPACE, Race, assert_all_answered, assert_worked_once, queue, ways};
use crate::harness::Project;
use crate::server::{AnthropicServer, brain};

#[test]
fn ten_live_runs_work_every_issue_once() {
    let race = Race::default();
    let server = AnthropicServer::start(race.disturb(brain::demo()));
    let project = Project::shipped();
    project.point_at(&server);
    let mut asked = 0;
    for _ in 0..10 {
        race.again();
        let outcome = project.runner([DEMO]).with_key().run().expect_code(0);
        assert!(!outcome.stderr.contains("REPLAY"), "{}", outcome.text());
        assert_worked_once(&project, DEMO_WORKSPACE, 5);
        let total = assert_all_answered(&server);
        assert!(total >= asked + 20, "a run asks at least twenty times");
        asked = total;
    }
}

#[test]
fn a_live_recording_replays_exactly() {
    let race = Race::default();
    let server = AnthropicServer::start(race.disturb(brain::demo()));
    let project = Project::shipped();
    project.point_at(&server);
    let outcome = project.runner([DEMO, "--record=live.cassette"]).with_key().run().expect_code(0);
    assert!(outcome.stderr.contains("recording: live.cassette (recorded, "), "{}", outcome.text());
    assert!(project.read("live.cassette/cassette.yaml").contains("evidence: recorded\n"));
    let live = queue(&project, DEMO_WORKSPACE);
    let asked = assert_all_answered(&server);

    for way in ways(10) {
        let replay = project.runner(["replay", DEMO, "--from", "live.cassette"]).args(&way);
        let outcome = replay.run().expect_code(0);
        assert!(outcome.stderr.contains("REPLAY of a recording: no model is asked\n"), "{}", outcome.text());
        assert_eq!(queue(&project, DEMO_WORKSPACE), live, "{way:?}");
    }
    assert_eq!(server.requests().len(), asked, "a replay asks nobody");
}
