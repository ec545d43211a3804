//! The few answers of RDS, STS and Secrets Manager that a dump asks for, from a small JSON file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::uri::Query;
use crate::xml::{answer, element};

const RDS_NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";
const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// What the account holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    #[serde(default = "default_account_id")]
    account_id: String,
    #[serde(default = "default_region")]
    region: String,
    #[serde(default)]
    instances: Vec<Instance>,
    /// By name; each value is the secret's string, or an object that becomes one.
    #[serde(default)]
    secrets: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance {
    id: String,
    host: String,
    port: u16,
    engine_version: String,
    resource_id: String,
    #[serde(default = "default_database")]
    database: String,
}

fn default_account_id() -> String {
    "111122223333".to_owned()
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_database() -> String {
    "postgres".to_owned()
}

impl Default for Account {
    fn default() -> Self {
        Self {
            account_id: default_account_id(),
            region: default_region(),
            instances: Vec::new(),
            secrets: BTreeMap::new(),
        }
    }
}

impl Account {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} does not describe an account", path.display()))
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// The query protocol: RDS and STS.
    pub(crate) fn answer_query(&self, query: &Query) -> Response {
        let action = query.get("Action").unwrap_or_default();
        match action {
            "DescribeDBInstances" => self.describe_instances(query),
            "DescribeDBSnapshots" => result(action, RDS_NAMESPACE, "<DBSnapshots/>"),
            "DescribeEvents" => result(action, RDS_NAMESPACE, "<Events/>"),
            "ListTagsForResource" => result(action, RDS_NAMESPACE, "<TagList/>"),
            "GetCallerIdentity" => {
                let arn = format!("arn:aws:iam::{}:user/bench", self.account_id);
                let body = [element("Arn", &arn), element("UserId", "AIDABENCH"), element("Account", &self.account_id)];
                result(action, STS_NAMESPACE, &body.concat())
            }
            other => {
                refused(StatusCode::BAD_REQUEST, "InvalidAction", &format!("The null store does not have {other}."))
            }
        }
    }

    /// JSON 1.1: Secrets Manager.
    pub(crate) fn answer_json(&self, target: &str, body: &str) -> Response {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let id = body["SecretId"].as_str().unwrap_or_default();
        if target != "secretsmanager.GetSecretValue" {
            let message = format!("The null store does not have {target}.");
            return (
                StatusCode::BAD_REQUEST,
                Json(json!({ "__type": "UnknownOperationException", "message": message })),
            )
                .into_response();
        }
        let Some((name, secret)) =
            self.secrets.iter().find(|(name, _)| id == *name || id.ends_with(&format!(":secret:{name}")))
        else {
            let message = "Secrets Manager can't find the specified secret.";
            return (
                StatusCode::BAD_REQUEST,
                Json(json!({ "__type": "ResourceNotFoundException", "message": message })),
            )
                .into_response();
        };
        let text = secret.as_str().map_or_else(|| secret.to_string(), str::to_owned);
        Json(json!({
            "ARN": format!("arn:aws:secretsmanager:{}:{}:secret:{name}", self.region, self.account_id),
            "Name": name,
            "VersionId": "00000000-0000-4000-8000-000000000001",
            "VersionStages": ["AWSCURRENT"],
            "SecretString": text,
            "CreatedDate": 1_700_000_000,
        }))
        .into_response()
    }

    fn describe_instances(&self, query: &Query) -> Response {
        let filter = query.list("Filters.Filter.1.Values.");
        let asked = query.get("DBInstanceIdentifier").filter(|id| !id.is_empty());
        let matches = |instance: &&Instance| {
            asked.is_none_or(|id| id == instance.id)
                && (filter.is_empty()
                    || filter.contains(&instance.id.as_str())
                    || filter.contains(&instance.resource_id.as_str()))
        };
        let found: Vec<_> = self.instances.iter().filter(matches).collect();
        if let (Some(id), true) = (asked, found.is_empty()) {
            return refused(StatusCode::NOT_FOUND, "DBInstanceNotFound", &format!("DBInstance {id} not found."));
        }
        let instances: String = found.into_iter().map(|instance| self.instance(instance)).collect();
        result("DescribeDBInstances", RDS_NAMESPACE, &format!("<DBInstances>{instances}</DBInstances>"))
    }

    fn instance(&self, instance: &Instance) -> String {
        let arn = format!("arn:aws:rds:{}:{}:db:{}", self.region, self.account_id, instance.id);
        let endpoint = [element("Address", &instance.host), element("Port", &instance.port.to_string())].concat();
        let fields = [
            element("DBInstanceIdentifier", &instance.id),
            element("DbiResourceId", &instance.resource_id),
            element("DBInstanceArn", &arn),
            element("DBInstanceStatus", "available"),
            element("DBInstanceClass", "db.m7g.large"),
            element("Engine", "postgres"),
            element("EngineVersion", &instance.engine_version),
            element("DBName", &instance.database),
            element("MasterUsername", "postgres"),
            format!("<Endpoint>{endpoint}</Endpoint>"),
            element("AllocatedStorage", "100"),
            element("BackupRetentionPeriod", "7"),
            element("MultiAZ", "false"),
            element("StorageEncrypted", "true"),
            element("DeletionProtection", "true"),
            element("IAMDatabaseAuthenticationEnabled", "false"),
            element("InstanceCreateTime", "2024-01-01T00:00:00Z"),
            "<TagList/>".to_owned(),
        ];
        format!("<DBInstance>{}</DBInstance>", fields.concat())
    }
}

fn result(action: &str, namespace: &str, body: &str) -> Response {
    answer(&format!(
        "<{action}Response xmlns=\"{namespace}\"><{action}Result>{body}</{action}Result>\
         <ResponseMetadata><RequestId>null</RequestId></ResponseMetadata></{action}Response>"
    ))
}

fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    let error = ["<Type>Sender</Type>".to_owned(), element("Code", code), element("Message", message)].concat();
    let body = answer(&format!(
        "<ErrorResponse xmlns=\"{RDS_NAMESPACE}\"><Error>{error}</Error><RequestId>null</RequestId></ErrorResponse>"
    ));
    (status, body).into_response()
}
