//! How much of anything the program allows, each bound with its reason.

use std::time::Duration;

/// Credentials shorter than this are not scrubbed: they would tear ordinary words apart. Bytes.
pub const SECRET_MIN_BYTES: usize = 8;

/// Largest scenario, mount plan or prompt file read. Bytes. Far above any written by hand, far below what hurts.
pub const SOURCE_BYTES: usize = 10 * 1024 * 1024;

/// Deepest nesting of a scenario or mount plan: deeper is a mistake or an attack, and recursion must end.
pub const SOURCE_DEPTH: usize = 64;

/// Most nodes of one file after aliases are expanded: an alias bomb stops here.
pub const SOURCE_NODES: usize = 200_000;

/// Mistakes told of the text of one file: who has more has another kind of file, and rendering them takes its time.
pub const SYNTAX_ERRORS: usize = 100;

/// Instructions one template may execute: bounds both time and output of a rendering.
pub const TEMPLATE_FUEL: u64 = 2_000_000;

/// Results up to this size stand in the ledger line itself, larger ones in a blob. Bytes.
pub const INLINE_RESULT_BYTES: usize = 2 * 1024;

/// Tool calls of one message that run at the same time; more wait. Bounds processes and open files.
pub const PARALLEL_CALLS: usize = 16;

/// Lines waiting for the journal's thread; a full queue holds effects back instead of growing.
pub const JOURNAL_QUEUE: usize = 4_096;

/// Requests waiting for the issue store's thread; a full queue holds callers back.
pub const STORE_QUEUE: usize = 1_024;

/// Requests the store commits as one transaction: keeps one slow sync from delaying hundreds of answers.
pub const STORE_BATCH: usize = 128;

/// Sessions one scenario may declare: beyond it a machine of this class spends its time switching.
pub const SESSIONS: usize = 1_024;

/// Scenarios that one scenario may include, directly or not: more is a circle that nobody sees, or a mistake.
pub const INCLUDES: usize = 64;

/// How often a phase may be tried: what fails so often does not fail by chance.
pub const PHASE_ATTEMPTS: u32 = 10;

/// Items that a `for_each` may go through: each is a phase of its own, and a computed list may be anything.
pub const ITEMS: usize = 1_000;

/// Items of a `for_each` that run at the same time when nothing is said.
pub const PARALLEL_ITEMS: usize = 4;

/// Model calls within one prompt when the orchestrator sets no limit of its own.
pub const MODEL_CALLS_PER_PROMPT: u32 = 50;

/// How often a paused turn (`pause_turn`) is continued before the runner gives up on it.
pub const PAUSED_TURNS: u32 = 8;

/// As much of a call's arguments as a person is shown who is to allow it: a screen, not a file. Characters.
pub const QUESTION_CHARS: usize = 500;

/// Resources of one MCP server that a model is offered, each as a tool: more fill its context with what it hardly reads.
pub const MCP_RESOURCES: usize = 32;

/// How long the first Ctrl-C lets turns finish before it becomes the second.
pub const GRACE: Duration = Duration::from_secs(60);

/// How much is kept of what an MCP server prints, for the error that names it.
pub const SERVER_LOG_BYTES: usize = 2_000;

/// A process gets this long between SIGTERM and SIGKILL.
pub const KILL_AFTER: Duration = Duration::from_millis(500);

/// Output of one tool call shown to the model; head and tail are kept. Bytes.
pub const TOOL_OUTPUT_BYTES: usize = 100_000;

/// The least that may be shown of a tool result that is kept in a file. Bytes. Less would not hold the words about it.
pub const SHOWN_RESULT_BYTES: usize = 1_024;

/// Largest single server-sent event accepted. Bytes.
pub const SSE_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Largest error body read from a provider. Bytes.
pub const ERROR_BODY_BYTES: usize = 64 * 1024;

/// Largest file of issues that is imported. Bytes. A hundred thousand issues of ordinary size; all of it is in memory.
pub const IMPORT_BYTES: u64 = 512 * 1024 * 1024;

/// Longest issue title. Characters; the bound of beads.
pub const TITLE_CHARS: usize = 500;

/// Longest label. Characters; a label is a word or two, a sentence belongs into the description.
pub const LABEL_CHARS: usize = 64;

/// Labels an issue may be given: more say nothing any longer.
pub const LABELS: usize = 32;

/// Words of a search: more than anybody types, few enough for a bit each.
pub const SEARCH_WORDS: usize = 32;

/// Rows a list shows to a model unless it asks for more.
pub const LIST_ROWS: usize = 50;

/// Waits between reconciling with changes other processes made to the queue.
pub const FOREIGN_CHANGE_POLL: Duration = Duration::from_millis(250);

/// How long the issue store waits for other processes that write before it gives up: longer than any batch takes, short
/// enough that a stuck process is noticed.
pub const STORE_BUSY: Duration = Duration::from_secs(15);

/// Remarks shown with an issue, the last ones: enough to go on, whatever was said before.
pub const COMMENTS_SHOWN: usize = 20;

/// Description shown in a row of a list; `get` shows all of it. Characters.
pub const ROW_DESCRIPTION_CHARS: usize = 200;

/// Single issues a footprint names before it says "all of them": a longer list costs more than it saves.
pub const FOOTPRINT_NAMES: usize = 64;

/// How long a claim lasts without renewal when nothing else is said.
pub const LEASE: Duration = Duration::from_secs(15 * 60);

