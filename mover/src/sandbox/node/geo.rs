// SPDX-License-Identifier: Apache-2.0
//! Commands for points of the earth, which are members of a sorted set.

use bytes::Bytes;
use snapshot::score_text;

use super::call::{Answer, Call, is_word};
use super::fault::{Fault, Result};
use super::geohash::{Point, score_ranges};
use super::number;
use super::reply::Reply;
use super::zset_ranges::{ScoreRange, within};
use super::zsets::{self, live, score_of};

/// GEOADD.
pub(super) fn geoadd(call: &Call<'_>) -> Answer {
    let triples = call.args[2..].chunks_exact(3);
    if !triples.remainder().is_empty() {
        return Err(Fault::wrong_number("geoadd"));
    }
    let coordinate = |text: &[u8]| number::float(text).ok_or(Fault::NOT_FLOAT);
    let member = |triple: &[Bytes]| {
        let point = Point { longitude: coordinate(&triple[0])?, latitude: coordinate(&triple[1])? };
        Ok((triple[2].clone(), point.score()))
    };
    let members = triples.map(member).collect::<Result<Vec<_>>>()?;
    Ok(Reply::count(zsets::add(call, call.key(), &members)?).into())
}

/// GEOPOS.
pub(super) fn geopos(call: &Call<'_>) -> Answer {
    each_point(call, coordinates)
}

/// GEOHASH.
pub(super) fn geohash(call: &Call<'_>) -> Answer {
    each_point(call, |point| Reply::text(point.text()))
}

fn each_point(call: &Call<'_>, reply: impl Fn(Point) -> Reply) -> Answer {
    let one = |member: &Bytes| {
        let score = score_of(call, call.key(), member)?;
        Ok(score.map_or(Reply::Null, |score| reply(Point::of_score(score))))
    };
    Ok(Reply::Array(call.args[2..].iter().map(one).collect::<Result<_>>()?).into())
}

/// GEODIST.
pub(super) fn geodist(call: &Call<'_>) -> Answer {
    let unit = match call.args.get(4) {
        None => METRE,
        Some(_) if call.args.len() > 5 => return Err(Fault::SYNTAX),
        Some(unit) => unit_named(unit)?,
    };
    let point =
        |member: &Bytes| -> Result<Option<Point>> { Ok(score_of(call, call.key(), member)?.map(Point::of_score)) };
    let distance = match (point(&call.args[2])?, point(&call.args[3])?) {
        (Some(from), Some(to)) => Reply::text(format!("{:.4}", from.distance(to) / unit)),
        _ => Reply::Null,
    };
    Ok(distance.into())
}

/// GEORADIUS. Sorted by distance, unless told otherwise. What it stores is not logged.
pub(super) fn georadius(call: &Call<'_>) -> Answer {
    let coordinate = |index: usize| number::float(&call.args[index]).unwrap_or(0.0);
    let center = Point { longitude: coordinate(2), latitude: coordinate(3) };
    search(call, &Search::parse(call, center, 4, Order::Nearest)?)
}

/// GEORADIUSBYMEMBER. Not sorted, unless told otherwise. What it stores is not logged.
pub(super) fn georadiusbymember(call: &Call<'_>) -> Answer {
    let score = score_of(call, call.key(), &call.args[2])?;
    if score.is_none() && live(call, call.key())?.is_some() {
        return Err(Fault::err("could not decode requested zset member"));
    }
    let center = score.map_or(Point { longitude: 0.0, latitude: 0.0 }, Point::of_score);
    search(call, &Search::parse(call, center, 3, Order::AsFound)?)
}

/// What is looked for, and how it is answered.
struct Search {
    center: Point,
    /// In metres.
    radius: f64,
    /// Metres in one of the client's units.
    unit: f64,
    order: Order,
    count: Option<usize>,
    distances: bool,
    scores: bool,
    coordinates: bool,
    target: Option<Target>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    AsFound,
    Nearest,
    Farthest,
}

/// Where the result is stored.
struct Target {
    key: Bytes,
    /// Whether by distance instead of by place.
    by_distance: bool,
}

