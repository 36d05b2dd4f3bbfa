//! What is waited for, and how an object stands to it.

use serde_json::Value;

use super::objects::text;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// It is there.
    Exists,
    /// It is not there any more, or another one of its name is.
    Gone,
    /// It does what its kind is for.
    Ready,
    /// A condition of its status has a value.
    Condition(String, String),
}

/// How far an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has come.
    Come,
    /// Not yet: how it is now.
    Waiting(String),
    /// It never will: why.
    Never(String),
}

impl Until {
    /// `exists`, `gone`, `ready`, `condition=NAME` or `condition=NAME=VALUE`, as for kubectl wait.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "exists" => Some(Self::Exists),
            "gone" => Some(Self::Gone),
            "ready" => Some(Self::Ready),
            _ => {
                let rest = text.strip_prefix("condition=")?;
                let (name, value) = rest.split_once('=').unwrap_or((rest, "True"));
                (!name.is_empty() && !value.is_empty()).then(|| Self::Condition(name.to_owned(), value.to_owned()))
            }
        }
    }

    /// What it is waited to be: `was not WORDS`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Exists => "there".to_owned(),
            Self::Gone => "gone".to_owned(),
            Self::Ready => "ready".to_owned(),
            Self::Condition(name, value) if value == "True" => name.clone(),
            Self::Condition(name, value) => format!("{name}={value}"),
        }
    }

    /// How an object stands to it; `None`: there is none. `uid` is that of the object that is to go.
    #[must_use]
    pub fn of(&self, object: Option<&Value>, uid: Option<&str>) -> State {
        let missing = || State::Waiting("there is none".to_owned());
        match (self, object) {
            (Self::Exists, Some(_)) | (Self::Gone, None) => State::Come,
            (Self::Gone, Some(object)) => gone(object, uid),
            (_, None) => missing(),
            (Self::Ready, Some(object)) => ready(object),
            (Self::Condition(name, value), Some(object)) => match condition(object, name) {
                Some(found) if text(&found["status"]).eq_ignore_ascii_case(value) => State::Come,
                Some(found) => State::Waiting(told(found)),
                None => State::Waiting(format!("it has no condition {name}")),
            },
        }
    }
}

fn gone(object: &Value, uid: Option<&str>) -> State {
    let meta = &object["metadata"];
    if uid.is_some_and(|uid| meta["uid"] != uid) {
        return State::Come;
    }
    State::Waiting(if meta["deletionTimestamp"].is_null() {
        "nobody has deleted it".to_owned()
    } else {
        let held: Vec<_> = meta["finalizers"].as_array().into_iter().flatten().map(text).collect();
        if held.is_empty() { "it is being deleted".to_owned() } else { format!("it is held by {}", held.join(", ")) }
    })
}

/// A condition of an object's status.
fn condition<'o>(object: &'o Value, name: &str) -> Option<&'o Value> {
    let all = object["status"]["conditions"].as_array()?;
    all.iter().find(|condition| text(&condition["type"]).eq_ignore_ascii_case(name))
}

/// A condition in words: `Ready=False, ContainersNotReady: …`.
fn told(condition: &Value) -> String {
    let mut out = format!("{}={}", text(&condition["type"]), text(&condition["status"]));
    for (key, before) in [("reason", ", "), ("message", ": ")] {
        match text(&condition[key]) {
            "" => {}
            said => out += &format!("{before}{said}"),
        }
    }
    out
}

