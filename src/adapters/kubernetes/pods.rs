//! What a pod says of itself, in words for the record of a run.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// Longest text of the cluster that is kept.
const WORDS_MAX: usize = 500;

/// The newest of a Job's pods.
pub(super) fn newest(pods: Vec<Pod>) -> Option<Pod> {
    pods.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0))
}

/// Whether a process of this container may still run.
pub(super) fn is_alive(pod: &Pod, container: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let state = own(pod, container).and_then(|status| status.state.as_ref());
    !matches!(phase, "Succeeded" | "Failed") && state.is_none_or(|state| state.terminated.is_none())
}

/// Whether the process of this container has begun, and perhaps ended.
pub(super) fn has_begun(pod: &Pod, container: &str) -> bool {
    let state = own(pod, container).and_then(|status| status.state.as_ref());
    state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// Why it has not begun.
pub(super) fn waits_for(pod: &Pod, container: &str) -> String {
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    // What runs before it holds it up; by itself it only says that it waits for that.
    let stuck = first.iter().chain(own(pod, container)).filter_map(|status| status.state.as_ref()?.waiting.as_ref());
    let mut stuck = stuck.filter(|waiting| waiting.reason.as_deref() != Some("PodInitializing"));
    if let Some(waiting) = stuck.next() {
        return words(waiting.reason.as_deref(), waiting.message.as_deref());
    }
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unscheduled = conditions.iter().find(|own| own.type_ == "PodScheduled" && own.status == "False");
    match unscheduled {
        Some(own) => words(own.reason.as_deref(), own.message.as_deref()),
        None => "its pod has not begun".to_owned(),
    }
}

/// How it ended; `None` where it does not say.
pub(super) fn end(pod: &Pod, container: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    if status.reason.is_some() {
        return Some(words(status.reason.as_deref(), status.message.as_deref()));
    }
    let terminated = own(pod, container)?.state.as_ref()?.terminated.as_ref()?;
    Some(of_process(terminated))
}

fn of_process(terminated: &ContainerStateTerminated) -> String {
    let code = format!("exit code {}", terminated.exit_code);
    let how = match terminated.reason.as_deref() {
        None | Some("" | "Error" | "Completed") => code,
        Some(reason) => format!("{reason}, {code}"),
    };
    // Its last words are at the end.
    let said = terminated.message.as_deref().unwrap_or_default().trim();
    let skipped = said.chars().count().saturating_sub(WORDS_MAX);
    let said: String = said.chars().skip(skipped).collect();
    if said.is_empty() { how } else { format!("{how}: {said}") }
}

fn own<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    statuses.iter().find(|status| status.name == container)
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
        let waits = |status: Value| waits_for(&pod(status), "strongroom");
        let unscheduled = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available" },
        ] });
        assert_eq!(waits(unscheduled), "Unschedulable: 0/3 nodes are available");
        let unpulled = json!({ "containerStatuses": container(json!({ "waiting": { "reason": "ImagePullBackOff", "message": "m" } })) });
        assert!(!has_begun(&pod(unpulled.clone()), "strongroom"));
        assert_eq!(waits(unpulled), "ImagePullBackOff: m");
        assert_eq!(waits(json!({})), "its pod has not begun");
    }

    #[test]
    fn what_else_is_in_a_pod_makes_no_dump() {
        let beside = |own: Value, other: Value| {
            let status = |name: &str, state: Value| json!({ "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state });
            pod(json!({ "phase": "Running", "containerStatuses": [status("proxy", other), status("strongroom", own)] }))
        };
        let running = json!({ "running": {} });
        let pulling = beside(json!({ "waiting": { "reason": "ImagePullBackOff" } }), running.clone());
        assert!(!has_begun(&pulling, "strongroom"));
        assert_eq!(waits_for(&pulling, "strongroom"), "ImagePullBackOff");
        let ended = beside(json!({ "terminated": { "exitCode": 2 } }), running);
        assert!(has_begun(&ended, "strongroom") && !is_alive(&ended, "strongroom"));
        assert_eq!(end(&ended, "strongroom").as_deref(), Some("exit code 2"));
    }

    #[test]
    fn a_pod_that_has_ended_says_how() {
        let ended = |status: Value| end(&pod(status), "strongroom");
        let killed = json!({ "containerStatuses": container(json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } })) });
        assert!(has_begun(&pod(killed.clone()), "strongroom"));
        assert_eq!(ended(killed).as_deref(), Some("OOMKilled, exit code 137"));
        let failed =
            json!({ "containerStatuses": container(json!({ "terminated": { "exitCode": 1, "reason": "Error" } })) });
        assert_eq!(ended(failed).as_deref(), Some("exit code 1"));
        let refused =
            json!({ "terminated": { "exitCode": 2, "reason": "Error", "message": "strongroom: no such key\n" } });
        let refused = json!({ "containerStatuses": container(refused) });
        assert_eq!(ended(refused).as_deref(), Some("exit code 2: strongroom: no such key"));
        let evicted = json!({ "reason": "Evicted", "message": "the node was low on memory" });
        assert_eq!(ended(evicted).as_deref(), Some("Evicted: the node was low on memory"));
        assert_eq!(ended(json!({})), None);
    }
}
