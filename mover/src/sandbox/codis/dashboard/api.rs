// SPDX-License-Identifier: Apache-2.0
//! The HTTP API of the dashboard.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, put};
use bytes::Bytes;
use serde_json::json;

use super::{Dashboard, Topom};
use crate::sandbox::codis::front::{Answer, Fault, Json};
use crate::sandbox::codis::lenient;
use crate::sandbox::codis::model::SlotMapping;

/// The API of this dashboard. All but its model wait for the main mutex.
pub(super) fn router(dashboard: Arc<Dashboard>) -> Router {
    Router::new()
        .route("/topom", get(overview))
        .route("/topom/model", get(model))
        .route("/topom/stats", get(open_stats))
        .route("/topom/slots", get(open_slots))
        .route("/api/topom/model", get(model))
        .route("/api/topom/xping/{xauth}", get(xping))
        .route("/api/topom/stats/{xauth}", get(stats))
        .route("/api/topom/slots/{xauth}", get(slots))
        .route("/api/topom/reload/{xauth}", put(reload))
        .route("/api/topom/slots/assign/{xauth}", put(assign))
        .route("/api/topom/slots/assign/{xauth}/offline", put(assign_offline))
        .route("/api/topom/slots/action/create/{xauth}/{sid}/{gid}", put(create_action))
        .route("/api/topom/slots/action/create-some/{xauth}/{src}/{dst}/{num}", put(create_some))
        .route("/api/topom/slots/action/create-range/{xauth}/{beg}/{end}/{gid}", put(create_range))
        .route("/api/topom/slots/action/remove/{xauth}/{sid}", put(remove_action))
        .route("/api/topom/slots/action/interval/{xauth}/{value}", put(set_interval))
        .route("/api/topom/slots/action/disabled/{xauth}/{value}", put(set_disabled))
        .route("/api/topom/group/resync/{xauth}/{gid}", put(resync))
        .route("/api/topom/group/resync-all/{xauth}", put(resync_all))
        .route("/api/topom/proxy/online/{xauth}/{addr}", put(online))
        .route("/api/topom/proxy/create/{xauth}/{addr}", put(create))
        .route("/api/topom/proxy/reinit/{xauth}/{token}", put(reinit))
        .route("/api/topom/proxy/remove/{xauth}/{token}/{force}", put(remove))
        .with_state(dashboard)
}

type Server = State<Arc<Dashboard>>;

async fn model(State(dashboard): Server) -> Answer {
    Ok(Json::of(&dashboard.model))
}

async fn overview(State(dashboard): Server) -> Answer {
    let topom = dashboard.lock().await;
    let config = json!({
        "coordinator_name": "memory",
        "admin_addr": dashboard.model.admin_addr,
        "product_name": dashboard.config.product_name,
        "max_slot_num": dashboard.config.slot_count.get(),
        "migration_method": "semi-async",
        "migration_parallel_slots": 100,
    });
    let version = "sandbox";
    let model = &dashboard.model;
    Ok(Json::of(&json!({
        "version": version, "compile": version, "config": config, "model": model, "stats": topom.stats(),
    })))
}

async fn open_stats(State(dashboard): Server) -> Answer {
    Ok(Json::of(&dashboard.lock().await.stats()))
}

async fn open_slots(State(dashboard): Server) -> Answer {
    Ok(records(&*dashboard.lock().await))
}

async fn xping(State(dashboard): Server, Path(xauth): Path<String>) -> Answer {
    let _topom = dashboard.enter(&xauth).await?;
    Ok(Json::ok())
}

async fn stats(State(dashboard): Server, Path(xauth): Path<String>) -> Answer {
    Ok(Json::of(&dashboard.enter(&xauth).await?.stats()))
}

async fn slots(State(dashboard): Server, Path(xauth): Path<String>) -> Answer {
    Ok(records(&*dashboard.enter(&xauth).await?))
}

async fn reload(State(dashboard): Server, Path(xauth): Path<String>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    topom.known = dashboard.coordinator.load();
    Ok(Json::ok())
}

