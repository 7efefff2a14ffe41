// SPDX-License-Identifier: Apache-2.0
//! Connections that have not shown yet who they are: as many as there are places. One more takes the place of the one that
//! has been there longest, so that strangers who say nothing keep nobody out who knows what to say.

use std::collections::VecDeque;

use tokio::sync::oneshot::{Receiver, Sender, channel};

/// All who have a place.
#[derive(Default, Debug)]
pub(super) struct Crowd {
    places: VecDeque<Sender<()>>,
}

/// The place of one of them. It is given back by dropping it.
#[derive(Debug)]
pub(super) struct Place(Receiver<()>);

impl Crowd {
    /// A place, if need be that of another.
    pub(super) fn enter(&mut self) -> Place {
        self.places.retain(|place| !place.is_closed());
        if self.places.len() == PLACES {
            // It hears of it by the drop.
            self.places.pop_front();
        }
        let (sender, place) = channel();
        self.places.push_back(sender);
        Place(place)
    }
}

impl Place {
    /// Waits until another one takes it.
    pub(super) async fn lost(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.0).await;
    }
}

const PLACES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::error::TryRecvError;

    #[tokio::test]
    async fn the_one_who_has_been_there_longest_gives_way() {
        let mut crowd = Crowd::default();
        let mut places: VecDeque<Place> = (0..PLACES).map(|_| crowd.enter()).collect();
        let all_kept = |places: &mut VecDeque<Place>| places.iter_mut().all(|place| !is_lost(place));
        // One who has left makes room without that.
        drop(places.remove(1));
        places.push_back(crowd.enter());
        assert!(all_kept(&mut places));
        places.push_back(crowd.enter());
        places.pop_front().unwrap().lost().await;
        assert!(all_kept(&mut places));
        assert_eq!(places.len(), PLACES);
    }

    fn is_lost(place: &mut Place) -> bool {
        place.0.try_recv() == Err(TryRecvError::Closed)
    }
}
