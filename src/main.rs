//! Arguments to exit code, nothing else.

fn main() -> std::process::ExitCode {
    haishin::cli::main()
}
