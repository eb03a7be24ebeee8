//! The OpenAPI document: the API's own paths, and those of the active definitions' triggers.

use axum::Json;
use axum::extract::State;
use saga_core::Definition;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{
    Api, account, act, approvals, audit, authoring, can, care, definitions, find, holds, jobs, keys, labels,
    letters, live, ops, overview, queues, reconciliation, replay, retention, sagas, start, triggers, what_if,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Amends",
        description = "A saga orchestration engine. Errors are RFC 9457 problems that say what to do; instants are RFC 3339; amounts are in the currency's smallest unit.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        start::by_name, find::list, sagas::one, sagas::history, sagas::ignored, act::signal, act::act,
        find::counts, labels::list, overview::overview, overview::workers, queues::parked, queues::failures, queues::failure,
        letters::anomalies, letters::resolve, letters::list, letters::one, letters::resend, letters::discard,
        care::add_note, care::set_owner, care::filters, care::save_filter, care::drop_filter,
        can::actions, replay::plan, replay::start, approvals::list, approvals::decide, jobs::making::preview, jobs::making::make,
        jobs::reading::list, jobs::reading::one, jobs::reading::items, jobs::steering::pause, jobs::steering::resume, jobs::steering::cancel, jobs::steering::approve, what_if::what_if,
        reconciliation::get, reconciliation::run, reconciliation::settle, retention::get, retention::set, retention::erase, holds::list, holds::set, holds::release,
        audit::list, audit::export, live::live,
        account::config, account::me, keys::list, keys::make, keys::revoke,
        definitions::list, definitions::one, definitions::publish, definitions::promote, definitions::withdraw,
        authoring::check, authoring::prove, authoring::simulate, authoring::scenarios,
        ops::healthz, ops::readyz, ops::metrics, document,
    ),
    tags(
        (name = "sagas", description = "Start, read and signal sagas"),
        (name = "triggers", description = "The definitions' own routes"),
        (name = "operators", description = "What humans do to sagas"),
        (name = "definitions", description = "Which sagas there can be"),
        (name = "account", description = "Who asks, and API keys"),
        (name = "operation", description = "Probes, metrics and this document"),
    )
)]
struct Document;

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "operation",
    responses((status = 200, description = "OpenAPI", body = serde_json::Value))
)]
pub async fn document(State(api): State<Api>) -> Json<Value> {
    let active = api.engine().definitions.all_active();
    Json(build(active.iter().map(|it| &it.definition)))
}

/// The document with these definitions' triggers.
pub fn build<'a>(active: impl Iterator<Item = &'a Definition>) -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let generic = document["paths"]["/sagas/{id}"]["post"].clone();
    for definition in active {
        let Some(trigger) = &definition.trigger else { continue };
        let method = trigger.method.to_ascii_lowercase();
        let path = &mut document["paths"][&trigger.path];
        if path.is_null() {
            *path = Value::Object(Map::new());
        }
        path[method] = operation(&generic, definition);
    }
    say_what_cannot_be_understood(&mut document);
    document
}

/// Whatever takes a query or a body answers 400 when it cannot be understood.
fn say_what_cannot_be_understood(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let asked =
            operation["parameters"].as_array().is_some_and(|all| all.iter().any(|it| it["in"] == "query"));
        let sent = operation.get("requestBody").is_some();
        if let Some(responses) = operation["responses"].as_object_mut().filter(|_| asked || sent) {
            responses.entry("400").or_insert_with(|| {
                json!({
                    "description": "The query or the body cannot be understood",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                })
            });
        }
    }
}

/// A trigger answers as `POST /sagas/{definition}` does, but says what its input is.
fn operation(generic: &Value, definition: &Definition) -> Value {
    let mut operation = generic.clone();
    operation["tags"] = json!(["triggers"]);
    operation["operationId"] = Value::String(format!("start_{}", definition.name.replace('-', "_")));
    operation["summary"] = Value::String(format!("Starts `{}`", definition.name));
    operation["description"] = Value::String(definition.description.clone().unwrap_or_default());
    operation["x-amends-definition"] = Value::String(definition.name.clone());
    if let Some(spelled) = triggers::spell(definition) {
        operation["x-amends-trigger"] = Value::String(spelled);
    }
    let headers: Vec<Value> = generic["parameters"]
        .as_array()
        .map(|all| all.iter().filter(|it| it["in"] == "header").cloned().collect())
        .unwrap_or_default();
    operation["parameters"] = Value::Array(headers);
    operation["requestBody"] = json!({
        "required": true,
        "content": { "application/json": { "schema": definition.input_schema } },
    });
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.remove("404");
    }
    operation
}
