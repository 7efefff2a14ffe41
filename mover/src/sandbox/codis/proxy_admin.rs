// SPDX-License-Identifier: Apache-2.0
//! The HTTP API of a proxy.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, put};
use bytes::Bytes;
use serde_json::{Value, json};

use super::front::{Answer, Fault, Json};
use super::lenient;
use super::model::SlotRecord;
use super::process::unix_seconds;
use super::proxy_server::ProxyServer;
use crate::sandbox::proxy::Filler;

/// The API of this proxy. All but its model wait while slots are filled.
pub(super) fn router(server: Arc<ProxyServer>) -> Router {
    Router::new()
        .route("/proxy", get(overview))
        .route("/proxy/model", get(model))
        .route("/proxy/stats", get(open_stats))
        .route("/proxy/slots", get(open_slots))
        .route("/api/proxy/model", get(model))
        .route("/api/proxy/xping/{xauth}", get(xping))
        .route("/api/proxy/stats/{xauth}", get(stats))
        .route("/api/proxy/stats/{xauth}/{flags}", get(stats_with_flags))
        .route("/api/proxy/slots/{xauth}", get(slots))
        .route("/api/proxy/fillslots/{xauth}", put(fill_slots))
        .route("/api/proxy/start/{xauth}", put(start))
        .route("/api/proxy/shutdown/{xauth}", put(shutdown))
        .with_state(server)
}

type Server = State<Arc<ProxyServer>>;

async fn model(State(server): Server) -> Answer {
    Ok(Json::of(&server.model))
}

async fn overview(State(server): Server) -> Answer {
    let _settled = server.relay.filler().await;
    let model = &server.model;
    let config = json!({
        "product_name": model.product_name,
        "admin_addr": model.admin_addr,
        "proxy_addr": model.proxy_addr,
        "proto_type": model.proto_type,
        "max_slot_num": model.max_slot_num,
        "backend_primary_only": true,
    });
    let version = "sandbox";
    let stats = stats_of(&server);
    let slots = server.records().clone();
    Ok(Json::of(&json!({
        "version": version, "compile": version, "config": config, "model": model, "stats": stats, "slots": slots,
    })))
}

async fn open_stats(State(server): Server) -> Answer {
    let _settled = server.relay.filler().await;
    Ok(Json::of(&stats_of(&server)))
}

async fn open_slots(State(server): Server) -> Answer {
    let _settled = server.relay.filler().await;
    Ok(Json::of(&*server.records()))
}

async fn xping(State(server): Server, Path(xauth): Path<String>) -> Answer {
    let _settled = enter(&server, &xauth).await?;
    Ok(Json::ok())
}

async fn stats(State(server): Server, Path(xauth): Path<String>) -> Answer {
    let _settled = enter(&server, &xauth).await?;
    Ok(Json::of(&stats_of(&server)))
}

/// The flags ask for more detail than there is here.
async fn stats_with_flags(State(server): Server, Path((xauth, flags)): Path<(String, String)>) -> Answer {
    let _settled = enter(&server, &xauth).await?;
    if flags.parse::<i64>().is_err() {
        return Err(Fault(format!("strconv.Atoi: parsing \"{flags}\": invalid syntax")));
    }
    Ok(Json::of(&stats_of(&server)))
}

async fn slots(State(server): Server, Path(xauth): Path<String>) -> Answer {
    let _settled = enter(&server, &xauth).await?;
    Ok(Json::of(&*server.records()))
}

async fn fill_slots(State(server): Server, Path(xauth): Path<String>, body: Bytes) -> Answer {
    let records = lenient::elements(&body).iter().map(SlotRecord::decode).collect();
    let mut filler = enter(&server, &xauth).await?;
    server.fill(&mut filler, records).await?;
    Ok(Json::ok())
}

async fn start(State(server): Server, Path(xauth): Path<String>) -> Answer {
    let _settled = enter(&server, &xauth).await?;
    server.relay.go_online();
    Ok(Json::ok())
}

async fn shutdown(State(server): Server, Path(xauth): Path<String>) -> Answer {
    let _settled = enter(&server, &xauth).await?;
    server.close();
    Ok(Json::ok())
}

/// Waits until no slot is being filled and checks that the caller knows the product's secret.
async fn enter<'a>(server: &'a ProxyServer, xauth: &str) -> Result<Filler<'a>, Fault> {
    let filler = server.relay.filler().await;
    match () {
        () if server.is_closed() => Err(Fault::new("use of closed proxy")),
        () if xauth != server.xauth => Err(Fault::new("invalid xauth, please check product name & auth")),
        () => Ok(filler),
    }
}

fn stats_of(server: &ProxyServer) -> Value {
    let (total, fails) = server.relay.requests();
    let sessions = server.relay.sessions();
    json!({
        "online": server.relay.is_online() && !server.is_closed(),
        "closed": server.is_closed(),
        "sentinels": {},
        "ops": { "total": total, "fails": fails, "redis": { "errors": 0 }, "qps": 0 },
        "sessions": { "total": sessions, "alive": 0 },
        "rusage": { "now": unix_seconds().to_string(), "cpu": 0.0, "mem": 0 },
        "backend": { "primary_only": true },
        "slow_cmd_count": 0,
    })
}
