//! Who made an object and keeps it as it is: the controller at the top.

use serde_json::{Value, json};

use super::client::Cluster;
use super::error::Error;
use super::name::At;
use super::objects::text;

/// No chain of controllers is longer.
const MOST: usize = 16;

impl Cluster {
    /// The controller at the top of an object: `{name, kind, api_version, namespace, uid, scales, chain}`; `None` if it
    /// has none. `chain` has the names from the object's own controller upwards. A controller that is gone, or another
    /// one of its name, ends the chain.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn owner_of(&self, object: &Value) -> Result<Option<Value>, Error> {
        let namespace = object["metadata"]["namespace"].as_str();
        let (mut at, mut found, mut chain) = (object.clone(), None, Vec::new());
        while let Some(reference) = controller(&at).filter(|_| chain.len() < MOST) {
            let kind = self.kind_of(text(&reference["apiVersion"]), text(&reference["kind"])).await?;
            // What is in no namespace may own what is in one, and never the other way round.
            let namespace = namespace.filter(|_| kind.namespaced).map(str::to_owned);
            let place = At { kind, namespace, name: text(&reference["name"]).to_owned() };
            let Some(owner) = self.get(&place).await?.filter(|owner| owner["metadata"]["uid"] == reference["uid"])
            else {
                break;
            };
            chain.push(place.full());
            found = Some((place, owner["metadata"]["uid"].clone()));
            at = owner;
        }
        Ok(found.map(|(place, uid)| {
            json!({
                "name": place.full(), "kind": place.kind.kind, "api_version": place.kind.api_version(),
                "namespace": place.namespace, "uid": uid, "scales": place.kind.scales, "chain": chain,
            })
        }))
    }
}

/// The reference to what controls an object; others only mean that it goes with them.
fn controller(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"].as_array()?.iter().find(|reference| reference["controller"] == true)
}
