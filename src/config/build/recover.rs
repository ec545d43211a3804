//! Guided recovery: what is stopped, changed and started, and in which cluster.

use std::path::{Path, PathBuf};

use super::{DURATIONS, distinct};
use crate::config::diagnosis::Diagnosis;
use crate::config::raw::SwitchBy;
use crate::config::{JobsConfig, KubernetesConfig, human, raw};
use crate::domain::switch::{AddressKeys, KubernetesName, Switch};
use crate::policy::recover::RecoverPolicy;

/// As the secrets that RDS makes have it (AWS Secrets Manager user guide, JSON structure of secrets).
const DEFAULT_HOST_KEY: &str = "host";

/// What is said of a source.
pub(super) fn of_source(source_key: &str, given: &raw::Recover, diagnosis: &mut Diagnosis) -> RecoverPolicy {
    let key = format!("{source_key}.recover");
    let deployments = objects(&format!("{key}.deployments"), &given.deployments, diagnosis);
    let restarts = objects(&format!("{key}.restarts"), &given.restarts, diagnosis);
    if let Some(twice) = restarts.iter().find(|object| deployments.contains(object)) {
        let problem = format!("`{twice}` is among `deployments` too");
        diagnosis.report(&format!("{key}.restarts"), problem, "leave it out: it is started anew at the end anyway");
    }
    // What could not be read was reported: whatever stands here is not used.
    let switch = switch(&key, given, diagnosis).unwrap_or(Switch::Rename);
    RecoverPolicy { switch, deployments, restarts }
}

fn switch(key: &str, given: &raw::Recover, diagnosis: &mut Diagnosis) -> Option<Switch> {
    let secret_key = format!("{key}.secret");
    let unused = [
        ("secret", given.secret.is_some(), given.switch == SwitchBy::Rename),
        ("host_key", given.host_key.is_some(), given.switch == SwitchBy::Rename),
        ("port_key", given.port_key.is_some(), given.switch == SwitchBy::Rename),
        ("external_secrets", !given.external_secrets.is_empty(), given.switch != SwitchBy::SecretsManager),
    ];
    for (name, is_given, is_unused) in unused {
        if is_given && is_unused {
            let advice = "leave it out, or set `switch` to how applications learn the address";
            diagnosis.report(&format!("{key}.{name}"), "not used with this `switch`", advice);
        }
    }
    let host = given.host_key.clone().unwrap_or_else(|| DEFAULT_HOST_KEY.to_owned());
    let keys = AddressKeys { host, port: given.port_key.clone() };
    for (name, value) in [("host_key", Some(&keys.host)), ("port_key", keys.port.as_ref())] {
        if value.is_some_and(String::is_empty) {
            diagnosis.report(&format!("{key}.{name}"), "empty", "write the key, or leave it out");
        }
    }
    Some(match given.switch {
        SwitchBy::Rename => Switch::Rename,
        SwitchBy::KubernetesSecret => {
            let name = diagnosis.required(&secret_key, given.secret.as_ref(), "name the Secret as namespace/name")?;
            Switch::KubernetesSecret { secret: diagnosis.parsed(&secret_key, name.parse(), "")?, keys }
        }
        SwitchBy::SecretsManager => {
            let advice = "write the name or ARN of the secret that applications read";
            let secret = diagnosis.required(&secret_key, given.secret.as_ref(), advice)?.clone();
            let external = objects(&format!("{key}.external_secrets"), &given.external_secrets, diagnosis);
            Switch::SecretsManager { secret, keys, external_secrets: external }
        }
    })
}

fn objects(key: &str, given: &[String], diagnosis: &mut Diagnosis) -> Vec<KubernetesName> {
    distinct(key, given, "list each once", diagnosis)
}

/// The cluster, and how Jobs are made in it where dumps are made by Jobs.
pub(super) fn kubernetes(file: &raw::File, diagnosis: &mut Diagnosis) -> Option<KubernetesConfig> {
    let given = &file.kubernetes;
    let path = given.kubeconfig.as_ref().map(PathBuf::from);
    if path.as_deref().is_some_and(Path::is_relative) {
        diagnosis.report("kubernetes.kubeconfig", "not an absolute path", "write the whole path of the file");
    }
    if given.context.is_some() && path.is_none() {
        diagnosis.report(
            "kubernetes.context",
            "a context is in a `kubeconfig`",
            "name that file, too, or leave it out",
        );
    }
    let template = object_name("kubernetes.job_template", Some(&given.job_template), diagnosis);
    let key = "kubernetes.job_start_deadline";
    let start_deadline = diagnosis.parsed(key, human::positive_duration(&given.job_start_deadline), DURATIONS);
    let jobs = JobsConfig { template: template??, start_deadline: start_deadline?.unsigned_abs() };
    let by_jobs = file.daemon.executor == raw::ExecutorKind::Kubernetes;
    Some(KubernetesConfig { kubeconfig: path, context: given.context.clone(), jobs: by_jobs.then_some(jobs) })
}

/// The name of an object of the cluster; `None` where it cannot be one.
pub(super) fn object_name(key: &str, given: Option<&String>, diagnosis: &mut Diagnosis) -> Option<Option<String>> {
    let Some(name) = given else { return Some(None) };
    // A DNS label, which is what CronJobs may be called at most (Kubernetes, Names; CronJob: 52 characters).
    const LENGTH_MAX: usize = 52;
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let ends = |letter: Option<char>| letter.is_some_and(|letter| letter != '-');
    let good =
        name.len() <= LENGTH_MAX && name.chars().all(fits) && ends(name.chars().next()) && ends(name.chars().last());
    if !good {
        let advice =
            "use 1 to 52 of a-z, 0-9 and hyphens, without one at the ends; the namespace is the one strongroom runs in";
        diagnosis.report(key, format!("`{name}` is not the name of a CronJob"), advice);
        return None;
    }
    Some(Some(name.clone()))
}
