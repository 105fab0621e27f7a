//! The builder: a Dockerfile and a context become an image.
//!
//! `dockerfile` reads the file, `plan` finds the stages that are needed, `ignore` thins the context, `run` and `transfer`
//! carry instructions out, `cache` remembers what came of them. Untrusted bytes (the context, layers, trees) are read by
//! workers only; `RUN` is a container like any other, with the same judgement, limits and network.

pub mod dockerfile;
