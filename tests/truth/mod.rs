// SPDX-License-Identifier: Apache-2.0
//! What is at the target is what the source's database holds, whatever the servers say: a cache that lies, names that cut
//! answers in two, entries that name nothing, dumps that are no exact cut.
//!
//! Each scene is played by nodes of the sandbox, and by real ones where PIKA_BIN names a program.

mod cache;
mod dumps;
mod entries;
mod hot;
mod names;
mod scene;
mod streams;
mod trims;

pub(crate) use scene::{Following, Scene, Server};

/// Two tests of one scene: in the sandbox, and on real servers.
macro_rules! played {
    ($($name:ident, $real:ident: $play:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                $play(crate::truth::Scene::in_the_sandbox().await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn $real() {
                let Some(scene) = crate::truth::Scene::of_real_servers().await else { return };
                $play(scene).await;
            }
        )*
    };
}
pub(crate) use played;
