//! How much may happen at once, and whether each kind of dump fits into that.

use std::collections::BTreeMap;

use super::policies::PolicyTemplate;
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::{DestinationConfig, human, raw};
use crate::domain::manifest::Engine;
use crate::domain::memory::DumpMemory;
use crate::policy::Limits;

/// The limits. A dump for which there is no room at all is a mistake; that several have to wait for each other is none.
pub(super) fn limits(
    file: &raw::File,
    destination: Option<&DestinationConfig>,
    policies: &BTreeMap<String, PolicyTemplate>,
    diagnosis: &mut Diagnosis,
) -> Option<Limits> {
    let key = "limits.dump_memory";
    let memory = human::size_bytes(&file.limits.dump_memory);
    let dump_memory_bytes = diagnosis.parsed(key, memory, "write for example \"1GiB\"")?;
    for (name, policy) in policies {
        let (Some((_, settings)), Some(destination)) = (&policy.dump, destination) else { continue };
        let needed = DumpMemory {
            engine: settings.engine,
            jobs: settings.jobs,
            compression_level: settings.compression_level,
            parts_in_flight: destination.parts_in_flight,
            part_bytes: destination.part_size_bytes,
        };
        if needed.bytes() > dump_memory_bytes {
            let (policy, needed_mib) = (join("policies", name), needed.bytes().div_ceil(1 << 20));
            let fewer = match needed.engine {
                Engine::PgDump => String::new(),
                Engine::Parallel => format!("`{policy}.dump.jobs`, "),
            };
            let problem = format!(
                "`{}` is too little: a dump of `{policy}` takes {needed_mib} MiB for {} parts of {} MiB and its connections",
                file.limits.dump_memory,
                needed.parts(),
                needed.part_bytes >> 20,
            );
            let advice =
                format!("give it that much, or lower {fewer}`destination.parts_in_flight` or `destination.part_size`");
            diagnosis.report(key, problem, advice);
        }
    }
    Some(Limits { concurrent_runs: file.limits.concurrent_runs, dump_memory_bytes })
}
