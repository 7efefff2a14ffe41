// SPDX-License-Identifier: Apache-2.0
use rocksdb::Options;

use crate::format::{Column, LIST_COMPARATOR, SCORE_COMPARATOR, compare_list_keys, compare_score_keys};

/// Options with the order that the column's keys have.
pub(crate) fn column_options(column: Column) -> Options {
    let mut options = Options::default();
    match column {
        Column::List => options.set_comparator(LIST_COMPARATOR, Box::new(compare_list_keys)),
        Column::ZsetScore => options.set_comparator(SCORE_COMPARATOR, Box::new(compare_score_keys)),
        Column::Default | Column::Hash | Column::Set | Column::Zset | Column::Stream => {}
    }
    options
}
