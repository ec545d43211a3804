//! What a pod says of itself, in words for the record of a run.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// Longest text of the cluster that is kept.
const WORDS_MAX: usize = 500;

/// The newest of a Job's pods.
pub(super) fn newest(pods: Vec<Pod>) -> Option<Pod> {
    pods.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0))
}

/// Whether its process has begun, and perhaps ended.
pub(super) fn has_begun(pod: &Pod) -> bool {
    containers(pod)
        .iter()
        .any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some()))
}

/// Why its process has not begun.
pub(super) fn waits_for(pod: &Pod) -> String {
    let waiting = containers(pod).iter().find_map(|status| status.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting {
        return words(waiting.reason.as_deref(), waiting.message.as_deref());
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unscheduled = conditions.iter().find(|own| own.type_ == "PodScheduled" && own.status == "False");
    match unscheduled {
        Some(own) => words(own.reason.as_deref(), own.message.as_deref()),
        None => "its pod has not begun".to_owned(),
    }
}

/// How it ended; `None` where it does not say.
pub(super) fn end(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if status.reason.is_some() {
        return Some(words(status.reason.as_deref(), status.message.as_deref()));
    }
    let terminated = containers(pod).iter().find_map(|status| status.state.as_ref()?.terminated.as_ref())?;
    Some(of_process(terminated))
}

fn of_process(terminated: &ContainerStateTerminated) -> String {
    let code = format!("exit code {}", terminated.exit_code);
    match terminated.reason.as_deref() {
        None | Some("" | "Error" | "Completed") => code,
        Some(reason) => format!("{reason}, {code}"),
    }
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

fn words(reason: Option<&str>, message: Option<&str>) -> String {
    let all: Vec<&str> = [reason, message].into_iter().flatten().filter(|words| !words.is_empty()).collect();
    all.join(": ").chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap()
    }

    fn container(state: Value) -> Value {
        json!([{
            "name": "strongroom", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }])
    }

    #[test]
    fn a_pod_that_waits_says_for_what() {
        let waits = |status: Value| waits_for(&pod(status));
        let unscheduled = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available" },
        ] });
        assert_eq!(waits(unscheduled), "Unschedulable: 0/3 nodes are available");
        let unpulled = json!({ "containerStatuses": container(json!({ "waiting": { "reason": "ImagePullBackOff", "message": "m" } })) });
        assert!(!has_begun(&pod(unpulled.clone())));
        assert_eq!(waits(unpulled), "ImagePullBackOff: m");
        assert_eq!(waits(json!({})), "its pod has not begun");
    }

    #[test]
    fn a_pod_that_has_ended_says_how() {
        let ended = |status: Value| end(&pod(status));
        let killed = json!({ "containerStatuses": container(json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } })) });
        assert!(has_begun(&pod(killed.clone())));
        assert_eq!(ended(killed).as_deref(), Some("OOMKilled, exit code 137"));
        let failed =
            json!({ "containerStatuses": container(json!({ "terminated": { "exitCode": 1, "reason": "Error" } })) });
        assert_eq!(ended(failed).as_deref(), Some("exit code 1"));
        let evicted = json!({ "reason": "Evicted", "message": "the node was low on memory" });
        assert_eq!(ended(evicted).as_deref(), Some("Evicted: the node was low on memory"));
        assert_eq!(ended(json!({})), None);
    }
}