/// A member within the radius.
struct Found {
    member: Bytes,
    score: f64,
    /// In metres.
    distance: f64,
}

impl Search {
    /// Reads the radius at `at` and what follows it.
    fn parse(call: &Call<'_>, center: Point, at: usize, order: Order) -> Result<Self> {
        let unit = unit_named(&call.args[at + 1])?;
        let radius = number::float(&call.args[at]).unwrap_or(0.0) * unit;
        let mut search = Self {
            center,
            radius,
            unit,
            order,
            count: None,
            distances: false,
            scores: false,
            coordinates: false,
            target: None,
        };
        let mut rest = call.args[at + 2..].iter();
        while let Some(option) = rest.next() {
            if is_word(option, "withdist") {
                search.distances = true;
            } else if is_word(option, "withhash") {
                search.scores = true;
            } else if is_word(option, "withcoord") {
                search.coordinates = true;
            } else if is_word(option, "count") {
                let count = number::integer(rest.next().ok_or(Fault::SYNTAX)?);
                search.count = Some(count.and_then(|count| usize::try_from(count).ok()).ok_or(Fault::NOT_INTEGER)?);
            } else if is_word(option, "store") || is_word(option, "storedist") {
                let key = rest.next().ok_or(Fault::SYNTAX)?.clone();
                search.target = Some(Target { key, by_distance: is_word(option, "storedist") });
            } else if is_word(option, "asc") {
                search.order = Order::Nearest;
            } else if is_word(option, "desc") {
                search.order = Order::Farthest;
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        let stores_place = search.target.as_ref().is_some_and(|target| !target.by_distance);
        if stores_place && (search.distances || search.scores || search.coordinates) {
            return Err(Fault::err(
                "STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORDS options",
            ));
        }
        Ok(search)
    }
}

fn search(call: &Call<'_>, search: &Search) -> Answer {
    let mut found = Vec::new();
    for (min, max) in score_ranges(search.center, search.radius) {
        let range = ScoreRange { min, max, min_included: true, max_included: true };
        for (member, score) in within(call, &range)? {
            let distance = search.center.distance(Point::of_score(score));
            if distance <= search.radius {
                found.push(Found { member, score, distance });
            }
        }
    }
    match search.order {
        Order::AsFound => {}
        Order::Nearest => found.sort_by(|left, right| left.distance.total_cmp(&right.distance)),
        Order::Farthest => found.sort_by(|left, right| right.distance.total_cmp(&left.distance)),
    }
    found.truncate(search.count.unwrap_or(usize::MAX));
    match &search.target {
        Some(target) => store(call, search, target, found),
        None => Ok(Reply::Array(found.into_iter().map(|found| shown(search, found)).collect()).into()),
    }
}

fn store(call: &Call<'_>, search: &Search, target: &Target, found: Vec<Found>) -> Answer {
    let count = found.len();
    let score = |found: &Found| if target.by_distance { found.distance / search.unit } else { found.score };
    let members: Vec<_> = found.iter().map(|found| (found.member.clone(), score(found))).collect();
    call.data().delete(&target.key, call.now)?;
    zsets::add(call, &target.key, &members)?;
    Ok(Reply::count(count).into())
}

fn shown(search: &Search, found: Found) -> Reply {
    let mut parts = vec![Reply::Bulk(found.member)];
    if search.distances {
        parts.push(Reply::text(format!("{:.4}", found.distance / search.unit)));
    }
    if search.scores {
        parts.push(Reply::Integer(found.score as i64));
    }
    if search.coordinates {
        parts.push(coordinates(Point::of_score(found.score)));
    }
    match parts.len() {
        1 => parts.remove(0),
        _ => Reply::Array(parts),
    }
}

fn coordinates(point: Point) -> Reply {
    Reply::Array(vec![Reply::text(score_text(point.longitude)), Reply::text(score_text(point.latitude))])
}

const METRE: f64 = 1.0;

fn unit_named(name: &[u8]) -> Result<f64> {
    match name {
        b"m" => Ok(METRE),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(Fault::err("unsupported unit provided. please use m, km, ft, mi")),
    }
}
