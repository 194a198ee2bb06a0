//! The results of `runner test` as JUnit XML, which CI systems read.

use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::trial::{Trial, Verdict};

/// The results as XML: a test case for each scenario, named by its file and classed by its folder.
pub(super) fn xml(trials: &[Trial], time: Duration) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new("runner test");
    suite.set_time(time);
    suite.add_test_cases(trials.iter().map(case));
    let mut report = Report::new("runner test");
    report.set_time(time);
    report.add_test_suite(suite);
    report.to_string()
}

fn case(trial: &Trial) -> TestCase {
    let status = match trial.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::NoRecording => skipped("no recording"),
        Verdict::NotRun => skipped("not run"),
        Verdict::Failed => failed(trial),
    };
    let file = Path::new(&trial.file);
    let name = file.file_name().map_or(trial.file.clone(), |name| name.to_string_lossy().into_owned());
    let folder = file.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let mut case = TestCase::new(name, status);
    case.set_classname(if folder.is_empty() { ".".to_owned() } else { folder });
    case.set_time(trial.time);
    case.extra.insert("file".into(), trial.file.as_str().into());
    case
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}

fn failed(trial: &Trial) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    let text: Vec<_> = trial.failures.iter().map(|failure| failure.text.trim_end()).collect();
    let text = text.join("\n\n");
    if let Some(first) = trial.failures.first() {
        status.set_type(first.kind.as_str());
    }
    status.set_message(text.lines().next().unwrap_or_default());
    status.set_description(text);
    status
}
