// SPDX-License-Identifier: Apache-2.0
//! Routing by Codis: its fences, and what becomes of them when a part of Codis fails.

mod connect;
mod cutover;
mod dashboard;
mod disturbance;
mod proxy;
mod real;
mod steps;
mod world;
