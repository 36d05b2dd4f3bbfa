//! What happened to an object, as the cluster tells it.

use serde_json::{Value, json};

use super::client::Cluster;
use super::error::Error;
use super::name::At;
use super::objects::{Select, text};

impl Cluster {
    /// The events of an object, oldest first: `{type, reason, message, count, last_at, from}` each. `uid`: of this object
    /// alone, and of none of its name before.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn events(&self, at: &At, uid: Option<&str>) -> Result<Vec<Value>, Error> {
        let mut fields = format!("involvedObject.kind={},involvedObject.name={}", at.kind.kind, at.name);
        if let Some(uid) = uid {
            fields += &format!(",involvedObject.uid={uid}");
        }
        // Those of what is in no namespace are in `default`.
        let namespace = Some(at.namespace.clone().unwrap_or_else(|| "default".to_owned()));
        let found = self.list("events.v1", &Select { namespace, fields, ..Select::default() }).await?;
        let mut all: Vec<Value> = found.iter().map(told).collect();
        all.sort_by(|a, b| text(&a["last_at"]).cmp(text(&b["last_at"])));
        Ok(all)
    }
}

fn told(event: &Value) -> Value {
    // Older components fill other fields than newer ones.
    let series = &event["series"];
    let times = [&series["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"], &event["firstTimestamp"]];
    let last = times.into_iter().map(text).find(|time| !time.is_empty()).unwrap_or_default();
    let from = [&event["source"]["component"], &event["reportingComponent"]];
    json!({
        "type": event["type"], "reason": event["reason"], "message": event["message"],
        "count": series["count"].as_u64().or(event["count"].as_u64()).unwrap_or(1),
        "last_at": last, "from": from.into_iter().map(text).find(|name| !name.is_empty()).unwrap_or_default(),
    })
}
