//! Jobs (`batch/v1`), made from the template of a CronJob as `kubectl create job --from=cronjob/…` makes them.
//!
//! What is copied is copied as JSON: fields that this client does not know come along, and the API server checks all of them.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::core::{GroupVersionKind, Request};
use serde_json::{Value, json};

use super::connection::Connection;
use super::{FIELD_MANAGER, pods, port_error};
use crate::domain::id::RunId;
use crate::domain::job::{JobId, JobName, JobState};
use crate::ports::jobs::{JobOrder, Jobs};
use crate::ports::{ErrorKind, PortError};

/// The container that makes dumps; others of the template are left as they are.
const CONTAINER: &str = "strongroom";
/// Says for which run a Job was made.
const RUN: &str = "strongroom/run";
/// Says by which installation.
const INSTALLATION: &str = "strongroom/installation";
/// For how long a Job that has ended can be looked at: a day, for whoever comes in the morning. Then the cluster deletes it
/// (Kubernetes, TTL after finished).
const KEPT_FOR_S: u32 = 24 * 60 * 60;

/// What a template may say of several attempts, or of several pods at once.
const SEVERAL_ATTEMPTS: [&str; 6] =
    ["podFailurePolicy", "backoffLimitPerIndex", "maxFailedIndexes", "completionMode", "selector", "manualSelector"];

/// Jobs in the namespace of the connection.
#[derive(Debug)]
pub struct KubernetesJobs {
    connection: Arc<Connection>,
}

impl KubernetesJobs {
    /// Nothing is asked of the cluster yet.
    #[must_use]
    pub fn new(connection: Arc<Connection>) -> KubernetesJobs {
        KubernetesJobs { connection }
    }

    async fn get(&self, name: &JobName) -> Result<Option<DynamicObject>, PortError> {
        let jobs = resources(&self.connection.client().await?, "Job");
        let found = jobs.get_opt(name.as_str()).await;
        found.map_err(|error| port_error(format!("read Job {name}"), error))
    }

    async fn ask_for(&self, order: &JobOrder, params: PostParams) -> Result<Value, PortError> {
        let client = self.connection.client().await?;
        let template = resources(&client, "CronJob").get(&order.template).await;
        let template = template.map_err(|error| port_error(format!("read CronJob {}", order.template), error))?;
        let job = job_of(order, &template).ok_or_else(|| {
            let missing = format!("it has no container called `{CONTAINER}`");
            PortError::new(making(order), ErrorKind::Invalid).because(missing)
        })?;
        create(&client, &job, &params).await.map_err(|error| port_error(making(order), error))
    }

    async fn pods(&self, job: &JobId) -> Result<Vec<Pod>, PortError> {
        let pods: Api<Pod> = Api::default_namespaced(self.connection.client().await?);
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", job.name));
        let listed = pods.list(&of_job).await;
        Ok(listed.map_err(|error| port_error(format!("list the pods of Job {}", job.name), error))?.items)
    }
}

fn resources(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("batch", "v1", kind));
    Api::default_namespaced_with(client.clone(), &resource)
}

