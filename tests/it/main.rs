//! The integration tests, in one binary so that they are linked once: the shape of the sources, the command line as users
//! meet it, the samples, and the README's promises.

mod cli;
mod readme;
mod samples;
mod source;
mod tidy;
