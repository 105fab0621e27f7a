//! The benchmark: Wharf beside its peers, in one run. What it measures comes with the modules beside it.

fn main() {
    eprintln!("nothing is measured yet");
}
