//! The binary.

fn main() -> std::process::ExitCode {
    hookledger::cli::run()
}