#[async_trait]
impl Jobs for KubernetesJobs {
    async fn begin(&self, order: &JobOrder) -> Result<JobId, PortError> {
        match self.ask_for(order, made()).await {
            Ok(created) => id(&order.name, created.pointer("/metadata/uid").and_then(Value::as_str)),
            // It was made before, or the answer of our own call was lost.
            Err(error) if error.kind() == ErrorKind::Conflict => match self.get(&order.name).await? {
                Some(found) if is_of(&found, order) => id(&order.name, found.metadata.uid.as_deref()),
                Some(_) => Err(PortError::new(making(order), ErrorKind::WrongState)
                    .because("a Job of that name is there, and was not made for this run: delete it")),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn try_out(&self, order: &JobOrder) -> Result<(), PortError> {
        self.ask_for(order, tried()).await.map(drop)
    }

    async fn find(&self, name: &JobName, run: &RunId) -> Result<Option<JobId>, PortError> {
        match self.get(name).await? {
            Some(found) if annotation(&found, RUN) == Some(&run.to_string()) => {
                id(name, found.metadata.uid.as_deref()).map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }

    async fn look(&self, job: &JobId) -> Result<JobState, PortError> {
        let found = self.get(&job.name).await?;
        let found = found.filter(|found| found.metadata.uid.as_ref() == Some(&job.uid));
        let own = self.pods(job).await?;
        // A Job that is deleted, or past its deadline before Kubernetes 1.31, is over before its process is.
        if own.iter().any(|pod| pods::is_alive(pod, CONTAINER) && pods::has_begun(pod, CONTAINER)) {
            return Ok(JobState::Running);
        }
        let Some(found) = found else { return Ok(JobState::Missing) };
        let seen = pods::newest(own);
        let end = seen.as_ref().and_then(|pod| pods::end(pod, CONTAINER));
        let pod = end.map(|words| format!("; its pod: {words}")).unwrap_or_default();
        if let Some(end) = ended(&found.data) {
            return Ok(JobState::Ended { reason: format!("{end}{pod}") });
        }
        Ok(match seen {
            // Others of its pod may go on: they make no dump.
            Some(own) if pods::has_begun(&own, CONTAINER) => {
                JobState::Ended { reason: format!("its process has ended{pod}") }
            }
            Some(own) => JobState::Waiting { reason: pods::waits_for(&own, CONTAINER) },
            None => {
                JobState::Waiting { reason: "no pod has been made for it: `kubectl describe job` says why".to_owned() }
            }
        })
    }

    async fn remove(&self, job: &JobId) -> Result<(), PortError> {
        let jobs = resources(&self.connection.client().await?, "Job");
        // Only this very one; and its pods with it, which a Job deleted without a word would leave (Kubernetes, batch/v1).
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: Some(job.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match jobs.delete(job.name.as_str(), &params).await {
            Ok(_) => Ok(()),
            Err(error) => match port_error(format!("delete Job {}", job.name), error) {
                // Gone, or another one by now.
                error if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => Ok(()),
                error => Err(error),
            },
        }
    }
}

fn made() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// The API server's own dry run: nobody else knows its rules of admission.
fn tried() -> PostParams {
    PostParams { dry_run: true, ..made() }
}

fn making(order: &JobOrder) -> String {
    format!("make Job {} from CronJob {}", order.name, order.template)
}

/// Creates a Job; fields that the API server does not know are an error rather than dropped.
async fn create(client: &Client, job: &Value, params: &PostParams) -> Result<Value, kube::Error> {
    let namespace = client.default_namespace();
    let body = serde_json::to_vec(job).map_err(kube::Error::SerdeError)?;
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let mut request = Request::new(path).create(params, body).map_err(kube::Error::BuildRequest)?;
    if let Ok(strict) = format!("{}&fieldValidation=Strict", request.uri()).parse() {
        *request.uri_mut() = strict;
    }
    client.request(request).await
}

fn id(name: &JobName, uid: Option<&str>) -> Result<JobId, PortError> {
    let missing = || PortError::new(format!("read Job {name}"), ErrorKind::Other).because("the cluster gave it no uid");
    Ok(JobId { name: name.clone(), uid: uid.ok_or_else(missing)?.to_owned() })
}

fn annotation<'a>(found: &'a DynamicObject, name: &str) -> Option<&'a String> {
    found.metadata.annotations.as_ref()?.get(name)
}

fn is_of(found: &DynamicObject, order: &JobOrder) -> bool {
    annotation(found, RUN) == Some(&order.run.to_string())
        && annotation(found, INSTALLATION) == Some(&order.installation.to_string())
}

/// The Job; `None` if the template has no container of ours.
fn job_of(order: &JobOrder, template: &DynamicObject) -> Option<Value> {
    let wanted = template.data.pointer("/spec/jobTemplate")?;
    let mut spec = wanted.get("spec")?.clone();
    let containers = spec.pointer_mut("/template/spec/containers")?.as_array_mut()?;
    let own =
        containers.iter_mut().find(|container| container.get("name").and_then(Value::as_str) == Some(CONTAINER))?;
    let mut args = own.get("args").and_then(Value::as_array).cloned().unwrap_or_default();
    args.extend(order.arguments.iter().map(|word| json!(word)));
    own["args"] = Value::Array(args);
    // Where it ends before it could write a record, its last words are all that there is.
    own["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    // One attempt: whether there is another one, and when, is decided from the records.
    for key in SEVERAL_ATTEMPTS {
        spec.as_object_mut()?.remove(key);
    }
    spec["backoffLimit"] = json!(0);
    spec["parallelism"] = json!(1);
    spec["completions"] = json!(1);
    spec["suspend"] = json!(false);
    spec["activeDeadlineSeconds"] = json!(order.deadline_seconds);
    spec["ttlSecondsAfterFinished"] = json!(KEPT_FOR_S);
    spec["template"]["spec"]["restartPolicy"] = json!("Never");
    let mut meta = json!({ "name": order.name.as_str() });
    for (kind, own) in [
        ("labels", json!({ "app.kubernetes.io/managed-by": "strongroom", "strongroom/source": order.source.as_str() })),
        ("annotations", json!({ RUN: order.run.to_string(), INSTALLATION: order.installation.to_string() })),
    ] {
        let mut all =
            wanted.pointer(&format!("/metadata/{kind}")).and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(own.as_object().cloned().unwrap_or_default());
        meta[kind] = Value::Object(all);
    }
    // It goes with the template, but is not controlled by it: a CronJob deletes the failed Jobs that it controls.
    meta["ownerReferences"] = json!([{
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": order.template,
        "uid": template.metadata.uid.clone()?,
    }]);
    Some(json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec }))
}

/// What the cluster says of the end of a Job whose pods have ended; `None` before that. `FailureTarget` and
/// `SuccessCriteriaMet` come earlier, while processes may still run (Kubernetes, Jobs, terminal conditions).
fn ended(job: &Value) -> Option<String> {
    let conditions = job.pointer("/status/conditions")?.as_array()?;
    let text = |condition: &Value, key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let holds = |condition: &&Value| text(condition, "status") == "True";
    let last =
        conditions.iter().filter(holds).find(|own| matches!(text(own, "type").as_str(), "Complete" | "Failed"))?;
    if text(last, "type") == "Complete" {
        return Some("its process ended as if all were done".to_owned());
    }
    Some(format!("{}: {}", text(last, "reason"), text(last, "message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> JobOrder {
        let (source, run): (_, RunId) = ("ledger".parse().unwrap(), "20261101t040000z-dump-ledger-1".parse().unwrap());
        let installation = "bank-prod".parse().unwrap();
        JobOrder {
            name: JobName::of(&installation, &source, &run),
            template: "strongroom-dump".to_owned(),
            installation,
            source,
            run,
            arguments: ["backup", "dump", "ledger"].map(str::to_owned).to_vec(),
            deadline_seconds: 60,
        }
    }

    fn template(containers: Value) -> DynamicObject {
        let spec = json!({ "jobTemplate": {
            "metadata": { "labels": { "team": "platform" } },
            "spec": { "template": { "spec": { "fieldOfTomorrow": 1, "containers": containers } } },
        } });
        serde_json::from_value(json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "strongroom-dump", "uid": "u-1" }, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_job_is_the_template_with_what_it_has_to_do() {
        let containers =
            json!([{ "name": "proxy", "args": ["x"] }, { "name": "strongroom", "args": ["--log-format", "json"] }]);
        let job = job_of(&order(), &template(containers)).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&job).unwrap());
    }

    #[test]
    fn a_template_without_our_container_makes_none() {
        assert_eq!(job_of(&order(), &template(json!([{ "name": "backup" }]))), None);
    }

    #[test]
    fn a_job_has_ended_only_when_its_pods_have() {
        let job = |conditions: Value| json!({ "status": { "conditions": conditions } });
        assert_eq!(ended(&json!({})), None);
        assert_eq!(ended(&job(json!([{ "type": "FailureTarget", "status": "True" }]))), None);
        let failed = job(json!([
            { "type": "FailureTarget", "status": "True", "reason": "x", "message": "y" },
            { "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long" },
        ]));
        assert_eq!(ended(&failed).as_deref(), Some("DeadlineExceeded: too long"));
    }
}
