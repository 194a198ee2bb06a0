//! Where the process starts.

fn main() -> std::process::ExitCode {
    runner::cli::main()
}