fn ready(object: &Value) -> State {
    let (spec, status) = (&object["spec"], &object["status"]);
    let phase = text(&status["phase"]);
    match text(&object["kind"]) {
        "Pod" => pod(object, phase),
        "PersistentVolumeClaim" => match phase {
            "Bound" => State::Come,
            "Lost" => State::Never("its volume is lost".to_owned()),
            _ => State::Waiting(format!("it is {phase}")),
        },
        "Job" => match condition(object, "Failed").filter(|failed| failed["status"] == "True") {
            Some(failed) => State::Never(told(failed)),
            None => by_condition(object, &["Complete"]),
        },
        "Deployment" => {
            let stuck = condition(object, "Progressing").filter(|found| found["reason"] == "ProgressDeadlineExceeded");
            match stuck {
                Some(stuck) => State::Never(told(stuck)),
                None => counted(object, wanted(spec), &["replicas", "updatedReplicas", "availableReplicas"]),
            }
        }
        "StatefulSet" => {
            let partly = !spec["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or(0).eq(&0)
                || spec["updateStrategy"]["type"] == "OnDelete";
            let counts: &[&str] =
                if partly { &["replicas", "readyReplicas"] } else { &["replicas", "readyReplicas", "updatedReplicas"] };
            counted(object, wanted(spec), counts)
        }
        "ReplicaSet" | "ReplicationController" => counted(object, wanted(spec), &["replicas", "readyReplicas"]),
        "DaemonSet" => {
            let wanted = status["desiredNumberScheduled"].as_u64().unwrap_or(0);
            counted(object, wanted, &["updatedNumberScheduled", "numberAvailable"])
        }
        _ => by_condition(object, &["Ready", "Available"]),
    }
}

fn wanted(spec: &Value) -> u64 {
    spec["replicas"].as_u64().unwrap_or(1)
}

fn pod(object: &Value, phase: &str) -> State {
    let status = &object["status"];
    match phase {
        "Failed" => State::Never(format!("it has failed{}", reasons(status))),
        "Succeeded" => State::Never("it has ended".to_owned()),
        _ if !object["metadata"]["deletionTimestamp"].is_null() => State::Never("it is being deleted".to_owned()),
        _ => match by_condition(object, &["Ready"]) {
            State::Waiting(_) => State::Waiting(format!("it is {phase}{}", reasons(status))),
            come => come,
        },
    }
}

/// Why a pod is as it is: what it says of itself, what it says of its place, and what its containers wait for.
fn reasons(status: &Value) -> String {
    let mut out = Vec::new();
    let scheduled = status["conditions"].as_array().into_iter().flatten();
    let unplaced = scheduled.filter(|found| found["type"] == "PodScheduled" && found["status"] == "False");
    for place in unplaced.chain([status]) {
        match (text(&place["reason"]), text(&place["message"])) {
            ("", "") => {}
            (reason, message) => out.push(format!("{reason}: {message}").trim_matches([':', ' ']).to_owned()),
        }
    }
    for list in ["initContainerStatuses", "containerStatuses"] {
        for container in status[list].as_array().into_iter().flatten() {
            for kind in ["waiting", "terminated"] {
                let state = &container["state"][kind];
                let reason = text(&state["reason"]);
                // What is meant to end has ended, and what waits for others is no reason.
                if matches!(reason, "" | "Completed" | "PodInitializing" | "ContainerCreating") {
                    continue;
                }
                let mut line = format!("container {}: {reason}", text(&container["name"]));
                match (text(&state["message"]), state["exitCode"].as_i64()) {
                    ("", Some(code)) => line += &format!(" with code {code}"),
                    ("", None) => {}
                    (message, _) => line += &format!(": {message}"),
                }
                out.push(line);
            }
        }
    }
    out.iter().map(|line| format!("; {line}")).collect()
}

/// By the first of these conditions that it has.
fn by_condition(object: &Value, names: &[&str]) -> State {
    match names.iter().find_map(|name| condition(object, name)) {
        Some(found) if found["status"] == "True" => State::Come,
        Some(found) => State::Waiting(told(found)),
        None => State::Waiting(format!("it has no condition {}", names.join(" or "))),
    }
}

/// By numbers of its status that must all be `wanted`, in the state its controller has seen.
fn counted(object: &Value, wanted: u64, counts: &[&str]) -> State {
    let status = &object["status"];
    let seen = status["observedGeneration"].as_u64().unwrap_or(0);
    if seen < object["metadata"]["generation"].as_u64().unwrap_or(0) {
        return State::Waiting("its controller has not seen the last change".to_owned());
    }
    let missing = counts.iter().find_map(|name| {
        let count = status[name].as_u64().unwrap_or(0);
        (count != wanted).then(|| format!("{name} is {count} of {wanted}"))
    });
    missing.map_or(State::Come, State::Waiting)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn waiting(words: &str) -> State {
        State::Waiting(words.to_owned())
    }

    #[test]
    fn what_is_waited_for_is_written_as_for_kubectl() {
        let condition = |name: &str, value: &str| Some(Until::Condition(name.into(), value.into()));
        assert_eq!(Until::parse("ready"), Some(Until::Ready));
        assert_eq!(Until::parse("condition=Ready"), condition("Ready", "True"));
        assert_eq!(Until::parse("condition=Ready=false"), condition("Ready", "false"));
        for bad in ["", "Ready", "condition=", "condition=x=", "delete"] {
            assert_eq!(Until::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn another_object_of_the_name_means_that_the_first_is_gone() {
        let object = json!({ "metadata": { "uid": "1", "deletionTimestamp": "x", "finalizers": ["a/b"] } });
        assert_eq!(Until::Gone.of(Some(&object), Some("1")), waiting("it is held by a/b"));
        assert_eq!(Until::Gone.of(Some(&object), Some("2")), State::Come);
        assert_eq!(Until::Gone.of(None, Some("1")), State::Come);
        assert_eq!(Until::Gone.of(Some(&json!({ "metadata": {} })), None), waiting("nobody has deleted it"));
        assert_eq!(Until::Exists.of(None, None), waiting("there is none"));
    }

    #[test]
    fn a_workload_is_ready_when_its_controller_has_seen_it_and_the_counts_agree() {
        let deployment = |seen: u64, available: u64| {
            json!({
                "kind": "Deployment", "metadata": { "generation": 3 }, "spec": { "replicas": 2 },
                "status": { "observedGeneration": seen, "replicas": 2, "updatedReplicas": 2, "availableReplicas": available },
            })
        };
        assert_eq!(Until::Ready.of(Some(&deployment(3, 2)), None), State::Come);
        assert_eq!(Until::Ready.of(Some(&deployment(3, 1)), None), waiting("availableReplicas is 1 of 2"));
        assert!(
            matches!(Until::Ready.of(Some(&deployment(2, 2)), None), State::Waiting(why) if why.contains("last change"))
        );
        let stopped =
            json!({ "kind": "StatefulSet", "metadata": {}, "spec": { "replicas": 0 }, "status": { "replicas": 0 } });
        assert_eq!(ready(&stopped), State::Come);
        let none = json!({ "kind": "DaemonSet", "metadata": { "generation": 1 }, "status": {} });
        assert!(matches!(ready(&none), State::Waiting(_)));
    }

    #[test]
    fn what_never_comes_is_known() {
        let of = |object: Value| Until::Ready.of(Some(&object), None);
        let job = json!({ "kind": "Job", "status": { "conditions": [{ "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded" }] } });
        assert_eq!(of(job), State::Never("Failed=True, BackoffLimitExceeded".into()));
        assert!(
            matches!(of(json!({ "kind": "Pod", "metadata": {}, "status": { "phase": "Failed", "reason": "Evicted" } })), State::Never(why) if why == "it has failed; Evicted")
        );
        assert!(matches!(
            of(json!({ "kind": "PersistentVolumeClaim", "status": { "phase": "Lost" } })),
            State::Never(_)
        ));
        assert_eq!(
            of(json!({ "kind": "PersistentVolumeClaim", "status": { "phase": "Pending" } })),
            waiting("it is Pending")
        );
    }

    #[test]
    fn a_pod_says_what_it_waits_for() {
        let pod = json!({ "kind": "Pod", "metadata": {}, "status": {
            "phase": "Pending",
            "conditions": [{ "type": "Ready", "status": "False" }],
            "containerStatuses": [{ "name": "main", "state": { "waiting": { "reason": "ErrImagePull", "message": "no such image" } } }],
        } });
        assert_eq!(
            Until::Ready.of(Some(&pod), None),
            waiting("it is Pending; container main: ErrImagePull: no such image")
        );
        let condition = Until::parse("condition=Ready").unwrap();
        assert_eq!(condition.of(Some(&pod), None), waiting("Ready=False"));
        assert_eq!(Until::parse("condition=ready=false").unwrap().of(Some(&pod), None), State::Come);
    }
}
