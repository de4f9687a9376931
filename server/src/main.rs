//! The binary `foretoken`.

fn main() {
    match foretoken_server::config::parse(std::env::args_os()) {
        Ok(_command) => {}
        Err(error) => error.exit(),
    }
}