async fn assign(State(dashboard): Server, Path(xauth): Path<String>, body: Bytes) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    dashboard.assign(&mut topom, &mappings(&body)).await?;
    Ok(Json::ok())
}

async fn assign_offline(State(dashboard): Server, Path(xauth): Path<String>, body: Bytes) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    dashboard.assign_offline(&mut topom, &mappings(&body)).await?;
    Ok(Json::ok())
}

async fn create_action(State(dashboard): Server, Path((xauth, sid, gid)): Path<(String, String, String)>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    dashboard.create_action(&mut topom, integer("sid", &sid)?, integer("gid", &gid)?)?;
    Ok(Json::ok())
}

async fn create_some(
    State(dashboard): Server,
    Path((xauth, src, dst, num)): Path<(String, String, String, String)>,
) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    let (src, dst, num) = (integer("src", &src)?, integer("dst", &dst)?, integer("num", &num)?);
    dashboard.create_some(&mut topom, src, dst, num)?;
    Ok(Json::ok())
}

async fn create_range(
    State(dashboard): Server,
    Path((xauth, beg, end, gid)): Path<(String, String, String, String)>,
) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    let (beg, end, gid) = (integer("beg", &beg)?, integer("end", &end)?, integer("gid", &gid)?);
    dashboard.create_range(&mut topom, beg, end, gid)?;
    Ok(Json::ok())
}

async fn remove_action(State(dashboard): Server, Path((xauth, sid)): Path<(String, String)>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    dashboard.remove_action(&mut topom, integer("sid", &sid)?)?;
    Ok(Json::ok())
}

async fn set_interval(State(dashboard): Server, Path((xauth, value)): Path<(String, String)>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    topom.interval = integer("value", &value)?.clamp(0, INTERVAL_MAX);
    Ok(Json::ok())
}

async fn set_disabled(State(dashboard): Server, Path((xauth, value)): Path<(String, String)>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    topom.disabled = integer("value", &value)? != 0;
    Ok(Json::ok())
}

async fn resync(State(dashboard): Server, Path((xauth, gid)): Path<(String, String)>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    dashboard.resync(&mut topom, integer("gid", &gid)?).await?;
    Ok(Json::ok())
}

async fn resync_all(State(dashboard): Server, Path(xauth): Path<String>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    let groups: Vec<_> = topom.known.groups.keys().copied().collect();
    for group in groups {
        dashboard.resync(&mut topom, group).await?;
    }
    Ok(Json::ok())
}

async fn online(State(dashboard): Server, Path((xauth, addr)): Path<(String, String)>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    dashboard.online(&mut topom, &addr).await?;
    Ok(Json::ok())
}

async fn create(State(dashboard): Server, Path((xauth, addr)): Path<(String, String)>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    dashboard.create(&mut topom, &addr).await?;
    Ok(Json::ok())
}

async fn reinit(State(dashboard): Server, Path((xauth, token)): Path<(String, String)>) -> Answer {
    let topom = dashboard.enter(&xauth).await?;
    dashboard.reinit(&topom, &token).await?;
    Ok(Json::ok())
}

async fn remove(State(dashboard): Server, Path((xauth, token, force)): Path<(String, String, String)>) -> Answer {
    let mut topom = dashboard.enter(&xauth).await?;
    let force = integer("force", &force)? != 0;
    dashboard.remove(&mut topom, &token, force).await?;
    Ok(Json::ok())
}

fn records(topom: &Topom) -> Json {
    let records: Vec<_> = topom.known.slots.iter().map(|mapping| topom.record(mapping)).collect();
    Json::of(&records)
}

fn mappings(body: &[u8]) -> Vec<SlotMapping> {
    lenient::elements(body).iter().map(SlotMapping::decode).collect()
}

fn integer(name: &str, text: &str) -> Result<i64, Fault> {
    text.parse().map_err(|_| Fault(format!("invalid {name}")))
}

/// A second in microseconds.
const INTERVAL_MAX: i64 = 1_000_000;