/// How long a person's claim lasts: nobody renews it, and people take breaks.
pub const PERSON_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// Claims without a result after which an issue is blocked, when nothing else is said.
pub const ATTEMPTS: u32 = 3;

/// Entries of an issue's history written into the notes when it is given up: the latest tell why.
pub const HISTORY_IN_NOTES: usize = 12;
/// Largest file the file tools read or write. Bytes. Text for a model is far smaller; a log of gigabytes must not fill memory.
pub const FILE_BYTES: u64 = 10 * 1024 * 1024;

/// How long one call of a file tool may take; only a file system that hangs needs it.
pub const FILE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time a call of `bash` may ask for: a model cannot park a worker for a day.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Captured beyond what is kept of a command's output, then cut off again, so that a secret or path that the cut goes
/// through is never shown in part. Bytes; longer than any credential.
pub const OUTPUT_SLACK_BYTES: usize = 8 * 1024;

/// Commands that one session may have in the background at once, whatever its mount plan says.
pub const BACKGROUND_JOBS: usize = 32;

/// Commands of one session that are remembered until their end has been told; the oldest ended one makes room.
pub const REMEMBERED_JOBS: usize = 64;

/// Longest time a call may wait for the end of a job in the background.
pub const JOB_WAIT: Duration = Duration::from_secs(600);

/// A larger file is told from what it was before a command by its size and times, not by its content. Bytes.
pub const COMPARED_BYTES: u64 = 64 * 1024 * 1024;

/// Content of all files that one command may change in a recording. Bytes; a cassette is meant for git.
pub const PATCH_BYTES: u64 = 4 * 1024 * 1024;

/// How often a follower of a run looks whether there is more.
pub const FOLLOW_POLL: Duration = Duration::from_millis(200);

/// Age from which `runner clean` removes a run when nothing else is said.
pub const RUN_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Steps after which a schedule that is explored is given up: who only looks and waits in a circle never ends.
pub const EXPLORED_STEPS: usize = 20_000;

/// Runs in which a schedule that failed is made shorter.
pub const SHRINKING_RUNS: usize = 60;

/// Longest wait a server may ask for before another attempt. The windows of rate limits are a minute; who asks for more has
/// a quota that is used up for hours, and a run that says so and can be resumed is better than one that seems to hang.
pub const RETRY_AFTER: Duration = Duration::from_secs(10 * 60);

/// Fewest tokens that a reply is trimmed to when the budget is nearly used up: room for a closing tool call with its reason.
pub const LEAST_OUTPUT: u64 = 2_048;

/// Longest pause that headers about allowances bring about: they say when an allowance is whole again, and some of it is
/// there much sooner.
pub const ALLOWANCE_PAUSE: Duration = Duration::from_secs(60);

/// Longest time one model call may take, however often the server says that it is still there: the longest reply, 128,000
/// tokens, is expected to take an hour.
pub const MODEL_CALL: Duration = Duration::from_secs(60 * 60);
/// Attempts in a row at one model call that a fault may happen to: no retry policy makes more.
pub const FAULT_TIMES: u32 = 100;

/// Redirects followed for one page; browsers follow more, but honest sites need few.
pub const FETCH_REDIRECTS: usize = 5;

/// Bytes taken of one page, unpacked; text of that size is a book.
pub const FETCH_BYTES: usize = 2 * 1024 * 1024;

/// How long fetching a page, or a search of the web, may take when nothing else is said.
pub const WEB_TIMEOUT: Duration = Duration::from_secs(10);

/// Results that one search of the web may ask for; the backends give no more.
pub const WEB_RESULTS: u64 = 20;

/// Characters of a page shown at once; with four bytes each they are still less than a model's context holds.
pub const FETCH_CHARS: usize = 50_000;

/// Characters of each part of a search result: backends send whole paragraphs.
pub const SEARCH_EXCERPT_CHARS: usize = 1_000;

/// What a command of a hook may say; the rest is dropped. Bytes; a decision is short.
pub const HOOK_OUTPUT_BYTES: usize = 64 * 1024;

/// A session's log of `hooks-logging`, before it is set aside for the next. Bytes; there are at most two.
pub const SESSION_LOG_BYTES: u64 = 10 * 1024 * 1024;

/// Tokens of a reply that a budget sets aside when neither the mount plan nor the protocol says how long one may be: more
/// than the default of any server that is known.
pub const UNSAID_OUTPUT: u64 = 32_768;
/// Lines shown before, and after, a match at most; more of a file is read with `read_file`.
pub const SEARCH_CONTEXT_LINES: usize = 50;

/// Files or counts that `grep` shows when a call does not say how many.
pub const SEARCH_FILES: usize = 200;

/// Matches that `grep` shows when a call does not say how many.
pub const SEARCH_MATCHES: usize = 500;

/// Paths that `glob` shows.
pub const GLOB_PATHS: usize = 500;

/// How long one search may take when nothing else is said.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Deepest folder a search goes into: deeper is a mistake or an attack, and each level holds a folder open.
pub const SEARCH_DEPTH: usize = 64;

/// Memory that one pattern of a search may be compiled to. Bytes; a pattern with huge repetitions must not fill memory.
pub const SEARCH_PATTERN_BYTES: usize = 4 * 1024 * 1024;

/// Largest ignore file that is read. Bytes; those written by hand have a few hundred lines.
pub const IGNORE_FILE_BYTES: u64 = 256 * 1024;

/// Steps of one session's own list: a longer plan is work for the queue, where others see it.
pub const TODO_STEPS: usize = 200;
