// SPDX-License-Identifier: Apache-2.0
//! What the parts do together, one file per behaviour. One binary, for each would link RocksDB.

mod sandbox;
